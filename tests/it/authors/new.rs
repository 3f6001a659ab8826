//! `plugin new`: the crate that it writes builds and tests itself.

use std::{fs, path::Path};

use phone_verify_tests::artifacts;

use super::{cargo, plugin, text};

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
    assert!(stdout.contains("7 passed"), "{stdout}");
    assert!(!stderr.contains("warning"), "{stderr}");
}

#[test]
fn a_new_crate_depends_on_the_published_version_and_says_what_is_next() {
    let folder = tempfile::tempdir().unwrap();
    let new = plugin(folder.path(), &["new", "acme", "--directory", "here"]);
    let stdout = text(&new.stdout);
    assert_eq!(new.status.code(), Some(0), "{}", text(&new.stderr));
    assert!(
        stdout.contains("cd here") && stdout.contains("plugin check"),
        "{stdout}"
    );
    let manifest: toml::Table = fs::read_to_string(folder.path().join("here/Cargo.toml"))
        .unwrap()
        .parse()
        .unwrap();
    assert_eq!(
        manifest["dependencies"]["phone-verify-plugin-api"]["version"].as_str(),
        Some("0.1")
    );

    let json = plugin(folder.path(), &["new", "acme", "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["backends"][0], "acme.AcmeBackend");
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
    ] {
        let refused = plugin(folder.path(), arguments);
        assert_eq!(refused.status.code(), Some(2), "{arguments:?}");
        let stderr = text(&refused.stderr);
        assert!(stderr.contains(expected), "{arguments:?}: {stderr}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    assert_eq!(fs::read_dir(folder.path().join("taken")).unwrap().count(), 0);
}
