//! `--json`: whatever a command comes to, it prints one object whose `ok` says what its exit code says.

use std::fs;

use phone_verify_tests::site::Site;
use serde_json::json;

const NUMBER: &str = "+13478379634";

/// Runs each with `--json`; the exit code and the members that its result has besides `ok`.
#[test]
fn every_command_prints_an_object_whose_ok_is_its_exit_code() {
    let site = Site::with_backend("noop.FixedCodeBackend", &json!({}));
    fs::create_dir(site.path("new")).unwrap();
    let library = site.plugins().join(
        phone_verify_tests::artifacts::library("noop")
            .file_name()
            .unwrap(),
    );
    let library = library.to_str().unwrap();
    for (arguments, code, member) in [
        (&["check"][..], 0, "backend"),
        (&["settings"], 0, "server"),
        (&["settings", "--defaults"], 0, "server"),
        (&["backends"], 0, "libraries"),
        (&["register", NUMBER], 0, "session_token"),
        (
            &["verify", NUMBER, "--session-token", "x", "--code", "1"],
            1,
            "status",
        ),
        (&["send", "--message", "hello", NUMBER], 0, "progress"),
        (&["cleanup"], 0, "records"),
        (&["export", NUMBER], 0, "verifications"),
        (&["forget", NUMBER], 0, "records"),
        (&["backup", "copy.db"], 0, "bytes"),
        (&["restore", "copy.db"], 0, "database"),
        (&["audit"], 0, "entries"),
        (&["events"], 0, "events"),
        (&["keys", "new", "shop"], 0, "digest"),
        (&["decisions"], 0, "decisions"),
        (
            &["plugin", "new", "acme", "--directory", "new/acme", "--lang", "c"],
            0,
            "directory",
        ),
        (&["plugin", "inspect", library], 0, "sha256"),
        (&["plugin", "check", library, "--only", "PV001"], 0, "checks"),
        (&["plugin", "keygen", "--no-password"], 0, "public_key"),
        (
            &["plugin", "sign", library, "--secret-key", "phone-verify.key"],
            0,
            "signature_file",
        ),
        (
            &["plugin", "verify", library, "--public-key", "phone-verify.pub"],
            0,
            "id",
        ),
        (&["plugin", "trust", "noop"], 0, "sha256"),
        (&["plugin", "crashes"], 0, "crashes"),
        // What fails or is wrong, whoever finds it.
        (&["plugin", "rollback", "noop"], 2, "problems"),
        (&["plugin", "trust", "nexom"], 2, "problems"),
        (&["plugin", "inspect", "gone.so"], 2, "problems"),
        (&["register", "12"], 2, "problems"),
        (&["check", "--settings", "gone.toml"], 2, "problems"),
        (&["register"], 2, "problems"),
        (&["verify", NUMBER], 2, "problems"),
        (&["cleanup", "--days", "-1"], 2, "problems"),
        (&["plugin", "crashes", "nexmo"], 2, "problems"),
        (&["chekc"], 2, "problems"),
        (&["plugin"], 2, "problems"),
        (&["audit", "--last", "many"], 2, "problems"),
        (&["events", "--last", "many"], 2, "problems"),
    ] {
        let mut all = arguments.to_vec();
        all.push("--json");
        let ran = site.run(&all);
        let result = ran.json();
        assert_eq!(ran.code, Some(code), "{arguments:?} {ran:#?}");
        assert_eq!(result["ok"], json!(code == 0), "{arguments:?} {ran:#?}");
        assert!(
            !result[member].is_null(),
            "{arguments:?} has no {member}: {ran:#?}"
        );
    }
}

#[test]
fn a_wrong_argument_is_told_in_one_line_without_the_usage() {
    let site = Site::new();
    for (arguments, told) in [
        (
            &["register", "--json"][..],
            "the following required arguments were not provided: <NUMBER>",
        ),
        (
            &["cleanup", "--days", "many", "--json"],
            "invalid value 'many' for '--days <DAYS>': invalid digit found in string",
        ),
        (
            &["plugin", "check", "x", "--format", "json", "--onyl", "y"],
            "unexpected argument '--onyl' found",
        ),
    ] {
        let ran = site.run(arguments);
        let problem = ran.json()["problems"][0].as_str().unwrap().to_owned();
        assert!(
            problem.starts_with(told) && !problem.contains("Usage"),
            "{ran:#?}"
        );
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(2), ""));
    }
    // Help is no problem.
    let help = site.run(&["register", "--help", "--json"]);
    assert_eq!(help.code, Some(0));
    assert!(help.stdout.contains("Usage:"));
}
