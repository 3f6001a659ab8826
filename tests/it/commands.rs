//! The commands, as a user or a script runs them.

use phone_verify_tests::site::{Site, ran};
use serde_json::{Value, json};

const NUMBER: &str = "+13478379634";

fn fixed_code() -> Site {
    Site::with_backend("noop.FixedCodeBackend", &json!({}))
}

#[test]
fn a_number_is_verified_from_the_terminal() {
    let site = fixed_code();
    let registered = site.run(&["register", NUMBER, "--json"]);
    assert_eq!(registered.code, Some(0), "{registered:#?}");
    let result = registered.json();
    let token = result["session_token"].as_str().unwrap();
    let verify = |code: &str| {
        site.run(&[
            "verify",
            NUMBER,
            "--session-token",
            token,
            "--code",
            code,
            "--json",
        ])
    };
    let wrong = verify("000000");
    assert_eq!(
        (wrong.code, wrong.json()["status"].as_str()),
        (Some(1), Some("invalid")),
        "{wrong:#?}"
    );
    let right = verify("123456");
    assert_eq!(
        (right.code, right.json()["status"].as_str()),
        (Some(0), Some("verified")),
        "{right:#?}"
    );
    let again = verify("123456");
    assert_eq!(
        (again.code, again.json()["status"].as_str()),
        (Some(1), Some("already_verified")),
        "{again:#?}"
    );
}

#[test]
fn a_database_that_is_not_there_is_no_empty_one() {
    let mut site = fixed_code();
    site.set("store", "url", "sqlite:misspelt.db");
    for arguments in [
        &["forget", NUMBER][..],
        &["forget", NUMBER, "--dry-run"],
        &["export", NUMBER],
        &["audit"],
        &["events"],
        &["decisions"],
        &["cleanup"],
        &["cleanup", "--dry-run"],
        &["backup", "copy.db"],
        &["verify", NUMBER, "--session-token", "none", "--code", "123456"],
    ] {
        let refused = site.run(arguments);
        assert_eq!(refused.code, Some(2), "{arguments:?} {refused:#?}");
        assert!(
            refused.stderr.contains("there is no database") && refused.stderr.contains("misspelt.db"),
            "{arguments:?} {refused:#?}"
        );
        assert!(!site.path("misspelt.db").exists(), "{arguments:?}");
        assert!(!site.path("misspelt.db.key").exists(), "{arguments:?}");
    }
}

#[test]
fn what_register_prints_can_be_pasted() {
    let site = Site::new();
    let registered = site.run(&["register", "+1 (347) 837-9634"]);
    assert_eq!(registered.code, Some(0), "{registered:#?}");
    let sms = registered
        .stderr
        .lines()
        .find(|line| line.contains("security code"))
        .unwrap();
    let code: String = sms.chars().filter(char::is_ascii_digit).collect();
    let command = registered
        .stdout
        .lines()
        .find(|line| line.contains("phone-verify verify"))
        .unwrap();
    let token = command
        .split_whitespace()
        .skip_while(|word| *word != "--session-token")
        .nth(1)
        .unwrap();
    let verified = site.run(&["verify", NUMBER, "--session-token", token, "--code", &code]);
    assert_eq!(
        (verified.code, verified.stdout.as_str()),
        (Some(0), "verified\n"),
        "{verified:#?}"
    );
}

#[test]
fn an_sms_that_may_have_been_sent_is_not_called_unsent() {
    let mut site = Site::with_backend("villain.VillainBackend", &json!({}));
    site.set("phone_verification", "MESSAGE", "panic {security_code}");
    let told = site.run(&["register", NUMBER]);
    assert_eq!(told.code, Some(1), "{told:#?}");
    assert!(
        told.stderr
            .contains("error: it is not known whether the SMS was sent: plugin_panic: "),
        "{told:#?}"
    );
    assert!(!told.stderr.contains("not sent"), "{told:#?}");
}

