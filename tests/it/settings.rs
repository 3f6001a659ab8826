//! The settings file: where it is found, and what is said when something in it is wrong.

use phone_verify_tests::site::{Ran, Site, ran};
use serde_json::json;

/// The problems that `check` told, one a line, without the folder.
fn problems(site: &Site) -> Vec<String> {
    let ran = site.run(&["check"]);
    assert_eq!(ran.code, Some(2), "{ran:#?}");
    assert_eq!(ran.stdout, "");
    let folder = format!("{}/", site.folder().display());
    let told = |line: &str| {
        line.strip_prefix("error: ")
            .map(|problem| problem.replace(&folder, ""))
    };
    ran.stderr.lines().filter_map(told).collect()
}

fn with_settings(text: &str) -> Site {
    let site = Site::new();
    site.write("phone-verify.toml", text);
    site
}

#[test]
fn without_a_file_the_places_are_told_and_the_demo() {
    let site = Site::new();
    std::fs::remove_file(site.path("phone-verify.toml")).unwrap();
    let [problem] = &problems(&site)[..] else {
        panic!("one problem")
    };
    for place in [
        "--settings",
        "$PHONE_VERIFY_SETTINGS",
        "./phone-verify.toml",
        "/etc/phone-verify/phone-verify.toml",
        "serve --demo",
    ] {
        assert!(problem.contains(place), "{problem}");
    }
}

#[test]
fn the_argument_goes_before_the_environment_before_the_folder() {
    let site = Site::new();
    let named = |name: &str| {
        let text = std::fs::read_to_string(site.path("phone-verify.toml")).unwrap();
        site.write(&format!("{name}.toml"), text.replace("Phone Verify", name));
        format!("{name}.toml")
    };
    let (argument, environment) = (named("argument"), named("environment"));
    let app_name = |ran: &Ran| ran.json()["phone_verification"]["APP_NAME"].clone();
    let show = ["settings", "--json"];
    assert_eq!(app_name(&site.run(&show)), "Phone Verify");
    let from_environment = || {
        let mut command = site.command(&show);
        command.env("PHONE_VERIFY_SETTINGS", &environment);
        command
    };
    assert_eq!(app_name(&ran(&mut from_environment())), "environment");
    let both = ran(from_environment().args(["--settings", &argument]));
    assert_eq!(app_name(&both), "argument");
}

#[test]
fn every_problem_is_told_at_once_with_its_line_and_what_was_meant() {
    let site = with_settings(
        r#"[phone_verification]
BACKEND = "console.ConsoleBackend"
TOKEN_LENGHT = 6
TOKEN_LENGTH = "6"
MESSAGE = "Code: {security_code}"
APP_NAME = "${env:PHONE_VERIFY_TEST_UNSET}"
SECURITY_CODE_EXPIRATION_SECONDS = 600
VERIFY_SECURITY_CODE_ONLY_ONCE = "yes"
max_failed_attempts = 0
MAX_FAILED_ATTEMPTS = 5

[phone_verification.OPTIONS]
SECRET = "${file:no-such-file}"

[sever]
listen = "127.0.0.1:0"
"#,
    );
    assert_eq!(
        problems(&site),
        [
            "phone-verify.toml:6: APP_NAME refers to the environment variable PHONE_VERIFY_TEST_UNSET, which is not set",
            "phone-verify.toml:13: SECRET refers to the file no-such-file, which cannot be read: No such file or \
             directory (os error 2)",
            "phone-verify.toml:10: [phone_verification] MAX_FAILED_ATTEMPTS is set twice, with different capitalisation; keep one",
            "phone-verify.toml:4: [phone_verification] TOKEN_LENGTH must be a whole number, not a text",
            "phone-verify.toml:8: [phone_verification] VERIFY_SECURITY_CODE_ONLY_ONCE must be true or false, not a text",
            "phone-verify.toml:9: [phone_verification] MAX_FAILED_ATTEMPTS must be from 1 to 100, not 0",
            "phone-verify.toml:3: [phone_verification] TOKEN_LENGHT is not a setting; did you mean TOKEN_LENGTH?",
            "phone-verify.toml:15: [sever] is not a section; did you mean [server]?",
        ]
    );
}

