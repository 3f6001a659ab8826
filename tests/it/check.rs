//! `check` says all that keeps a start from succeeding at once, and what it could not look at.

use std::net::TcpListener;

use phone_verify_tests::site::Site;
use serde_json::{Value, json};

/// What each stage has against [`faulty_everywhere`].
const LIBRARY: &str = "has no backend NoSuchBackend";
const DATABASE: &str = "there is no folder";
const LISTENERS: &str = "cannot listen on";
const ALL: &[&str] = &[LIBRARY, DATABASE, LISTENERS];

/// An installation in which every stage of a start finds something.
fn faulty_everywhere(taken: &TcpListener) -> Site {
    let mut site = Site::with_backend("noop.NoopBackend", &json!({}));
    site.set("phone_verification", "BACKEND", "noop.NoSuchBackend")
        .set("store", "url", "sqlite:gone/phone-verify.db")
        .set("server", "listen", taken.local_addr().unwrap().to_string());
    site
}

fn taken() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

/// The problems, and what was not looked at.
fn checked(site: &Site) -> (Vec<String>, Vec<String>) {
    let ran = site.run(&["check", "--json"]);
    let result = ran.json();
    assert_eq!((ran.code, &result["ok"]), (Some(2), &json!(false)), "{ran:#?}");
    let texts = |key: &str| {
        let texts = result[key].as_array().into_iter().flatten().map(Value::as_str);
        texts.map(|text| text.unwrap().to_owned()).collect()
    };
    (texts("problems"), texts("not_checked"))
}

/// A faulty setting, what is judged all the same, and what is not.
type Fault = (
    &'static str,
    &'static str,
    toml::Value,
    &'static [&'static str],
    Vec<String>,
);

fn faults() -> Vec<Fault> {
    let options = toml::Table::from_iter([("KEY".to_owned(), "${env:PHONE_VERIFY_TEST_UNSET}".into())]);
    let (backend, choice) = (
        "the backend, since it depends on ",
        "whether noop.NoSuchBackend takes its options, since it depends on ",
    );
    let (database, listeners) = (
        "the database and its keys, since it depends on ",
        "the addresses to listen on, since it depends on ",
    );
    vec![
        // What no stage depends on.
        (
            "phone_verification",
            "TOKEN_LENGTH",
            toml::Value::from("six"),
            ALL,
            vec![],
        ),
        ("phone_verification", "MESSAGE", "no code".into(), ALL, vec![]),
        ("phone_verification", "COLOUR", "red".into(), ALL, vec![]),
        ("limits", "number_per_hour", (-1).into(), ALL, vec![]),
        ("server", "max_connections", 0.into(), ALL, vec![]),
        ("log", "level", "loud".into(), ALL, vec![]),
        ("dispatch", "concurrency", 0.into(), ALL, vec![]),
        ("api", "keys", "none".into(), ALL, vec![]),
        // What one does.
        (
            "phone_verification",
            "BACKEND",
            5.into(),
            &[DATABASE, LISTENERS],
            vec![format!("{backend}[phone_verification] BACKEND")],
        ),
        (
            "phone_verification",
            "OPTIONS",
            "none".into(),
            ALL,
            vec![format!("{choice}[phone_verification] OPTIONS")],
        ),
        (
            "phone_verification",
            "OPTIONS",
            options.into(),
            ALL,
            vec![format!("{choice}[phone_verification] OPTIONS")],
        ),
        ("http", "proxy", 5.into(), ALL, vec![format!("{choice}[http]")]),
        (
            "plugins",
            "directories",
            5.into(),
            &[DATABASE, LISTENERS],
            vec![format!("{backend}[plugins]")],
        ),
        // It may stand for any that is not there.
        (
            "plugins",
            "trusted",
            true.into(),
            &[DATABASE, LISTENERS],
            vec![format!("{backend}[plugins]")],
        ),
        (
            "store",
            "url",
            "mysql:".into(),
            &[LISTENERS],
            vec![format!("{backend}[store] url"), format!("{database}[store] url")],
        ),
        (
            "store",
            "keys",
            "none".into(),
            &[LIBRARY, LISTENERS],
            vec![format!("{database}[store] keys")],
        ),
        (
            "server",
            "listen",
            5.into(),
            &[LIBRARY, DATABASE],
            vec![format!("{listeners}[server] listen")],
        ),
    ]
}

#[test]
fn every_stage_that_does_not_depend_on_a_faulty_setting_is_judged() {
    for (section, key, value, judged, left_out) in faults() {
        let taken = taken();
        let mut site = faulty_everywhere(&taken);
        site.set(section, key, value.clone());
        let (problems, not_checked) = checked(&site);
        let case = format!("[{section}] {key} = {value}: {problems:#?} {not_checked:#?}");
        assert_eq!(not_checked, left_out, "{case}");
        assert_eq!(problems.len(), judged.len() + 1, "{case}");
        assert!(problems[0].contains("phone-verify.toml"), "{case}");
        for told in judged {
            assert!(
                problems.iter().any(|problem| problem.contains(told)),
                "{told}: {case}"
            );
        }
    }
}

#[test]
fn of_settings_that_cannot_be_read_no_stage_is_judged_and_that_is_said() {
    let site = Site::new();
    site.write("phone-verify.toml", "[");
    let (problems, not_checked) = checked(&site);
    assert!(
        problems.len() == 1 && problems[0].contains("this is not TOML"),
        "{problems:#?}"
    );
    assert_eq!(
        not_checked,
        [
            "the backend",
            "the database and its keys",
            "the addresses to listen on"
        ]
        .map(|stage| format!("{stage}, since the settings cannot be read"))
    );
    // The same on a terminal.
    let told = site.run(&["check"]).stderr;
    assert!(
        told.contains("warning: not checked: the backend, since the settings cannot be read\n"),
        "{told}"
    );
}

