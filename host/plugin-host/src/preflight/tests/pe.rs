//! DLLs of Windows, read on every system.

use std::{io::Write, path::Path, process::Command};

use proptest::{collection::vec, prelude::*, sample::Index};

use super::{
    super::*,
    made::{AMD64, ARM64, Dll, Dylib, I386, MANIFEST},
    on,
};

fn verdict(bytes: &[u8]) -> Result<(Manifest, Linkage), Refusal> {
    judge("acme.dll", bytes, &on(Format::Pe, "64-bit x86_64"))
}

fn refusal(dll: &Dll) -> (&'static str, String) {
    let refusal = verdict(&dll.bytes()).unwrap_err();
    (refusal.code, refusal.sentence)
}

#[test]
fn a_dll_that_fits_passes_with_what_it_needs() {
    for (machine, architecture) in [
        (AMD64, "64-bit x86_64"),
        (I386, "32-bit x86"),
        (ARM64, "64-bit aarch64"),
    ] {
        let dll = Dll {
            machine,
            ..Dll::backend()
        };
        let (manifest, linkage) = judge("acme.dll", &dll.bytes(), &on(Format::Pe, architecture))
            .unwrap_or_else(|refusal| panic!("{refusal}"));
        assert_eq!(manifest.backends[0].hosts, ["x.example"]);
        assert_eq!(linkage.needed, ["KERNEL32.dll", "msvcrt.dll"]);
    }
}

#[test]
fn a_dll_for_another_processor_is_refused() {
    let dll = Dll {
        machine: ARM64,
        ..Dll::backend()
    };
    assert_eq!(
        refusal(&dll),
        (
            code::WRONG_ARCHITECTURE,
            "acme.dll is built for 64-bit aarch64, this host runs on 64-bit x86_64; build the library for 64-bit x86_64"
                .to_owned()
        )
    );
    let dll = Dll {
        machine: 0x200,
        ..Dll::backend()
    };
    assert!(
        refusal(&dll)
            .1
            .starts_with("acme.dll is built for the Windows machine 0x0200, ")
    );
}

#[test]
fn a_program_is_no_dll() {
    let program = Dll {
        is_program: true,
        ..Dll::backend()
    };
    assert_eq!(refusal(&program).0, code::NOT_SHARED);
}

#[test]
fn a_manifest_is_found_by_its_section_or_by_its_export() {
    let by_export = |text: &str| Dll {
        manifest: None,
        exports: vec![
            ("PHONE_VERIFY_MANIFEST".to_owned(), text.into()),
            ("pv_plugin_entry_v1".to_owned(), vec![1; 72]),
        ],
        ..Dll::backend()
    };
    assert!(verdict(&by_export(MANIFEST).bytes()).is_ok());
    let none = Dll {
        manifest: None,
        ..Dll::backend()
    };
    assert_eq!(refusal(&none).0, code::NO_MANIFEST);
    let alone = Dll {
        exports: vec![("pv_plugin_entry_v10".to_owned(), vec![1; 72])],
        ..Dll::backend()
    };
    assert_eq!(refusal(&alone).0, code::NO_HEADER);
}

#[test]
fn a_dll_cut_off_anywhere_is_refused_as_that() {
    let whole = Dll::backend().bytes();
    for length in 2..whole.len() {
        let refusal = verdict(&whole[..length]).unwrap_err();
        assert_eq!(refusal.code, code::TRUNCATED, "cut at {length}: {refusal}");
    }
    for length in 0..2 {
        assert_eq!(verdict(&whole[..length]).unwrap_err().code, code::NOT_AN_OBJECT);
    }
}

#[test]
fn a_file_that_points_to_more_than_it_can_have_is_refused() {
    let mut dll = Dll::needing(&[]);
    dll.needed = vec!["x.dll".to_owned(); linkage::MAX_DEPENDENCIES + 1];
    assert_eq!(refusal(&dll).0, code::TRUNCATED);
    dll.needed = vec!["x".repeat(5000)];
    assert_eq!(refusal(&dll).0, code::TRUNCATED);
}

