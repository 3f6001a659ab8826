//! Any bytes at all lead to a verdict: a real library is damaged in every way.

mod mach_o;
pub(super) mod made;
mod pe;

use std::{path::Path, process::Command, sync::OnceLock};

use proptest::{collection::vec, prelude::*, sample::Index};

use super::*;

const SOURCE: &str = r#"
#include <stdio.h>
__attribute__((section(".pv_plugin"), visibility("default")))
const char PHONE_VERIFY_MANIFEST[] = "{\"schema\":1,\"version\":\"1.0.0\",\"abi\":{\"major\":1,\"minor\":0},"
    "\"plugin_api\":\"1.0.0\",\"backends\":[{\"name\":\"XBackend\",\"hosts\":[\"x.example\"]}]}";
__attribute__((visibility("default"))) const char _1as_0lib_1header_0root_bmodule_bloader[64] = "";
void hello(void) { puts("hello"); }
"#;

/// A small library that passes.
fn library() -> &'static [u8] {
    static BUILT: OnceLock<Vec<u8>> = OnceLock::new();
    BUILT.get_or_init(|| {
        let directory = tempfile::tempdir().unwrap();
        let [source, library] = ["x.c", "libx.so"].map(|name| directory.path().join(name));
        std::fs::write(&source, SOURCE).unwrap();
        let arguments: [&Path; 3] = [Path::new("-o"), &library, &source];
        let status = Command::new("cc")
            .args(["-shared", "-fPIC"])
            .args(arguments)
            .status();
        assert!(status.expect("a C compiler is installed").success());
        std::fs::read(library).unwrap()
    })
}

/// A host of any system.
fn on(format: Format, architecture: &str) -> Platform {
    Platform {
        format,
        architecture: architecture.to_owned(),
        glibc: None,
    }
}

fn verdict(bytes: &[u8]) -> Result<Manifest, Refusal> {
    judge("libx.so", bytes, &Platform::here()).map(|(manifest, _)| manifest)
}

/// Where the headers and tables lie: damage there matters most.
fn table_offsets(bytes: &[u8]) -> Vec<usize> {
    let word = |at: usize| usize::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    [0, word(32), word(40)]
        .into_iter()
        .flat_map(|start| start..(start + 2048).min(bytes.len()))
        .collect()
}

#[test]
fn a_library_that_fits_passes() {
    assert_eq!(verdict(library()).unwrap().backends[0].hosts, ["x.example"]);
}

#[test]
fn a_library_cut_off_anywhere_is_refused() {
    let whole = library();
    for length in (0..whole.len()).step_by(37) {
        assert!(verdict(&whole[..length]).is_err(), "cut at {length}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn damage_anywhere_leads_to_a_verdict(damage in vec((any::<Index>(), any::<u8>()), 1..8)) {
        let mut bytes = library().to_vec();
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let _ = verdict(&bytes);
    }

    #[test]
    fn damage_to_the_headers_leads_to_a_verdict(damage in vec((any::<Index>(), any::<u8>()), 1..4), cut in any::<Index>()) {
        let mut bytes = library().to_vec();
        let offsets = table_offsets(&bytes);
        for (at, byte) in damage {
            bytes[offsets[at.index(offsets.len())]] = byte;
        }
        let _ = verdict(&bytes);
        bytes.truncate(cut.index(bytes.len()));
        let _ = verdict(&bytes);
    }

    #[test]
    fn a_damaged_manifest_leads_to_a_verdict(damage in vec((any::<Index>(), any::<u8>()), 1..6)) {
        let mut bytes = library().to_vec();
        let start = bytes.windows(9).position(|window| window == b"{\"schema\"").unwrap();
        for (at, byte) in damage {
            bytes[start + at.index(120)] = byte;
        }
        let _ = verdict(&bytes);
    }

    #[test]
    fn noise_is_refused(bytes in vec(any::<u8>(), 0..4096), is_elf in any::<bool>()) {
        let mut bytes = bytes;
        if is_elf {
            let header = library()[..64].len().min(bytes.len());
            bytes[..header].copy_from_slice(&library()[..header]);
        }
        prop_assert!(verdict(&bytes).is_err());
    }
}