#[test]
fn wrong_arguments_end_with_2() {
    let site = fixed_code();
    for arguments in [
        &["register", "12"][..],
        &["register"],
        &["verify", NUMBER],
        &["send", "--message", "hello"],
        &["send", "--message", " ", NUMBER],
        &["send", "--message", "hello", "--numbers-file", "gone"],
        &["send", "--message", "hello", NUMBER, "nonsense", "+12"],
        &["cleanup", "--days", "-1"],
        &["check", "--settings", "gone.toml"],
        &["serve", "--demo", "--settings", "phone-verify.toml"],
        &["nonsense"],
    ] {
        let ran = site.run(arguments);
        assert_eq!(ran.code, Some(2), "{arguments:?}: {ran:#?}");
        assert_eq!(ran.stdout, "", "{arguments:?}");
        assert!(!ran.stderr.is_empty(), "{arguments:?}");
    }
}

#[test]
fn a_wrong_argument_is_told_with_what_is_needed() {
    let site = fixed_code();
    let said = |arguments: &[&str]| site.run(arguments).stderr;
    let told = said(&["send", "--message", "hello", NUMBER, "3478379634"]);
    assert!(
        told.ends_with("error: number 2: this is not a valid phone number; write it with its country code, such as +13478379634\n"),
        "{told}"
    );
    for listen in ["8001", ":8001", "localhost", "unix:"] {
        let told = said(&["serve", "--listen", listen]);
        assert!(
            told.contains("an address and a port such as 127.0.0.1:8000"),
            "{told}"
        );
    }
}

#[test]
fn check_says_what_would_run() {
    let site = fixed_code();
    let checked = site.run(&["check", "--json"]);
    assert_eq!(checked.code, Some(0), "{checked:#?}");
    let result = checked.json();
    assert_eq!(result["ok"], true);
    assert_eq!(result["backend"], "noop.FixedCodeBackend");
    assert_eq!(result["sandbox"], true);
    assert!(!site.path("phone-verify.db").exists(), "it only looks");
    let told = site.run(&["check"]);
    assert!(told.stdout.starts_with("all is well\n") && told.stdout.contains("noop.FixedCodeBackend"));
}

#[test]
fn check_looks_at_the_place_of_the_database_too() {
    let mut site = fixed_code();
    site.set("phone_verification", "BACKEND", "noop.NoSuchBackend")
        .set("store", "url", "sqlite:gone/phone-verify.db");
    let ran = site.run(&["check"]);
    assert_eq!(ran.code, Some(2), "{ran:#?}");
    assert!(
        ran.stderr.contains("NoSuchBackend") && ran.stderr.contains("/gone; make it"),
        "{ran:#?}"
    );
    site.set("phone_verification", "BACKEND", "noop.FixedCodeBackend")
        .set("store", "url", "sqlite:phone-verify.db");
    site.write("phone-verify.db.key", "nonsense");
    let ran = site.run(&["check"]);
    assert_eq!(ran.code, Some(2), "{ran:#?}");
    assert!(
        ran.stderr.contains("phone-verify.db.key") && !ran.stderr.contains("nonsense"),
        "{ran:#?}"
    );
}

#[test]
fn problems_are_json_too_when_asked_for() {
    let mut site = fixed_code();
    site.set("server", "listne", "127.0.0.1:0");
    let ran = site.run(&["check", "--json"]);
    assert_eq!(ran.code, Some(2), "{ran:#?}");
    let problems = ran.json();
    assert_eq!(problems["ok"], false);
    let told = problems["problems"][0].as_str().unwrap();
    assert!(
        told.contains("listne") && told.contains("did you mean listen?"),
        "{told}"
    );
}

#[test]
fn every_library_is_listed_loadable_or_not() {
    let site = fixed_code();
    site.install("console");
    site.install("nexmo");
    site.write("plugins/libbroken.so", "a text file");
    let listed = site.run(&["backends", "--json"]);
    assert_eq!(listed.code, Some(0), "{listed:#?}");
    let libraries = listed.json()["libraries"].clone();
    let about = |name: &str| -> Value {
        let named = |library: &&Value| library["path"].as_str().unwrap().contains(name);
        libraries.as_array().unwrap().iter().find(named).unwrap().clone()
    };
    assert!(about("libconsole").to_string().contains("ConsoleBackend"));
    assert!(about("libnoop").to_string().contains("FixedCodeBackend"));
    assert!(
        about("libbroken").to_string().contains("P2"),
        "{}",
        about("libbroken")
    );
    let told = site.run(&["backends"]).stdout;
    assert!(
        told.contains("console.ConsoleBackend") && told.contains("libbroken.so"),
        "{told}"
    );
    // Each option with what it is when nothing is said.
    assert!(told.contains("default \"https://rest.nexmo.com\""), "{told}");
}

