//! `plugin inspect`: what a library says about itself, read off its file.

use std::fs;

use phone_verify_tests::artifacts;
use serde_json::Value;

use super::{plugin, text};

#[test]
fn a_library_is_described_with_its_options() {
    let library = artifacts::library("twilio");
    let folder = library.parent().unwrap();
    let inspected = plugin(folder, &["inspect", library.to_str().unwrap()]);
    let stdout = text(&inspected.stdout);
    assert_eq!(inspected.status.code(), Some(0), "{stdout}");
    for said in [
        "\nABI         1.",
        "\nbuilt with  phone-verify-plugin-api 0.",
        "\ntwilio.TwilioBackend\n  Sends through Twilio's Messages API\n  overrides receive, feedback, balance\n  \
         hosts     api.twilio.com\n  webhook   signed\n  receipts  carrier\n",
        "\ntwilio.TwilioSandboxBackend (sandbox)\n",
        "\n  SECRET (or AUTH_TOKEN)  string, secret  required  ",
        "\n  REDACT                  bool            default false  ",
        "  optional  ",
        "Example: +15005550006",
    ] {
        // Columns are as wide as their longest cell, which is not what this is about.
        let squeezed = |text: &str| {
            text.replace('\n', "\n ")
                .split(' ')
                .filter(|word| !word.is_empty())
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert!(
            squeezed(&stdout).contains(squeezed(said).trim_end()),
            "{said:?} is not in {stdout}"
        );
    }

    let json = plugin(folder, &["inspect", library.to_str().unwrap(), "--json"]);
    let json: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["library"], "twilio");
    assert_eq!(json["backends"][0]["options"][1]["name"], "SECRET");
    assert_eq!(json["backends"][0]["options"][1]["secret"], true);
}

#[test]
#[cfg(unix)]
fn a_library_in_c_is_described_too() {
    let folder = tempfile::tempdir().unwrap();
    let library = crate::custom_backend::acme_in_c(folder.path());
    let inspected = plugin(folder.path(), &["inspect", library.to_str().unwrap()]);
    let stdout = text(&inspected.stdout);
    assert_eq!(inspected.status.code(), Some(0), "{stdout}");
    for said in [
        "\nABI         1.1\nbuilt with  phone_verify_plugin.h\n",
        "\nacme.AcmeBackend\n  Sends through Acme, from C\n  overrides receive\n",
        "\n  webhook   signed\n  receipts  handset\n",
        "\n  KEY       string, secret  required  ",
        "default \"https://api.acme.example\"  Where Acme listens.",
    ] {
        assert!(stdout.contains(said), "{said:?} is not in {stdout}");
    }
}

/// A constructor of the file would print and end the process, if it ran.
#[test]
#[cfg(target_os = "linux")]
fn nothing_of_the_library_runs() {
    let folder = tempfile::tempdir().unwrap();
    let source = "#include <stdlib.h>\n#include <stdio.h>\n\
                  __attribute__((constructor)) static void start(void) { puts(\"ran\"); exit(42); }\n";
    fs::write(folder.path().join("evil.c"), source).unwrap();
    let built = std::process::Command::new("cc")
        .args(["-shared", "-fPIC", "-o", "libevil.so", "evil.c"])
        .current_dir(folder.path())
        .status()
        .unwrap();
    assert!(built.success());
    let inspected = plugin(folder.path(), &["inspect", "libevil.so"]);
    let stdout = text(&inspected.stdout);
    assert_eq!(inspected.status.code(), Some(1), "{stdout}");
    assert!(
        stdout.contains("cannot be loaded: P301") && !stdout.contains("ran"),
        "{stdout}"
    );
}

#[test]
fn what_is_no_library_is_a_wrong_argument() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("notes.txt"), "hello").unwrap();
    for (file, expected) in [
        ("libgone.so", "libgone.so does not exist\n"),
        // As settings and `plugin trust` name it.
        (
            "nexmo",
            "name the file of the library, such as plugins/libnexmo.so",
        ),
        ("notes.txt", "is not named as a library"),
    ] {
        let refused = plugin(folder.path(), &["inspect", file]);
        assert_eq!(refused.status.code(), Some(2));
        assert!(
            text(&refused.stderr).contains(expected),
            "{}",
            text(&refused.stderr)
        );
    }
}

/// The shortest file that is a library of that system by its headers.
fn foreign(system: &str) -> Vec<u8> {
    let mut file = vec![0; 512];
    match system {
        "a Windows DLL" => {
            file[..2].copy_from_slice(b"MZ");
            file[0x3c] = 0x80;
            file[0x80..0x84].copy_from_slice(b"PE\0\0");
            file[0x84..0x86].copy_from_slice(&0x8664_u16.to_le_bytes());
            // The length of the optional header, that it is a DLL, and that it is a 64-bit one.
            file[0x94] = 0xf0;
            file[0x96..0x98].copy_from_slice(&0x2022_u16.to_le_bytes());
            file[0x98..0x9a].copy_from_slice(&0x20b_u16.to_le_bytes());
        }
        "a macOS library" => {
            file[..4].copy_from_slice(&0xfeed_facf_u32.to_le_bytes());
            file[4..8].copy_from_slice(&0x0100_000c_u32.to_le_bytes());
            file[12] = 6;
        }
        "an ELF library" => {
            file[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
            file[16] = 3;
            file[18] = 62;
            file[20] = 1;
            file[52] = 64;
        }
        other => panic!("no file is made for {other}"),
    }
    file
}

#[test]
fn a_library_of_another_system_is_called_one_whatever_it_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let here = if cfg!(windows) {
        "a Windows DLL"
    } else if cfg!(target_vendor = "apple") {
        "a macOS library"
    } else {
        "an ELF library"
    };
    for system in ["a Windows DLL", "a macOS library", "an ELF library"] {
        if system == here {
            continue;
        }
        for name in [
            "acme.dll",
            "ACME.DLL",
            "libacme-sms.dll",
            "libacme.dylib",
            "libacme.so",
            "acme.so",
        ] {
            fs::write(folder.path().join(name), foreign(system)).unwrap();
            for tool in ["inspect", "check"] {
                let refused = plugin(folder.path(), &[tool, name]);
                let stdout = text(&refused.stdout);
                assert_eq!(refused.status.code(), Some(1), "{tool} {name}: {stdout}");
                assert!(
                    stdout.contains(&format!("P201: {name} is {system}"))
                        || stdout.contains(&format!("/{name} is {system}")),
                    "{tool} {name}: {stdout}"
                );
            }
            let json = plugin(folder.path(), &["inspect", name, "--json"]);
            let json: Value = serde_json::from_slice(&json.stdout).unwrap();
            assert_eq!(json["refusal"]["code"], "P201", "{name}: {json}");
            fs::remove_file(folder.path().join(name)).unwrap();
        }
    }
}

/// Renaming it is all that is needed, and building it anew would not help.
#[test]
#[cfg(target_os = "linux")]
fn a_library_of_this_system_under_the_name_of_another_is_to_be_renamed() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["noop.dll", "libnoop.dylib"] {
        fs::copy(artifacts::library("noop"), folder.path().join(name)).unwrap();
        let refused = plugin(folder.path(), &["inspect", name]);
        let stdout = text(&refused.stdout);
        assert_eq!(refused.status.code(), Some(1), "{stdout}");
        assert!(
            stdout.contains("P112") && stdout.contains("rename it to libnoop.so"),
            "{stdout}"
        );
    }
}
