//! P1 and P4: who can have written a library, and whether its bytes are the trusted ones.
#![cfg(unix)]

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
};

use phone_verify_tests::site::Site;
use serde_json::json;

use super::Told;
use crate::{
    loading::shelf::{Shelf, built},
    signed::{self, Author, takes},
};

fn site() -> Site {
    Site::with_backend("noop.NoopBackend", &json!({}))
}

/// What a command says, hashes and sizes left out: a library is built anew on every machine.
fn told(told: &mut Told, site: &Site, arguments: &[&str]) {
    let ran = site.run(arguments);
    assert_ne!(ran.code, Some(0), "{ran:?}");
    let line = ran
        .stderr
        .lines()
        .find_map(|line| line.strip_prefix("error: "))
        .unwrap();
    let (code, sentence) = line.split_once(": ").unwrap();
    let mut plain = sentence.to_owned();
    for word in sentence.split(|character: char| !character.is_ascii_alphanumeric()) {
        if word.len() == 64 && word.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            plain = plain.replace(word, "<sha256>");
        }
    }
    let plain = without_key_ids(&plain);
    let plain = plain.replace(
        &format!("version {}", env!("CARGO_PKG_VERSION")),
        "version <version>",
    );
    told.line(site.folder(), code, &plain);
}

/// A key's id is another one for each test.
fn without_key_ids(text: &str) -> String {
    let words = text.split_inclusive(|character: char| !character.is_ascii_alphanumeric());
    let is_id = |word: &str| word.len() == 16 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    words
        .map(|word| {
            let bare = word.trim_end_matches(|character: char| !character.is_ascii_alphanumeric());
            if is_id(bare) {
                word.replace(bare, "<key>")
            } else {
                word.to_owned()
            }
        })
        .collect()
}

#[test]
fn bytes_that_are_not_signed_rightly() {
    let mut all = Told::nothing();
    let mut site = site();
    let (author, stranger) = (Author::new(&site, "acme"), Author::new(&site, "stranger"));
    let library = site.plugins().join("libnoop.so");
    takes(&mut site, &[("acme", &author)]);
    told(&mut all, &site, &["check"]);
    stranger.signs(&site, &library);
    told(&mut all, &site, &["check"]);
    let signature = author.signs(&site, &library);
    let revoked = format!(
        "acme = {{ public_key = {:?}, revoked = true }}",
        author.public_key
    );
    site.set("plugins", "signers", revoked.parse::<toml::Table>().unwrap());
    told(&mut all, &site, &["check"]);

    takes(&mut site, &[("acme", &author), ("stranger", &stranger)]);
    let only: toml::Table = "[noop]\nsigners = [\"stranger\"]".parse().unwrap();
    site.set("plugins", "libraries", only);
    told(&mut all, &site, &["check"]);
    let least: toml::Table = "[noop]\nleast_version = \"9.0.0\"".parse().unwrap();
    site.set("plugins", "libraries", least);
    told(&mut all, &site, &["check"]);
    site.set("plugins", "libraries", toml::Table::new());

    site.run(&["register", "+13478379634"]);
    site.upgrade("noop", &signed::version("0.0.9"));
    told(&mut all, &site, &["check"]);
    author.signs(&site, &library);
    told(&mut all, &site, &["check"]);
    fs::write(&signature, "nonsense").unwrap();
    told(&mut all, &site, &["check"]);
    insta::assert_snapshot!(all.text());
}

#[test]
fn bytes_that_are_not_trusted() {
    let mut all = Told::nothing();
    let one = site();
    one.run(&["register", "+13478379634"]);
    one.install_variant("noop", "second");
    told(&mut all, &one, &["check"]);

    let mut pinned = site();
    pinned.set("plugins", "trust", "pinned");
    told(&mut all, &pinned, &["check"]);

    let broken = site();
    broken.write("plugins.lock", "what is this?");
    told(&mut all, &broken, &["check"]);

    told(&mut all, &pinned, &["plugin", "rollback", "noop"]);
    let fresh = site();
    fresh.run(&["register", "+13478379634"]);
    told(&mut all, &fresh, &["plugin", "rollback", "noop"]);

    one.run(&["plugin", "trust", "noop"]);
    one.run(&["register", "+13478379634"]);
    let back = one.run(&["plugin", "rollback", "noop"]);
    assert_eq!(back.code, Some(0), "{back:?}");
    told(&mut all, &one, &["check"]);
    insta::assert_snapshot!(all.text());
}

#[test]
fn more_versions_than_a_process_holds() {
    const IN_ONE_PROCESS: u8 = 16;
    let shelf = Shelf::empty();
    let load = |version: u8| {
        shelf.put("noop", &[built("noop"), vec![version]].concat());
        shelf.load("noop.NoopBackend", &json!({}))
    };
    let loaded: Vec<_> = (0..IN_ONE_PROCESS)
        .map(|version| load(version).unwrap())
        .collect();
    let mut all = Told::nothing();
    all.refusals(shelf.folder(), load(IN_ONE_PROCESS).unwrap_err());
    drop(loaded);
    insta::assert_snapshot!(all.text());
}

#[test]
fn files_that_others_can_have_written() {
    let mut all = Told::nothing();
    let site = site();
    fs::set_permissions(site.plugins(), Permissions::from_mode(0o777)).unwrap();
    told(&mut all, &site, &["check"]);
    insta::assert_snapshot!(all.text());
}

#[test]
fn a_library_that_another_one_hides() {
    let mut site = site();
    fs::create_dir(site.path("more")).unwrap();
    fs::copy(site.plugins().join("libnoop.so"), site.path("more/libnoop.so")).unwrap();
    site.set("plugins", "directories", vec!["plugins", "more"]);
    let listed = site.run(&["backends"]).stdout;
    let line = listed
        .lines()
        .find_map(|line| line.trim().strip_prefix("cannot be loaded: "));
    let (code, sentence) = line.unwrap().split_once(": ").unwrap();
    let mut all = Told::nothing();
    all.line(site.folder(), code, sentence);
    insta::assert_snapshot!(all.text());
}

#[test]
fn files_of_somebody_else() {
    if !rustix::process::getuid().is_root() {
        // Nobody else can give a file away.
        return;
    }
    let mut all = Told::nothing();
    let site = site();
    let file = site.plugins().join("libnoop.so");
    let copy = fs::read(&file).unwrap();
    fs::remove_file(&file).unwrap();
    fs::write(&file, copy).unwrap();
    std::os::unix::fs::chown(&file, Some(12_345), None).unwrap();
    told(&mut all, &site, &["check"]);
    insta::assert_snapshot!(all.text());
}