#[test]
fn old_records_are_counted_and_then_deleted() {
    let site = fixed_code();
    for number in ["+13478379634", "+13478379635"] {
        assert_eq!(site.run(&["register", number]).code, Some(0));
    }
    let cleanup = |arguments: &[&str]| {
        let arguments = [&["cleanup", "--json"], arguments].concat();
        let ran = site.run(&arguments);
        assert_eq!(ran.code, Some(0), "{ran:#?}");
        ran.json()["records"].clone()
    };
    assert_eq!(cleanup(&[]), 0, "they are not 30 days old");
    assert_eq!(cleanup(&["--days", "0", "--dry-run"]), 2);
    assert_eq!(cleanup(&["--days", "0"]), 2);
    assert_eq!(cleanup(&["--days", "0"]), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_needs_nothing_but_itself() {
    let site = Site::new();
    let daemon = site.serve_demo();
    let registered = daemon.register(NUMBER).await;
    assert_eq!(registered.status, 200, "{registered:?}\n{}", daemon.log());
    let checked = daemon
        .verify(NUMBER, registered.session_token(), &daemon.code_on_console())
        .await;
    assert_eq!(checked.status, 200, "{checked:?}");
    let ready = daemon.get("/readyz").await;
    assert_eq!(ready.status, 200, "{ready:?}");
    assert!(
        ready.body.to_string().contains("console.ConsoleBackend"),
        "{ready:?}"
    );
    assert!(daemon.printed().contains("curl"), "{}", daemon.printed());
}

#[test]
fn colours_are_for_terminals() {
    let mut site = fixed_code();
    site.set("phone_verification", "SECURITY_CODE_EXPIRATION_SECONDS", 3600);
    let warned = ran(&mut site.command(&["check"]));
    assert!(
        warned.stderr.contains("3600 seconds") && !warned.stderr.contains('\u{1b}'),
        "{warned:#?}"
    );
}

#[tokio::test]
async fn a_number_is_exported_and_forgotten_and_the_log_says_who_did_it() {
    let site = Site::new();
    let daemon = site.serve();
    let number = "+13478379634";
    let token = daemon.register(number).await.session_token().to_owned();
    let code = daemon.code_on_console();
    let exported = site.run(&["export", number, "--json"]).json();
    assert_eq!(exported["phone_number"], number);
    assert_eq!(exported["verifications"][0]["status"], "pending");
    assert!(!exported.to_string().contains(&code), "never the code");

    assert_eq!(
        site.run(&["forget", number, "--dry-run", "--json"]).json()["records"],
        1
    );
    assert_eq!(site.run(&["forget", number, "--json"]).json()["records"], 1);
    let refused = daemon.verify(number, &token, &code).await;
    assert_eq!(refused.code(), "security_code_invalid");
    let gone = site.run(&["export", number, "--json"]).json();
    assert_eq!(gone["verifications"], serde_json::json!([]));

    let log = site.run(&["audit", "--json"]).json()["entries"].clone();
    let entries: Vec<_> = log
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["action"].as_str().unwrap())
        .collect();
    assert_eq!(entries, ["export", "forget", "export"]);
    assert_eq!(log[1]["subject"], "+13****34");
    assert!(log[1]["actor"].as_str().unwrap().starts_with("uid:"), "{log}");
    let database = rusqlite::Connection::open(site.path("phone-verify.db")).unwrap();
    for sql in [
        "DELETE FROM audit",
        "UPDATE audit SET actor = 'nobody'",
        "REPLACE INTO audit SELECT id, at, 'nobody', action, subject FROM audit",
    ] {
        assert!(database.execute_batch(sql).is_err(), "{sql}");
    }
    assert_eq!(site.run(&["audit", "--json"]).json()["entries"], log);
}
