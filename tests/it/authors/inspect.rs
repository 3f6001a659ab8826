//! `plugin inspect`: what a library says about itself, read off its file.

use std::fs;

use phone_verify_tests::artifacts;
use serde_json::Value;

use super::{plugin, text};

#[test]
fn a_library_is_described_with_its_options() {
    let library = artifacts::library("twilio");
    let folder = library.parent().unwrap();
    let inspected = plugin(folder, &["inspect", library.to_str().unwrap()]);
    let stdout = text(&inspected.stdout);
    assert_eq!(inspected.status.code(), Some(0), "{stdout}");
    for said in [
        "\nABI         1.",
        "\nbuilt with  phone-verify-plugin-api 0.",
        "\ntwilio.TwilioBackend\n  Sends through Twilio's Messages API\n  overrides none\n  hosts     api.twilio.com\n",
        "\ntwilio.TwilioSandboxBackend (sandbox)\n",
        "\n  SECRET (or AUTH_TOKEN)  string, secret  required  ",
        "\n  REDACT                  bool            default false  ",
        "  optional  ",
        "Example: +15005550006",
    ] {
        // Columns are as wide as their longest cell, which is not what this is about.
        let squeezed = |text: &str| {
            text.replace('\n', "\n ")
                .split(' ')
                .filter(|word| !word.is_empty())
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert!(
            squeezed(&stdout).contains(squeezed(said).trim_end()),
            "{said:?} is not in {stdout}"
        );
    }

    let json = plugin(folder, &["inspect", library.to_str().unwrap(), "--json"]);
    let json: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["library"], "twilio");
    assert_eq!(json["backends"][0]["options"][1]["name"], "SECRET");
    assert_eq!(json["backends"][0]["options"][1]["secret"], true);
}

#[test]
#[cfg(unix)]
fn a_library_in_c_is_described_too() {
    let folder = tempfile::tempdir().unwrap();
    let library = crate::custom_backend::acme_in_c(folder.path());
    let inspected = plugin(folder.path(), &["inspect", library.to_str().unwrap()]);
    let stdout = text(&inspected.stdout);
    assert_eq!(inspected.status.code(), Some(0), "{stdout}");
    for said in [
        "\nABI         1.0\nbuilt with  phone_verify_plugin.h\n",
        "\nacme.AcmeBackend\n  Sends through Acme, from C\n",
        "\n  KEY       string, secret  required  ",
        "default \"https://api.acme.example\"  Where Acme listens.",
    ] {
        assert!(stdout.contains(said), "{said:?} is not in {stdout}");
    }
}

/// A constructor of the file would print and end the process, if it ran.
#[test]
#[cfg(target_os = "linux")]
fn nothing_of_the_library_runs() {
    let folder = tempfile::tempdir().unwrap();
    let source = "#include <stdlib.h>\n#include <stdio.h>\n\
                  __attribute__((constructor)) static void start(void) { puts(\"ran\"); exit(42); }\n";
    fs::write(folder.path().join("evil.c"), source).unwrap();
    let built = std::process::Command::new("cc")
        .args(["-shared", "-fPIC", "-o", "libevil.so", "evil.c"])
        .current_dir(folder.path())
        .status()
        .unwrap();
    assert!(built.success());
    let inspected = plugin(folder.path(), &["inspect", "libevil.so"]);
    let stdout = text(&inspected.stdout);
    assert_eq!(inspected.status.code(), Some(1), "{stdout}");
    assert!(
        stdout.contains("cannot be loaded: P301") && !stdout.contains("ran"),
        "{stdout}"
    );
}

#[test]
fn what_is_no_library_is_a_wrong_argument() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("notes.txt"), "hello").unwrap();
    for (file, expected) in [
        ("libgone.so", "libgone.so does not exist\n"),
        // As settings and `plugin trust` name it.
        (
            "nexmo",
            "name the file of the library, such as plugins/libnexmo.so",
        ),
        ("notes.txt", "is not named as a library"),
    ] {
        let refused = plugin(folder.path(), &["inspect", file]);
        assert_eq!(refused.status.code(), Some(2));
        assert!(
            text(&refused.stderr).contains(expected),
            "{}",
            text(&refused.stderr)
        );
    }
}
