//! The compiler of a library need not be the host's: what the two share is the ABI.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::Command,
};

use phone_verify::model::FailureClass;
use phone_verify_tests::artifacts;
use serde_json::json;

use super::shelf::{Shelf, alice, call};

/// What a compiler calls itself: `rustc 1.85.0 (…)`.
fn version(compiler: &Path) -> Option<String> {
    let output = Command::new(compiler).arg("--version").output().ok()?;
    let version = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| version.trim().to_owned())
}

/// The distribution's compiler, if it is not the one that everything else was built with.
fn another() -> Result<(PathBuf, String), String> {
    let own = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let own = version(Path::new(&own)).expect("the compiler of this test runs");
    let path = PathBuf::from("/usr/bin/rustc");
    match version(&path) {
        Some(version) if version != own => Ok((path, version)),
        Some(version) => Err(format!("{} is {version} too", path.display())),
        None => Err(format!("there is no {}", path.display())),
    }
}

#[tokio::test]
async fn a_library_of_another_compiler_works() {
    let (compiler, version) = match another() {
        Ok(found) => found,
        Err(why) => {
            // Not with a macro, whose text a test runner keeps to itself.
            let _ = writeln!(
                std::io::stderr(),
                "SKIPPED a_library_of_another_compiler_works: {why}; install a second rustc there, such as Debian's \
                 rustc-web"
            );
            return;
        }
    };
    let library = tokio::task::spawn_blocking(move || {
        let target = artifacts::target_folder().join("another-compiler");
        let package = format!("villain@{}", env!("CARGO_PKG_VERSION"));
        let arguments = ["--package", &package, "--target-dir", target.to_str().unwrap()];
        let built = artifacts::build_by(Some(&compiler), &artifacts::workspace(), &arguments);
        std::fs::read(&built["villain"]).unwrap()
    });
    let library = library.await.unwrap();
    // What its compiler left in it, so that this cannot pass with a library of the same one.
    let number = version.split(' ').nth(1).unwrap();
    let mark = format!("rustc version {number} ");
    assert!(
        library
            .windows(mark.len())
            .any(|window| window == mark.as_bytes()),
        "the library was not built by {version}"
    );

    // Beside one of the host's own compiler.
    let shelf = Shelf::with(&["villain"]);
    shelf.put("foreign", &library);
    let own = shelf.load("villain.VillainBackend", &json!({})).unwrap();
    let foreign = shelf.load("foreign.VillainBackend", &json!({})).unwrap();
    for backend in [&foreign, &own] {
        let receipt = backend.send_sms(&alice(), "hello", call()).await.unwrap();
        assert_eq!(receipt.message_id.as_deref(), Some("sms-1"), "{version}");
        let code = backend.generate_security_code(call()).await.unwrap();
        assert_eq!(code.expose(), "424242");
        let failure = backend.send_sms(&alice(), "panic now", call()).await.unwrap_err();
        assert_eq!(
            (failure.class, failure.code.as_str()),
            (FailureClass::OutcomeUnknown, "plugin_panic")
        );
        let receipt = backend.send_sms(&alice(), "hello", call()).await.unwrap();
        assert_eq!(receipt.message_id.as_deref(), Some("sms-1"), "a fresh instance");
    }
}
