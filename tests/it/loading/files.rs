//! A file that is no backend library is refused with one sentence, before any of its code runs.

use phone_verify_plugin_host::code;
use serde_json::json;

use super::shelf::{Shelf, built};

/// Where an ELF header keeps the machine, and the type.
const E_MACHINE: usize = 18;
const E_TYPE: usize = 16;

fn refusal(bytes: &[u8]) -> (&'static str, String) {
    let shelf = Shelf::empty();
    shelf.put("x", bytes);
    let refusal = shelf.refusal("x.XBackend");
    assert_eq!(super::shelf::count(&shelf.staged()), 0, "nothing is staged");
    refusal
}

#[test]
fn a_text_file_is_no_library() {
    assert_eq!(
        refusal(b"just a text, named as a library"),
        (
            code::NOT_AN_OBJECT,
            "libx.so is a text file, and a shared library of this system was needed; put the built library there"
                .to_owned()
        )
    );
    assert!(refusal(b"").1.starts_with("libx.so is empty, and"));
    assert!(
        refusal(&[0xff; 4096])
            .1
            .starts_with("libx.so is not an object file, and")
    );
    assert!(
        refusal(b"!<arch>\n0123456789abcdef")
            .1
            .starts_with("libx.so is an archive of object files, and")
    );
}

#[test]
fn a_folder_is_no_library() {
    let shelf = Shelf::empty();
    std::fs::create_dir(shelf.path("x")).unwrap();
    assert_eq!(
        shelf.refusal("x.XBackend"),
        (
            code::NOT_A_FILE,
            "libx.so is not a file; put the library itself there".to_owned()
        )
    );
}

#[test]
fn a_file_that_is_too_big_is_not_read() {
    let shelf = Shelf::empty();
    let file = std::fs::File::create(shelf.path("x")).unwrap();
    file.set_len(1 << 40).unwrap();
    assert_eq!(
        shelf.refusal("x.XBackend"),
        (
            code::TOO_BIG,
            "libx.so has 1099511627776 bytes, and a library may have 67108864; strip it of debug information"
                .to_owned()
        )
    );
}

#[test]
fn a_library_that_is_cut_off_is_refused_wherever_it_is_cut() {
    let whole = built("noop");
    for length in [4, 17, 64, 300, 4096, whole.len() / 2, whole.len() - 64] {
        let (found, sentence) = refusal(&whole[..length]);
        let expected = if length < 16 {
            code::NOT_AN_OBJECT
        } else {
            code::TRUNCATED
        };
        assert_eq!(found, expected, "{length}: {sentence}");
    }
    assert_eq!(
        refusal(&whole[..4096]).1,
        "libx.so is damaged or cut off: its headers do not fit its 4096 bytes; copy it there again"
    );
    assert_eq!(
        refusal(&whole[..4]).1,
        "libx.so is the beginning of an ELF file, cut off, and a shared library of this system was needed; put the \
         built library there"
    );
}

#[test]
fn a_library_of_another_architecture_is_refused() {
    let mut bytes = built("noop");
    bytes[E_MACHINE..E_MACHINE + 2].copy_from_slice(&183_u16.to_le_bytes());
    let (found, sentence) = refusal(&bytes);
    assert_eq!(found, code::WRONG_ARCHITECTURE);
    let here = format!("64-bit {}", std::env::consts::ARCH);
    assert_eq!(
        sentence,
        format!(
            "libx.so is built for 64-bit aarch64, this host runs on {here}; build the library for {here}"
        )
    );
    bytes[E_MACHINE..E_MACHINE + 2].copy_from_slice(&8_u16.to_le_bytes());
    assert!(
        refusal(&bytes)
            .1
            .starts_with("libx.so is built for 64-bit little-endian ELF machine 8, this host")
    );
}

/// A few words at an offset.
#[cfg(not(any(windows, target_vendor = "apple")))]
fn put(bytes: &mut [u8], at: usize, words: &[u16]) {
    for (word, place) in words.iter().zip(bytes[at..].chunks_mut(2)) {
        place.copy_from_slice(&word.to_le_bytes());
    }
}

