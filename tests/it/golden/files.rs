//! P1 to P4: names, directories, files, manifests, private copies.
#![cfg(target_os = "linux")]

use std::fs;

use phone_verify::{clock::Clock, daemon, entropy::Entropy, settings::Settings};
use phone_verify_plugin_host::LibraryReport;
use phone_verify_tests::site::Site;
use serde_json::json;

use super::Told;
use crate::loading::shelf::{Shelf, built};

/// Where an ELF header keeps the type, and the machine.
const E_TYPE: usize = 16;
const E_MACHINE: usize = 18;

/// What becomes of this file.
fn of_file(told: &mut Told, bytes: &[u8]) {
    let shelf = Shelf::empty();
    shelf.put("x", bytes);
    of(told, &shelf, "x.XBackend");
}

fn of(told: &mut Told, shelf: &Shelf, name: &str) {
    let refusals = shelf.load(name, &json!({})).unwrap_err();
    told.refusals(shelf.folder(), refusals);
}

/// `bytes` with one text in the place of another of the same length, wherever it is.
fn changed(mut bytes: Vec<u8>, from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut found = 0;
    while let Some(at) = bytes.windows(from.len()).position(|window| window == from) {
        bytes[at..at + to.len()].copy_from_slice(to);
        found += 1;
    }
    assert!(found > 0, "nothing to change");
    bytes
}

#[test]
fn names_and_directories() {
    let mut told = Told::nothing();
    let site = Site::new();
    let mut settings = Settings::load(&site.path("phone-verify.toml")).unwrap();
    settings.backends[0].backend = "console".to_owned();
    let loader = daemon::loader(&settings, &Clock::system(), &Entropy::system());
    told.refusals(
        site.folder(),
        daemon::load_backend(&settings.backends[0], &loader).unwrap_err(),
    );

    let shelf = Shelf::empty();
    fs::create_dir(shelf.path("x")).unwrap();
    of(&mut told, &shelf, "x.XBackend");

    let shelf = Shelf::empty();
    std::os::unix::fs::symlink("gone.so", shelf.path("x")).unwrap();
    of(&mut told, &shelf, "x.XBackend");

    let shelf = Shelf::empty();
    fs::File::create(shelf.path("x"))
        .unwrap()
        .set_len(1 << 40)
        .unwrap();
    of(&mut told, &shelf, "x.XBackend");

    let shelf = Shelf::empty();
    fs::remove_dir(shelf.folder().join("plugins")).unwrap();
    of(&mut told, &shelf, "x.XBackend");

    let shelf = Shelf::empty();
    shelf.put("x", b"");
    fs::write(shelf.folder().join("plugins/x.so"), "").unwrap();
    of(&mut told, &shelf, "x.XBackend");

    let shelf = Shelf::empty();
    of(&mut told, &shelf, "x.XBackend");
    shelf.put("nexmo", b"");
    shelf.put("twilio", b"");
    of(&mut told, &shelf, "nexom.NexmoBackend");

    let misnamed = shelf.folder().join("acme.dll");
    fs::write(&misnamed, built("noop")).unwrap();
    let report = LibraryReport::of_file(&misnamed).unwrap();
    told.refusals(shelf.folder(), report.refusal.into_iter().collect());
    insta::assert_snapshot!(told.text());
}

#[test]
fn object_files() {
    let mut told = Told::nothing();
    let noop = built("noop");
    of_file(&mut told, b"just a text, named as a library");

    let mut bytes = noop.clone();
    bytes[E_MACHINE..E_MACHINE + 2].copy_from_slice(&8_u16.to_le_bytes());
    of_file(&mut told, &bytes);

    let shelf = Shelf::empty();
    let musl = shelf.folder().join("libmusl.so");
    shelf.compile(
        "musl",
        "int c(void) { return 0; }",
        &["-shared", "-fPIC", "-Wl,-soname,libc.musl-x86_64.so.1"],
    );
    fs::rename(shelf.path("musl"), &musl).unwrap();
    let source = "int c(void); int x(void) { return c(); }";
    shelf.compile(
        "x",
        source,
        &["-shared", "-fPIC", "-nostdlib", musl.to_str().unwrap()],
    );
    of(&mut told, &shelf, "x.XBackend");

    let mut newer = Told::nothing();
    of_file(
        &mut newer,
        &changed(noop.clone(), b"\0GLIBC_2.2.5\0", b"\0GLIBC_9.9.9\0"),
    );
    // The system's own version stands there three times.
    let sentence = newer.text();
    let here = sentence
        .split("this system has ")
        .nth(1)
        .unwrap()
        .split(';')
        .next()
        .unwrap()
        .to_owned();
    told.lines.push(sentence.replace(&here, "<own>"));

    let needed = changed(noop.clone(), b"\0libgcc_s.so.1\0", b"\0libxyz_s.so.1\0");
    let shelf = Shelf::empty();
    shelf.put("noop", &needed);
    of(&mut told, &shelf, "noop.NoopBackend");

    of_file(&mut told, &noop[..4096]);
    let mut bytes = noop;
    bytes[E_TYPE] = 2;
    of_file(&mut told, &bytes);
    insta::assert_snapshot!(told.text());
}

/// A library with this manifest and nothing else.
fn with_manifest(told: &mut Told, text: &str) {
    let shelf = Shelf::empty();
    let source = format!(
        "__attribute__((section(\".pv_plugin\"), visibility(\"default\")))\nconst char PHONE_VERIFY_MANIFEST[] = {text:?};"
    );
    shelf.compile("x", &source, &["-shared", "-fPIC"]);
    of(told, &shelf, "x.XBackend");
}

#[test]
fn manifests_and_private_copies() {
    let mut told = Told::nothing();
    let shelf = Shelf::empty();
    shelf.compile("x", "int x(void) { return 0; }", &["-shared", "-fPIC"]);
    of(&mut told, &shelf, "x.XBackend");

    let good = json!({
        "schema": 1, "version": "1.0.0", "abi": {"major": 1, "minor": 0}, "plugin_api": "1.0.0",
        "backends": [{"name": "XBackend"}],
    });
    with_manifest(&mut told, "{\"schema\": 1");
    let mut newer = good.clone();
    newer["abi"]["major"] = 2.into();
    with_manifest(&mut told, &newer.to_string());
    // As an author writes them in C, without a crate.
    let mut in_c = good.clone();
    in_c.as_object_mut().unwrap().remove("plugin_api");
    in_c["backends"][0]["options"] = json!([{"name": "KEY"}]);
    with_manifest(&mut told, &in_c.to_string());
    in_c["abi"]["major"] = 2.into();
    with_manifest(&mut told, &in_c.to_string());
    let mut abort = good;
    abort["panic"] = "abort".into();
    with_manifest(&mut told, &abort.to_string());

    let shelf = Shelf::with(&["noop"]);
    of(&mut told, &shelf, "noop.NopBackend");

    fs::write(shelf.staged(), "a file where the directory should be").unwrap();
    of(&mut told, &shelf, "noop.NoopBackend");
    insta::assert_snapshot!(told.text());
}
