//! Libraries of macOS, read on every system.

use proptest::{collection::vec, prelude::*, sample::Index};

use super::{
    super::*,
    made::{Dll, Dylib, MANIFEST, X86_64, universal},
    on,
};

fn verdict(bytes: &[u8]) -> Result<(Manifest, Linkage), Refusal> {
    judge("libacme.dylib", bytes, &on(Format::MachO, "64-bit aarch64"))
}

fn refusal(bytes: &[u8]) -> (&'static str, String) {
    let refusal = verdict(bytes).unwrap_err();
    (refusal.code, refusal.sentence)
}

fn intel() -> Dylib {
    Dylib {
        processor: X86_64,
        subtype: 3,
        ..Dylib::backend()
    }
}

#[test]
fn a_library_that_fits_passes_however_it_names_what_it_has() {
    for has_section in [true, false] {
        for has_table in [true, false] {
            for kind in [6, 8] {
                let library = Dylib {
                    kind,
                    has_section,
                    has_table,
                    run_paths: vec!["@loader_path/../lib".to_owned()],
                    ..Dylib::backend()
                };
                let (manifest, linkage) = verdict(&library.bytes())
                    .unwrap_or_else(|refusal| panic!("{has_section} {has_table}: {refusal}"));
                assert_eq!(manifest.backends[0].hosts, ["x.example"]);
                assert_eq!(linkage.needed, ["/usr/lib/libSystem.B.dylib"]);
                assert_eq!(linkage.run_paths, ["@loader_path/../lib"]);
            }
        }
    }
}

#[test]
fn the_part_for_this_processor_is_what_counts_in_a_universal_library() {
    let other = Dylib {
        manifest: "no manifest".to_owned(),
        ..intel()
    };
    for parts in [
        [other.clone(), Dylib::backend()],
        [Dylib::backend(), other.clone()],
    ] {
        let (manifest, _) = verdict(&universal(&parts)).unwrap_or_else(|refusal| panic!("{refusal}"));
        assert_eq!(manifest.backends[0].name, "XBackend");
    }
    let signed = Dylib {
        subtype: 0x8000_0002,
        ..Dylib::backend()
    };
    assert_eq!(
        refusal(&universal(&[intel(), signed.clone()])),
        (
            code::WRONG_ARCHITECTURE,
            "libacme.dylib is built for 64-bit x86_64 and 64-bit arm64e (a universal library), this host runs on 64-bit \
             aarch64; build the library for 64-bit aarch64"
                .to_owned()
        )
    );
    assert_eq!(refusal(&signed.bytes()).0, code::WRONG_ARCHITECTURE);
    assert_eq!(
        refusal(&intel().bytes()).1,
        "libacme.dylib is built for 64-bit x86_64, this host runs on 64-bit aarch64; build the library for 64-bit aarch64"
    );
}

/// What an author signs is whole: whichever part a system loads, the signature is of its name and version.
#[test]
fn a_universal_library_that_is_signed_has_one_name_and_version_in_all_its_parts() {
    let of = |version: &str| {
        let named = format!("\"library\":\"acme\",\"version\":\"{version}\"");
        let manifest = MANIFEST.replace("\"version\":\"1.0.0\"", &named);
        let [arm, other] = [Dylib::backend(), intel()];
        [arm, other].map(|part| Dylib {
            manifest: manifest.clone(),
            ..part
        })
    };
    let named = |bytes: &[u8]| {
        manifest_of("libacme.dylib", bytes)
            .map(|manifest| manifest.version)
            .map_err(|refusal| (refusal.code, refusal.sentence))
    };
    let [arm, intel] = of("1.2.0");
    assert_eq!(
        named(&universal(&[arm.clone(), intel.clone()])),
        Ok("1.2.0".to_owned())
    );
    assert_eq!(named(&intel.bytes()), Ok("1.2.0".to_owned()));
    let [_, other] = of("1.3.0");
    assert_eq!(
        named(&universal(&[arm.clone(), other])),
        Err((
            code::BAD_MANIFEST,
            "libacme.dylib is a universal library of acme 1.2.0 and acme 1.3.0; build its parts from the same sources, and join \
             them again with lipo -create"
                .to_owned()
        ))
    );
    let whole = universal(&[arm, intel]);
    assert_eq!(
        named(&whole[..whole.len() - 0x2000]).unwrap_err().0,
        code::TRUNCATED
    );
    let java = [&[0xca, 0xfe, 0xba, 0xbe, 0, 0, 0, 61][..], &[0; 64]].concat();
    assert_eq!(named(&java).unwrap_err().0, code::NOT_AN_OBJECT);
}