#[test]
#[cfg(not(any(windows, target_vendor = "apple")))]
fn a_library_of_another_system_is_called_that_and_what_is_needed() {
    let here = format!("an ELF library for 64-bit {}", std::env::consts::ARCH);
    // Its headers alone: of Windows for ARM64, with the optional one of 240 bytes.
    let mut dll = vec![0; 1024];
    dll[..2].copy_from_slice(b"MZ");
    put(&mut dll, 0x3c, &[0x40]);
    dll[0x40..0x42].copy_from_slice(b"PE");
    put(&mut dll, 0x44, &[0xaa64]);
    put(&mut dll, 0x54, &[240, 0x2022, 0x20b]);
    // Of macOS: the processor, and the kind.
    let mut dylib = vec![0; 1024];
    put(&mut dylib, 0, &[0xfacf, 0xfeed, 12, 0x100, 0, 0, 6]);
    for (bytes, what) in [
        (dll, "a Windows DLL for 64-bit aarch64"),
        (dylib, "a macOS library for 64-bit aarch64"),
    ] {
        assert_eq!(
            refusal(&bytes),
            (
                code::NOT_AN_OBJECT,
                format!("libx.so is {what}, and this host needs {here}; build the library for this system")
            )
        );
    }
}

#[test]
fn a_program_and_an_object_file_are_no_libraries() {
    let shelf = Shelf::empty();
    shelf.compile("program", "int main(void) { return 0; }", &["-pie", "-fPIE"]);
    shelf.compile("object", "int x(void) { return 0; }", &["-c"]);
    for library in ["program", "object"] {
        assert_eq!(
            shelf.refusal(&format!("{library}.XBackend")),
            (
                code::NOT_SHARED,
                format!(
                    "lib{library}.so is an ELF file but not a shared library; build it as one, with -shared in C, or crate-type = [\"cdylib\"] in Rust"
                )
            )
        );
    }
    let mut bytes = built("noop");
    bytes[E_TYPE] = 2;
    assert_eq!(refusal(&bytes).0, code::NOT_SHARED);
}

#[test]
fn a_library_without_the_export_is_refused_and_its_constructor_never_runs() {
    let shelf = Shelf::empty();
    let source = "#include <stdlib.h>\n__attribute__((constructor)) static void run(void) { exit(3); }";
    shelf.compile("x", source, &["-shared", "-fPIC"]);
    assert_eq!(
        shelf.refusal("x.XBackend"),
        (
            code::NO_MANIFEST,
            "libx.so is a shared library but not a phone-verify backend: it exports no PHONE_VERIFY_MANIFEST; build it \
             against phone-verify-plugin-api, with export_backends!, or in C with PV_MANIFEST"
                .to_owned()
        )
    );
}

#[test]
fn a_library_with_a_manifest_alone_is_refused() {
    let manifest = |text: &str| {
        let shelf = Shelf::empty();
        let source = format!(
            "__attribute__((section(\".pv_plugin\"), visibility(\"default\")))\nconst char PHONE_VERIFY_MANIFEST[] = {text:?};"
        );
        shelf.compile("x", &source, &["-shared", "-fPIC"]);
        shelf.refusal("x.XBackend")
    };
    let good = json!({
        "schema": 1, "version": "1.0.0", "abi": {"major": 1, "minor": 0}, "plugin_api": "1.0.0",
        "backends": [{"name": "XBackend"}],
    });
    assert_eq!(
        manifest(&good.to_string()),
        (
            code::NO_HEADER,
            "libx.so has a manifest but exports neither a root module nor pv_plugin_entry_v1; rebuild it with \
             export_backends! or with phone_verify_plugin.h, and do not hide its symbols"
                .to_owned()
        )
    );
    let mut newer = good.clone();
    newer["abi"]["major"] = 2.into();
    assert_eq!(manifest(&newer.to_string()).0, code::ABI_MAJOR);
    let mut abort = good;
    abort["panic"] = "abort".into();
    assert_eq!(manifest(&abort.to_string()).0, code::PANIC_ABORT);
    assert_eq!(
        manifest("{\"schema\": 1").1,
        "the manifest of libx.so cannot be read: it is no whole JSON: it ends after `{\"schema\": 1`; correct the JSON of \
         PV_MANIFEST, and rebuild the library"
    );
}