/// A required setting that is there under a misspelt name, or in a misspelt section, is not missing as well.
#[test]
fn a_misspelt_setting_is_one_fault() {
    let required = [
        ("BACKEND", "\"console.ConsoleBackend\""),
        ("OPTIONS", "{}"),
        ("TOKEN_LENGTH", "6"),
        ("MESSAGE", "\"{security_code}\""),
        ("APP_NAME", "\"Acme\""),
        ("SECURITY_CODE_EXPIRATION_SECONDS", "600"),
        ("VERIFY_SECURITY_CODE_ONLY_ONCE", "true"),
    ];
    let file = |section: &str, misspelt: &str| {
        let line = |(key, value): &(&str, &str)| {
            let slip = if *key == misspelt { "X" } else { "" };
            format!("{key}{slip} = {value}\n")
        };
        let lines: String = required.iter().map(line).collect();
        format!(
            "[{section}]\n{lines}[server]\nlisten = \"127.0.0.1:0\"\n[plugins]\ndirectories = [\"plugins\"]\n"
        )
    };
    let site = Site::new();
    for (key, _) in required {
        site.write("phone-verify.toml", file("phone_verification", key));
        let (problems, _) = checked(&site);
        assert!(
            problems.len() == 1
                && problems[0].ends_with(&format!("{key}X is not a setting; did you mean {key}?")),
            "{key}: {problems:#?}"
        );
    }
    site.write("phone-verify.toml", file("phone_verificaton", ""));
    let (problems, not_checked) = checked(&site);
    assert_eq!(problems.len(), 1, "{problems:#?}");
    assert!(
        problems[0].ends_with("[phone_verificaton] is not a section; did you mean [phone_verification]?")
    );
    assert!(
        not_checked
            .iter()
            .any(|left_out| left_out.starts_with("the backend, since")),
        "{not_checked:#?}"
    );
    // One that is there under its right name too, and one that resembles none, leave the rest as it is.
    site.write(
        "phone-verify.toml",
        file("phone_verification", "").replace("TOKEN_LENGTH = 6", "COLOUR = 6"),
    );
    assert_eq!(checked(&site).0.len(), 2);
}

/// What is wrong with one value is not told again of another that is held against it.
#[test]
fn a_faulty_setting_is_not_held_against_others() {
    for (section, faulty, other) in [
        (
            "phone_verification",
            ("TOKEN_LENGTH", toml::Value::from("8")),
            ("MIN_TOKEN_LENGTH", toml::Value::from(8)),
        ),
        (
            "dispatch",
            ("total_timeout_seconds", "long".into()),
            ("send_timeout_seconds", 100.into()),
        ),
    ] {
        let mut site = Site::new();
        site.set(section, faulty.0, faulty.1)
            .set(section, other.0, other.1);
        let (problems, _) = checked(&site);
        assert!(
            problems.len() == 1 && problems[0].contains(faulty.0),
            "{problems:#?}"
        );
    }
}

/// Every command says it the same way: the folder, the setting, what to do; and nothing of what else would lie in
/// there.
#[test]
fn a_missing_folder_of_the_database_is_one_problem() {
    for (key, value) in [
        ("url", "sqlite:gone/phone-verify.db"),
        ("key_file", "gone/phone-verify.key"),
    ] {
        let mut site = Site::with_backend("noop.NoopBackend", &json!({}));
        site.set("plugins", "staging_directory", "");
        site.set("store", key, value);
        let gone = site.path("gone");
        let told = format!(
            "there is no folder {}; make it, or correct {key}\n",
            gone.display()
        );
        for arguments in [
            &["check"][..],
            &["serve"],
            &["register", "+13478379634"],
            &["send", "--message", "hello", "+13478379634"],
            &["verify", "+13478379634", "--session-token", "x", "--code", "1"],
            &["cleanup"],
            &["audit"],
            &["decisions"],
            &["export", "+13478379634"],
            &["forget", "+13478379634"],
            &["backup", "copy.db"],
            &["restore", "copy.db"],
        ] {
            let ran = site.run(arguments);
            assert_eq!(ran.code, Some(2), "{arguments:?} {ran:#?}");
            let errors: Vec<&str> = ran
                .stderr
                .split_inclusive('\n')
                .filter(|line| line.starts_with("error"))
                .collect();
            assert!(
                errors.len() == 1
                    && errors[0].starts_with(&format!("error: [store] {key} names "))
                    && errors[0].ends_with(&told),
                "{arguments:?} {ran:#?}"
            );
        }
        assert!(!gone.exists());
    }
}

#[test]
fn a_missing_folder_of_the_lock_file_is_named_without_a_made_up_file() {
    let mut site = Site::with_backend("noop.NoopBackend", &json!({}));
    site.set("plugins", "lock_file", "gone/plugins.lock")
        .set("plugins", "trust", "tofu");
    for arguments in [&["check"][..], &["serve"], &["plugin", "trust", "noop"]] {
        let ran = site.run(arguments);
        let told = format!(
            "since there is no folder {}; make it, or correct [plugins] lock_file",
            site.path("gone").display()
        );
        assert_eq!(ran.code, Some(2), "{arguments:?} {ran:#?}");
        assert!(
            ran.stderr.contains(&told) && !ran.stderr.contains(".plugins.lock-"),
            "{arguments:?} {ran:#?}"
        );
    }
}
