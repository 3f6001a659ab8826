//! `plugin new`: the crate that it writes builds and tests itself.

use std::{fs, path::Path, process::Command};

use phone_verify_tests::artifacts;

use super::{cargo, plugin, target, text};

/// A crate that was made by `plugin new`, against the author's crate of this workspace.
fn made(folder: &Path, name: &str) {
    let plugin_api = artifacts::workspace().join("plugin-api");
    let new = plugin(
        folder,
        &["new", name, "--plugin-api", plugin_api.to_str().unwrap()],
    );
    assert_eq!(new.status.code(), Some(0), "{}", text(&new.stderr));
    // The versions that the workspace is tested with.
    let lock = artifacts::workspace().join("Cargo.lock");
    fs::copy(lock, folder.join(name).join("Cargo.lock")).unwrap();
}

#[test]
fn a_new_crate_builds_and_tests_itself() {
    let folder = tempfile::tempdir().unwrap();
    made(folder.path(), "best_sms");
    let tested = cargo(&folder.path().join("best_sms"), &["test"]);
    let (stdout, stderr) = (text(&tested.stdout), text(&tested.stderr));
    assert!(tested.status.success(), "{stdout}{stderr}");
    assert!(stdout.contains("9 passed"), "{stdout}");
    assert!(!stderr.contains("warning"), "{stderr}");
}

#[test]
fn a_new_crate_needs_nothing_that_is_not_beside_it_and_its_library_passes_every_check() {
    let folder = tempfile::tempdir().unwrap();
    let new = plugin(folder.path(), &["new", "next_sms", "--directory", "here"]);
    let stdout = text(&new.stdout);
    assert_eq!(new.status.code(), Some(0), "{}", text(&new.stderr));
    assert!(
        stdout.contains("cd here") && stdout.contains("plugin check"),
        "{stdout}"
    );
    let here = folder.path().join("here");
    fs::copy(artifacts::workspace().join("Cargo.lock"), here.join("Cargo.lock")).unwrap();
    let built = cargo(&here, &["build"]);
    assert!(built.status.success(), "{}", text(&built.stderr));
    // It carries its tape, so that it may lie anywhere.
    let name = format!(
        "{}next_sms{}",
        std::env::consts::DLL_PREFIX,
        std::env::consts::DLL_SUFFIX
    );
    fs::copy(target().join("debug").join(&name), folder.path().join(&name)).unwrap();
    let checked = plugin(
        folder.path(),
        &["check", &name, "--only", "PV001,PV002,PV010,PV020,PV021,PV075"],
    );
    assert_eq!(checked.status.code(), Some(0), "{}", text(&checked.stdout));
    assert!(text(&checked.stdout).contains("tape carried by the library"));

    let json = plugin(folder.path(), &["new", "acme", "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["backends"][0], "acme.AcmeBackend");
}

#[test]
#[cfg(target_os = "linux")]
fn a_new_backend_in_c_builds_by_its_line_and_passes_every_check() {
    let folder = tempfile::tempdir().unwrap();
    let new = plugin(folder.path(), &["new", "c_sms", "--lang", "c"]);
    let stdout = text(&new.stdout);
    assert_eq!(new.status.code(), Some(0), "{}", text(&new.stderr));
    let line = stdout
        .lines()
        .find(|line| line.trim().starts_with("cc "))
        .unwrap();
    let here = folder.path().join("c_sms");
    assert!(
        fs::read_to_string(here.join("README.md"))
            .unwrap()
            .contains(line.trim())
    );
    let built = Command::new("sh").args(["-c", line]).current_dir(&here).status();
    assert!(built.unwrap().success(), "{line}");
    let checked = plugin(&here, &["check", "libc_sms.so"]);
    assert_eq!(checked.status.code(), Some(0), "{}", text(&checked.stdout));
}

#[test]
fn what_cannot_be_made_is_refused_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("taken")).unwrap();
    for (arguments, expected) in [
        (&["new", "Acme"][..], "cannot be the name of a library"),
        (&["new", "acme-sms"], "cannot be the name of a library"),
        (&["new", "match"], "Rust keeps it for itself"),
        (&["new", "taken"], "taken is there already"),
        (
            &["new", "acme", "--directory", "no/such/folder"],
            "no/such/folder cannot be written",
        ),
        (&["new", "acme", "--plugin-api", "taken"], "taken holds no crate"),
        (
            &["new", "acme", "--lang", "c", "--vendor"],
            "needs the header alone",
        ),
    ] {
        let refused = plugin(folder.path(), arguments);
        assert_eq!(refused.status.code(), Some(2), "{arguments:?}");
        let stderr = text(&refused.stderr);
        assert!(stderr.contains(expected), "{arguments:?}: {stderr}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    assert_eq!(fs::read_dir(folder.path().join("taken")).unwrap().count(), 0);
}