#[test]
fn a_library_whose_dependency_is_missing_is_refused_by_name() {
    let shelf = Shelf::empty();
    shelf.put("noop", &built("noop"));
    // The name of a library that it needs, changed in place to one that nobody has.
    let mut bytes = built("noop");
    let at = bytes
        .windows(b"\0libgcc_s.so.1\0".len())
        .position(|window| window == b"\0libgcc_s.so.1\0")
        .expect("a Rust library needs libgcc_s");
    bytes[at + 1..at + 7].copy_from_slice(b"libxyz");
    shelf.put("noop", &bytes);
    assert_eq!(
        shelf.refusal("noop.NoopBackend"),
        (
            code::MISSING_DEPENDENCY,
            "libnoop.so needs libxyz_s.so.1, which this system does not have; install it, or link it statically into \
             the library"
                .to_owned()
        )
    );
}

/// Compiles a library on the shelf that needs another one, which it looks for in its own way.
#[cfg(target_os = "linux")]
fn compile_with_dependency(shelf: &Shelf, folder: &std::path::Path, run_path: &str) {
    let source = shelf.folder().join("dependency.c");
    std::fs::write(&source, "int acme(void) { return 1; }").unwrap();
    let built = std::process::Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .args([&folder.join("libacmedependency.so"), &source])
        .status();
    assert!(built.unwrap().success());
    let library_path = format!("-L{}", folder.display());
    let run_path = format!("-Wl,-rpath,{run_path}");
    let source = r#"
        __attribute__((section(".pv_plugin"), visibility("default")))
        const char PHONE_VERIFY_MANIFEST[] = "{\"schema\":1,\"version\":\"1.0.0\",\"abi\":{\"major\":1,\"minor\":0},"
            "\"plugin_api\":\"\",\"backends\":[{\"name\":\"XBackend\"}]}";
        int acme(void);
        int (*needed)(void) = acme;
        const char pv_plugin_entry_v1[128];
    "#;
    let needs = ["-Wl,--no-as-needed", "-lacmedependency"];
    shelf.compile(
        "x",
        source,
        &["-shared", "-fPIC", &library_path, &run_path, needs[0], needs[1]],
    );
}

#[test]
#[cfg(target_os = "linux")]
fn a_dependency_that_lies_beside_the_library_is_not_called_missing() {
    for run_path in ["$ORIGIN", "${ORIGIN}/.", "/nowhere:$ORIGIN"] {
        let shelf = Shelf::empty();
        compile_with_dependency(&shelf, &shelf.folder().join("plugins"), run_path);
        let (code, sentence) = shelf.refusal("x.XBackend");
        assert_eq!(code, code::MISSING_DEPENDENCY);
        assert!(
            sentence.starts_with("libx.so needs libacmedependency.so, which is ")
                && sentence.contains("is looked for from where the library lies ($ORIGIN); but what is opened is a private copy"),
            "{run_path}: {sentence}"
        );
    }
}

#[test]
fn a_directory_is_told_without_running_what_lies_in_it() {
    let shelf = Shelf::with(&["noop"]);
    shelf.put("text", b"a text");
    let reports = serde_json::to_value(shelf.loader.survey()).unwrap();
    assert_eq!(reports[0]["library"], "noop");
    assert_eq!(reports[0]["is_loadable"], true);
    assert_eq!(reports[0]["abi"], "1.1");
    assert_eq!(reports[0]["sha256"].as_str().unwrap().len(), 64);
    assert_eq!(reports[0]["backends"][1]["name"], "noop.FixedCodeBackend");
    assert_eq!(
        reports[0]["backends"][1]["overrides"],
        json!(["generate_security_code"])
    );
    assert_eq!(reports[1]["library"], "text");
    assert_eq!(reports[1]["is_loadable"], false);
    assert_eq!(reports[1]["refusal"]["code"], code::NOT_AN_OBJECT);
    assert_eq!(super::shelf::count(&shelf.staged()), 0);
}