#[test]
fn a_file_of_another_system_is_called_that() {
    let told = |bytes: &[u8], format, architecture| {
        let refusal = judge("x", bytes, &on(format, architecture)).unwrap_err();
        assert_eq!(refusal.code, code::NOT_AN_OBJECT, "{refusal}");
        refusal.sentence
    };
    let arm = Dll {
        machine: ARM64,
        ..Dll::backend()
    };
    assert_eq!(
        told(&arm.bytes(), Format::Elf, "64-bit x86_64"),
        "x is a Windows DLL for 64-bit aarch64, and this host needs an ELF library for 64-bit x86_64; build the library for \
         this system"
    );
    let program = Dll {
        is_program: true,
        ..Dll::backend()
    };
    assert!(
        told(&program.bytes(), Format::MachO, "64-bit aarch64").starts_with(
            "x is a Windows program for 64-bit x86_64, and this host needs a macOS library for 64-bit aarch64; "
        )
    );
    assert!(
        told(&Dylib::backend().bytes(), Format::Pe, "64-bit x86_64").starts_with(
            "x is a macOS library for 64-bit aarch64, and this host needs a Windows DLL for 64-bit x86_64; "
        )
    );
    assert!(
        told(&super::library()[..64], Format::Pe, "64-bit x86_64")
            .starts_with("x is an ELF library for 64-bit ")
    );
    for (bytes, what) in [
        (
            &arm.bytes()[..90],
            "a program for MS-DOS, or a damaged Windows DLL",
        ),
        (&arm.bytes()[..20], "the beginning of a Windows DLL, cut off"),
        (
            &[0x64, 0x86, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            "an object file that is not linked yet",
        ),
        (
            &[0xca, 0xfe, 0xba, 0xbe, 0, 0, 0, 52, 0, 0, 0, 0, 0, 0, 0, 0],
            "a class of Java",
        ),
    ] {
        assert_eq!(
            told(bytes, Format::Elf, "64-bit x86_64"),
            format!(
                "x is {what}, and a shared library of this system was needed; put the built library there"
            )
        );
    }
}

/// Compiles the example in C for Windows, if there is a compiler for that.
fn compiled(compiler: &str, arguments: &[&str]) -> Option<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let dll = directory.path().join("acme.dll");
    let ran = Command::new(compiler)
        .args(["-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-o"])
        .arg(&dll)
        .arg(root.join("examples/c-backend/acme.c"))
        .arg("-I")
        .arg(root.join("plugin-api/include"))
        .args(arguments)
        .status();
    let Ok(status) = ran else {
        // Not with a macro, whose text a test runner keeps to itself.
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED a DLL by {compiler}: it is not installed; Debian has it in gcc-mingw-w64"
        );
        return None;
    };
    assert!(status.success(), "{compiler} {arguments:?}");
    Some(std::fs::read(dll).unwrap())
}

#[test]
fn a_backend_in_c_built_for_windows_has_its_manifest_where_it_is_looked_for() {
    for (compiler, architecture) in [
        ("x86_64-w64-mingw32-gcc", "64-bit x86_64"),
        ("i686-w64-mingw32-gcc", "32-bit x86"),
    ] {
        for arguments in [&["-std=c99"][..], &["-flto", "-s", "-Wl,--gc-sections"]] {
            let Some(bytes) = compiled(compiler, arguments) else {
                continue;
            };
            let here = on(Format::Pe, architecture);
            let (manifest, linkage) =
                judge("acme.dll", &bytes, &here).unwrap_or_else(|refusal| panic!("{compiler}: {refusal}"));
            assert_eq!(manifest.backends[0].name, "AcmeBackend");
            assert!(
                linkage.needed.iter().any(|name| name == "KERNEL32.dll"),
                "{linkage:?}"
            );
            let parsed = object::File::parse(&*bytes).unwrap();
            assert!(parsed.section_by_name(".pvplug").is_some(), "{compiler}");
            let lengths = (2..1024)
                .chain((1024..bytes.len()).step_by(509))
                .chain([bytes.len() - 1]);
            for length in lengths {
                let refusal = judge("acme.dll", &bytes[..length], &here).unwrap_err();
                assert_eq!(
                    refusal.code,
                    code::TRUNCATED,
                    "{compiler}, cut at {length}: {refusal}"
                );
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn damage_anywhere_leads_to_a_verdict(
        damage in vec((any::<Index>(), prop_oneof![any::<u8>(), Just(0), Just(0xff)]), 1..8),
        is_early in any::<bool>(),
        cut in any::<Index>(),
    ) {
        let mut bytes = Dll::backend().bytes();
        // The headers are the first 512 bytes, and the tables the next.
        let within = if is_early { 512 } else { bytes.len() };
        for (at, byte) in damage {
            bytes[at.index(within)] = byte;
        }
        let _ = verdict(&bytes);
        let _ = pe::about(&bytes);
        bytes.truncate(cut.index(bytes.len()));
        let _ = verdict(&bytes);
    }
}