#[test]
fn a_file_that_is_no_toml_is_refused_by_line_and_not_repeated() {
    let site = with_settings("[phone_verification.OPTIONS]\nSECRET = \"hunter2\nKEY = 1\n");
    let told = problems(&site).concat();
    assert!(
        told.starts_with("phone-verify.toml:2: this is not TOML: "),
        "{told}"
    );
    assert!(!told.contains("hunter2"), "{told}");
    site.write("phone-verify.toml", b"[server]\nlisten = \"\xff\"\n");
    assert_eq!(problems(&site), ["phone-verify.toml:2: this is not UTF-8"]);
    site.write(
        "phone-verify.toml",
        "[server]\nlisten = \"127.0.0.1:0\"\nlisten = \"127.0.0.1:0\"\n",
    );
    assert_eq!(problems(&site), ["phone-verify.toml:3: listen is set twice"]);
    site.write(
        "phone-verify.toml",
        "[api.keys]\none = \"x\"\n\n[api.keys]\ntwo = \"y\"\n",
    );
    assert_eq!(problems(&site), ["phone-verify.toml:4: keys is set twice"]);
    site.write("phone-verify.toml", "\"hunter2 x\" = 1\n\"hunter2 x\" = 2\n");
    assert_eq!(
        problems(&site),
        ["phone-verify.toml:2: this is not TOML: duplicate key"]
    );
}

#[test]
fn a_secret_is_never_shown() {
    let mut site = Site::with_backend(
        "nexmo.NexmoBackend",
        &json!({ "KEY": "${env:TEST_NEXMO_KEY}", "SECRET": "plain-secret", "FROM": "${file:sender}" }),
    );
    site.write("sender", "file-secret\n");
    site.set("phone_verification", "APP_NAME", "${env:TEST_NEXMO_KEY}");
    for arguments in [
        &["settings", "--print"][..],
        &["settings", "--json"],
        &["check", "--json"],
        &["check"],
    ] {
        let shown = ran(site.command(arguments).env("TEST_NEXMO_KEY", "env-secret"));
        assert_eq!(shown.code, Some(0), "{shown:#?}");
        for secret in ["env-secret", "plain-secret", "file-secret"] {
            assert!(
                !shown.stdout.contains(secret) && !shown.stderr.contains(secret),
                "{shown:#?}"
            );
        }
    }
}

#[test]
fn the_documented_defaults_are_what_is_printed() {
    let site = Site::new();
    let printed = site.run(&["settings", "--defaults"]);
    assert_eq!((printed.code, printed.stderr.as_str()), (Some(0), ""));
    assert_eq!(printed.stdout, include_str!("../../host/default.toml"));
}

#[test]
fn a_settings_dict_is_carried_over_and_the_older_name_warns() {
    let site = with_settings(
        r#"[phone_verification]
backend = "phone_verify.backends.console.ConsoleBackend"
options = {}
token_length = 6
message = "Welcome to {app}! Please use security code {security_code} to proceed."
app_name = "Phone Verify"
security_code_expiration_time = 600
verify_security_code_only_once = false
"#,
    );
    let ran = site.run(&["check"]);
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    assert!(
        ran.stderr
            .contains("SECURITY_CODE_EXPIRATION_TIME is the older name of SECURITY_CODE_EXPIRATION_SECONDS"),
        "{ran:#?}"
    );
}

#[test]
fn where_a_library_runs_is_one_of_three_words_and_trust_is_a_hash() {
    let site = with_settings(
        r#"[phone_verification]
BACKEND = "console.ConsoleBackend"
OPTIONS = {}
TOKEN_LENGTH = 6
MESSAGE = "{app} {security_code}"
APP_NAME = "Acme"
SECURITY_CODE_EXPIRATION_SECONDS = 600
VERIFY_SECURITY_CODE_ONLY_ONCE = true
[server]
listen = "127.0.0.1:0"
[plugins]
isolation = "sandbox"
[plugins.libraries]
noop = "worker"
[plugins.libraries.nexmo]
isolation = true
sha256 = "abc"
trust = "yes"
"#,
    );
    assert_eq!(
        problems(&site),
        [
            "phone-verify.toml:12: [plugins] isolation must be auto, inline or worker, not sandbox",
            "phone-verify.toml:14: [plugins] libraries.noop must be a table, not a text",
            "phone-verify.toml:16: [plugins] libraries.nexmo.isolation must be a text, not true or false",
            "phone-verify.toml:17: [plugins] libraries.nexmo.sha256 must be the 64 hexadecimal digits that \
             `phone-verify backends` shows",
            "phone-verify.toml:18: [plugins] libraries.nexmo.trust is not a setting; there are isolation, sha256, least_version \
             and signers",
        ]
    );
}

#[test]
fn what_a_library_is_told_apart_by_is_shown() {
    let mut site = Site::new();
    site.install("noop");
    let backends = site.run(&["backends"]);
    assert!(backends.stdout.contains(", isolation inline"), "{backends:#?}");
    assert!(backends.stdout.contains(", isolation worker"), "{backends:#?}");
    site.set("plugins", "isolation", "inline");
    let backends = site.run(&["backends"]);
    assert!(!backends.stdout.contains(", isolation worker"), "{backends:#?}");
    let check = site.run(&["check"]);
    assert!(check.stdout.contains("isolation inline"), "{check:#?}");
    let shown = site.run(&["settings", "--print"]);
    assert!(
        shown
            .stdout
            .contains("[plugins.libraries.console]\nisolation = \"inline\""),
        "{shown:#?}"
    );
}
