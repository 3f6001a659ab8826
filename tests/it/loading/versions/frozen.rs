//! What was released is never edited, and today's ABI is more of the same: checked on the sources.

use std::fs;

use phone_verify_tests::artifacts::workspace;
use sha2::{Digest, Sha256};

/// Those that were released.
const VERSIONS: [&str; 2] = ["1.0", "1.1"];

fn read(file: &str) -> String {
    fs::read_to_string(workspace().join(file)).unwrap()
}

#[test]
fn what_was_released_is_never_edited() {
    for (file, released) in [
        (
            "tests/abi/1.0/Cargo.toml",
            "6a234380d96b1fcb6b59cdae1dcda054500e9441bb827dfaf0e32e2531e5a8c6",
        ),
        (
            "tests/abi/1.0/abi.txt",
            "96e61ca0c14ab0c0076c2471a97149c5eeb4046080c9db4d2185221fbc30f3a3",
        ),
        (
            "tests/abi/1.0/phone_verify_plugin.h",
            "783eaab99636e5911b3c813658c0a767fd4390b2b1e45e54bd02cc79faeb619c",
        ),
        (
            "tests/abi/1.0/src/lib.rs",
            "47b70519e8f1e7935d70a3812a3aaa65fa71edaf25d28f6bf849e6bdbefadd5d",
        ),
        (
            "tests/abi/1.1/Cargo.toml",
            "0aa3c8d9b1ae39c35b8e3fd19a028ec90361d8ca4aef8e7255f38bda6d646afc",
        ),
        (
            "tests/abi/1.1/abi.txt",
            "6d4d7b0671352f586ad2f2b0ab7c442ee599993650693e52494a07abade25291",
        ),
        (
            "tests/abi/1.1/phone_verify_plugin.h",
            "d04e9dbff3d4884c51502af9a1a5e7e03c1edaf0d50e07200c613525ae3cd5ce",
        ),
        (
            "tests/abi/1.1/src/lib.rs",
            "cc85ee34dddcc4eef458064bd8a1d4cc5ca50e3f9b1e1c96e60a7f2e338982eb",
        ),
    ] {
        let hash = data_encoding::HEXLOWER.encode(&Sha256::digest(read(file)));
        assert_eq!(
            hash, released,
            "{file} is the ABI as released: put it back; what is new belongs at the ends of plugin-api/abi"
        );
    }
}

/// The types of an `abi.txt`, each with its lines.
fn types(text: &str) -> Vec<(&str, Vec<&str>)> {
    text.split("\n\n")
        .map(|block| {
            let mut lines = block.trim_matches('\n').lines();
            (lines.next().unwrap(), lines.collect())
        })
        .collect()
}

#[test]
fn todays_types_begin_as_the_released_ones() {
    let today = read("plugin-api/abi/abi-1.txt");
    let today = types(&today);
    for version in VERSIONS {
        let released = read(&format!("tests/abi/{version}/abi.txt"));
        for (name, lines) in types(&released) {
            let (_, now) = today
                .iter()
                .find(|(today, _)| *today == name)
                .unwrap_or_else(|| panic!("{name} of {version} is gone from the ABI"));
            let may_grow = lines.iter().any(|line| line.starts_with("  --"));
            let kept = if may_grow {
                now.get(..lines.len())
            } else {
                Some(now.as_slice())
            };
            assert_eq!(kept, Some(lines.as_slice()), "{name} of {version} changed");
        }
    }
}

#[test]
fn todays_header_has_all_that_the_released_one_had() {
    let today = read("plugin-api/include/phone_verify_plugin.h");
    let today: Vec<&str> = today.lines().collect();
    for version in VERSIONS {
        let released = read(&format!("tests/abi/{version}/phone_verify_plugin.h"));
        let numbers = released.lines().filter(|line| line.starts_with("#define PV_"));
        // A comment may get better. That the structs begin as they did is held by the libraries in C of the other tests.
        for line in numbers.map(|line| line.split("/*").next().unwrap().trim_end()) {
            assert!(
                line.contains("PV_ABI_MINOR") || today.iter().any(|now| now.starts_with(line)),
                "{line:?} of {version} changed"
            );
        }
    }
}

#[test]
fn todays_numbers_and_names_are_the_released_ones() {
    let today = read("plugin-api/abi/src/lib.rs");
    let today: Vec<&str> = today.lines().collect();
    for version in VERSIONS {
        let released = read(&format!("tests/abi/{version}/src/lib.rs"));
        let constants = released
            .lines()
            .filter(|line| line.trim_start().starts_with("pub const "));
        let kept: Vec<_> = constants.filter(|line| !line.contains("ABI_MINOR")).collect();
        assert!(kept.len() > 30, "{kept:?}");
        for line in kept {
            assert!(today.contains(&line), "{line:?} of {version} changed");
        }
    }
}