#[test]
fn what_is_no_library_for_macos_is_refused() {
    for kind in [1, 2] {
        let file = Dylib {
            kind,
            ..Dylib::backend()
        };
        assert_eq!(refusal(&file.bytes()).0, code::NOT_SHARED);
    }
    let phone = Dylib {
        system: 2,
        ..Dylib::backend()
    };
    assert_eq!(
        refusal(&phone.bytes()),
        (
            code::NOT_AN_OBJECT,
            "libacme.dylib is built for iOS, and this host needs a library for macOS; build the library for this system"
                .to_owned()
        )
    );
    let other = Dylib {
        entry: "_pv_plugin_entry_v10".to_owned(),
        ..Dylib::backend()
    };
    assert_eq!(refusal(&other.bytes()).0, code::NO_HEADER);
    for bytes in [Dll::backend().bytes(), super::library().to_vec()] {
        assert_eq!(refusal(&bytes).0, code::NOT_AN_OBJECT);
    }
    let told = |bytes: &[u8]| {
        judge("x", bytes, &on(Format::Elf, "64-bit x86_64"))
            .unwrap_err()
            .sentence
    };
    let beginning =
        "x is a macOS library for 64-bit x86_64 and 64-bit aarch64, and this host needs an ELF library";
    assert!(told(&universal(&[intel(), Dylib::backend()])).starts_with(beginning));
    assert!(
        told(&Dylib::backend().bytes()[..9]).starts_with("x is the beginning of a macOS library, cut off")
    );
}

#[test]
fn a_library_cut_off_anywhere_is_refused_as_that() {
    let thin = Dylib::backend().bytes();
    let fat = universal(&[intel(), Dylib::backend()]);
    let fat_end = 0x1000 + thin.len().next_multiple_of(0x1000) + thin.len();
    for (whole, end) in [(&thin, thin.len()), (&fat, fat_end)] {
        for length in 0..end {
            let (found, sentence) = refusal(&whole[..length]);
            let expected = if length < 16 {
                code::NOT_AN_OBJECT
            } else {
                code::TRUNCATED
            };
            assert_eq!(found, expected, "cut at {length}: {sentence}");
        }
    }
}

/// A name can be reached in the table of exports in more ways than there are atoms: two edges to the same node, many
/// times.
#[test]
fn a_table_of_exports_with_endless_ways_through_it_is_no_trap() {
    let mut library = Dylib::backend();
    library.has_section = false;
    let mut bytes = library.bytes();
    let table = bytes.len() - 0x2000;
    let mut trap = Vec::new();
    for node in 1..=(table / 9) {
        let next = u8::try_from(node * 9).unwrap_or(0x7f);
        trap.extend([0, 2, b'_', 0, next, b'_', 0, next, 0]);
    }
    bytes[0x2000..0x2000 + trap.len()].copy_from_slice(&trap);
    assert_eq!(refusal(&bytes).0, code::NO_MANIFEST);
    // An edge without letters, back to its own node.
    bytes[0x2000..0x2005].copy_from_slice(&[0, 1, 0, 0, 0]);
    assert_eq!(refusal(&bytes).0, code::NO_MANIFEST);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn damage_anywhere_leads_to_a_verdict(
        damage in vec((any::<Index>(), prop_oneof![any::<u8>(), Just(0), Just(0xff)]), 1..8),
        place in 0..3_usize,
        is_universal in any::<bool>(),
        has_table in any::<bool>(),
        cut in any::<Index>(),
    ) {
        let library = Dylib { has_table, has_section: !has_table, ..Dylib::backend() };
        let mut bytes = if is_universal { universal(&[library]) } else { library.bytes() };
        // The headers of the whole, those of a part, or the exports.
        let (start, length) = [(0, 512), (0x1000.min(bytes.len() - 512), 512), (bytes.len() - 64, 64)][place];
        for (at, byte) in damage {
            bytes[start + at.index(length)] = byte;
        }
        let _ = verdict(&bytes);
        let _ = mach_o::about(&bytes);
        bytes.truncate(cut.index(bytes.len()));
        let _ = verdict(&bytes);
    }
}
