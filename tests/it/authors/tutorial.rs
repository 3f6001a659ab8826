//! The backend that the tutorial writes step by step passes every check, as it is written there.

use std::fs;

use phone_verify_tests::artifacts;

use super::{plugin, target, text};

/// The blocks of this language on a page, one after the other.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    let after = page.split(fence.as_str()).skip(1);
    after
        .map(|rest| rest.split("```").next().unwrap().to_owned())
        .collect()
}

#[test]
fn the_steps_of_the_tutorial_make_a_backend_that_passes() {
    let workspace = artifacts::workspace();
    let tutorial = fs::read_to_string(workspace.join("plugin-api/docs/tutorial.md")).unwrap();
    let [manifest, _settings, tape] = <[String; 3]>::try_from(blocks(&tutorial, "toml")).unwrap();
    let source = blocks(&tutorial, "rust").concat();

    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    // What a third party writes is a version; here the crate is not published yet.
    let published = "phone-verify-plugin-api = \"0.1\"";
    assert!(manifest.contains(published), "{manifest}");
    let here = workspace.join("plugin-api");
    let manifest = manifest.replace(
        published,
        &format!("phone-verify-plugin-api = {{ path = {here:?} }}"),
    );
    // Whatever lies above the folder of temporary files is no workspace of this crate.
    let manifest = format!("{manifest}\n[workspace]\n");
    fs::create_dir(at("src")).unwrap();
    fs::write(at("Cargo.toml"), manifest).unwrap();
    fs::write(at("src/lib.rs"), source).unwrap();
    fs::write(at("acme.tape.toml"), tape).unwrap();
    // The versions that the workspace is tested with.
    fs::copy(workspace.join("Cargo.lock"), at("Cargo.lock")).unwrap();

    let built = artifacts::build(
        folder.path(),
        &["--offline", "--target-dir", target().to_str().unwrap()],
    );
    let library = built["acme"].file_name().unwrap();
    fs::copy(&built["acme"], folder.path().join(library)).unwrap();
    let checked = plugin(folder.path(), &["check", library.to_str().unwrap()]);
    let card = text(&checked.stdout);
    assert_eq!(checked.status.code(), Some(0), "{card}{}", text(&checked.stderr));
    assert!(card.contains(", 0 failed, "), "{card}");
}
