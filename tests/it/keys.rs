//! The server's keys, as an operator has them: in a file or in the settings, exchanged, and lost.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
};

use phone_verify_tests::{daemon::Daemon, site::Site};

const NUMBER: &str = "+13478379634";
const KEY_FILE: &str = "phone-verify.db.key";

fn key(digit: &str) -> String {
    digit.repeat(64)
}

#[tokio::test]
async fn a_code_is_good_after_a_restart_with_a_newer_key_and_bad_without_its_own() {
    let site = Site::new();
    let daemon = site.serve();
    let token = daemon.register(NUMBER).await.session_token().to_owned();
    let code = daemon.code_on_console();
    let _ = daemon.stop();

    let old = fs::read_to_string(site.path(KEY_FILE)).unwrap();
    let new = key("a");
    site.write(KEY_FILE, format!("{new}\n{old}"));
    let daemon = site.serve();
    let other = "+13478379635";
    let other_token = daemon.register(other).await.session_token().to_owned();
    let other_code = daemon.code_on_console();
    assert_eq!(daemon.verify(NUMBER, &token, &code).await.status, 200);
    let _ = daemon.stop();

    site.write(KEY_FILE, new);
    let daemon = site.serve();
    let refused = daemon.verify(NUMBER, &token, &code).await;
    assert_eq!(refused.code(), "security_code_invalid");
    assert_eq!(daemon.verify(other, &other_token, &other_code).await.status, 200);
}

#[test]
fn a_database_without_its_keys_is_refused_until_they_are_back() {
    let site = Site::new();
    assert_eq!(site.run(&["register", NUMBER]).code, Some(0));
    let keys = fs::read(site.path(KEY_FILE)).unwrap();
    fs::rename(site.path(KEY_FILE), site.path("kept")).unwrap();
    for command in [&["register", NUMBER][..], &["check"]] {
        let ran = site.run(command);
        assert_eq!(ran.code, Some(2), "{ran:?}");
        assert!(
            ran.stderr.contains("phone-verify.db.key is not; bring it back"),
            "{ran:?}"
        );
    }
    assert!(
        !site.path(KEY_FILE).exists(),
        "no key was made that would not be its own"
    );
    fs::rename(site.path("kept"), site.path(KEY_FILE)).unwrap();
    site.write(KEY_FILE, key("b"));
    for command in [&["register", NUMBER][..], &["check"]] {
        let ran = site.run(command);
        assert_eq!(ran.code, Some(2), "{ran:?}");
        assert!(
            ran.stderr
                .contains("was written with keys that are not among those given"),
            "{ran:?}"
        );
    }
    site.write(KEY_FILE, keys);
    assert_eq!(site.run(&["register", NUMBER]).code, Some(0));
}

#[tokio::test]
async fn keys_in_the_settings_need_no_file_and_are_shown_nowhere() {
    let mut site = Site::new();
    let key = key("7");
    site.write_private("secret", &key);
    for (given, is_warned_of) in [("${file:secret}", false), (&key, true)] {
        site.set("store", "keys", vec![given]);
        let warned = site
            .run(&["check"])
            .stderr
            .contains("keys stand there for everybody");
        assert_eq!(warned, is_warned_of);
        let daemon = site.serve();
        let token = daemon.register(NUMBER).await.session_token().to_owned();
        let verified = daemon.verify(NUMBER, &token, &daemon.code_on_console()).await;
        assert_eq!(verified.status, 200, "{verified:?}");
        assert!(!site.path(KEY_FILE).exists());
        let shown = site.run(&["settings", "--print"]);
        assert!(shown.stdout.contains("keys = \"***\""), "{shown:?}");
        let log = daemon.log();
        assert!(!format!("{shown:?}{log}").contains(&key), "{shown:?}\n{log}");
    }
    site.set("store", "keys", vec![format!("{key}0")]);
    let ran = site.run(&["check"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(
        ran.stderr
            .contains("[store] keys must be a list of keys of 64 hexadecimal digits each"),
        "{ran:?}"
    );
    assert!(!ran.stderr.contains(&key), "{ran:?}");
    site.set("store", "keys", vec![key.as_str()])
        .set("store", "key_file", "elsewhere");
    let ran = site.run(&["check"]);
    assert!(
        ran.stderr
            .contains("[store] keys and key_file are both given; keep one"),
        "{ran:?}"
    );
}

/// A second daemon on the same database, with keys in a file of its own.
fn second(site: &Site, keys: &str) -> Daemon {
    let settings = fs::read_to_string(site.path("phone-verify.toml")).unwrap();
    let settings = settings.replace("[store]", "[store]\nkey_file = \"second.key\"");
    assert!(settings.contains("second.key"));
    site.write("second.toml", settings);
    write_keys(site, "second.key", keys);
    Daemon::start(&mut site.command(&["serve", "--settings", "second.toml"]))
}

fn write_keys(site: &Site, file: &str, keys: &str) {
    let path = site.write(file, keys);
    fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
}

fn hang_up(daemon: &Daemon) {
    daemon.signal(rustix::process::Signal::HUP);
}

#[tokio::test]
async fn keys_are_exchanged_in_two_steps_while_two_processes_serve() {
    let mut site = Site::new();
    site.set("store", "url", "sqlite:phone-verify.db");
    site.set("limits", "number_per_day", 2);
    let (old, new) = (key("1"), key("2"));
    write_keys(&site, KEY_FILE, &old);
    let first = site.serve();
    let second = second(&site, &old);
    let daemons = [(&first, KEY_FILE), (&second, "second.key")];
    // The new one goes last everywhere, and then first everywhere. At every moment codes of either are good at the
    // other.
    let (mut number, mut sent) = (0, [0, 0]);
    for (times, keys) in [(1, format!("{old}\n{new}\n")), (2, format!("{new}\n{old}\n"))] {
        for (daemon, file) in daemons {
            write_keys(&site, file, &keys);
            hang_up(daemon);
            daemon.wait_for_logs("the keys are exchanged", times);
            for (index, of, at) in [(0, &first, &second), (1, &second, &first)] {
                number += 1;
                sent[index] += 1;
                let number = format!("+1347837963{number}");
                let token = of.register(&number).await.session_token().to_owned();
                // The code is that of the latest line, which may be read after the answer.
                of.wait_for_logs("security code", sent[index]);
                let verified = at.verify(&number, &token, &of.code_on_console()).await;
                assert_eq!(verified.status, 200, "{keys} {verified:?}");
            }
        }
    }
    // What is counted goes on: two SMS in a day, one before and one after.
    assert_eq!(first.register("+13478379631").await.status, 200);
    for daemon in [&first, &second] {
        assert_eq!(daemon.register("+13478379631").await.status, 429);
        assert_eq!(daemon.get("/readyz").await.status, 200);
    }
}

#[tokio::test]
async fn a_process_that_lacks_the_newest_key_says_so_and_calls_no_code_wrong() {
    let mut site = Site::new();
    site.set("store", "url", "sqlite:phone-verify.db");
    let (old, new) = (key("1"), key("2"));
    write_keys(&site, KEY_FILE, &old);
    let first = site.serve();
    let second = second(&site, &old);
    write_keys(&site, KEY_FILE, &format!("{new}\n{old}\n"));
    hang_up(&first);
    first.wait_for_log("the keys are exchanged");
    let token = first.register(NUMBER).await.session_token().to_owned();
    let code = first.code_on_console();
    for _ in 0..10 {
        let refused = second.verify(NUMBER, &token, &code).await;
        assert_eq!(refused.status, 503, "{refused:?}");
    }
    assert_eq!(second.get("/readyz").await.status, 503);
    second.wait_for_log("a key that is not among this one's");
    // It looks into its file again by itself.
    write_keys(&site, "second.key", &format!("{old}\n{new}\n"));
    let verified = second.verify(NUMBER, &token, &code).await;
    assert_eq!(verified.status, 200, "{verified:?}");
    assert_eq!(second.get("/readyz").await.status, 200);
}

#[tokio::test]
async fn a_key_file_that_cannot_be_used_changes_nothing_and_is_told() {
    let site = Site::new();
    let daemon = site.serve();
    let before = fs::read_to_string(site.path(KEY_FILE)).unwrap();
    let warned = async || {
        let ready = daemon.get("/readyz").await;
        assert_eq!(ready.status, 200, "{ready:?}");
        ready.body["warnings"]
            .to_string()
            .contains("the keys cannot be exchanged")
    };
    for (times, keys, told) in [
        (1, "nonsense\n".to_owned(), "is not a key"),
        (
            2,
            key("3"),
            "none of the keys is one that the database was written with",
        ),
    ] {
        write_keys(&site, KEY_FILE, &keys);
        hang_up(&daemon);
        daemon.wait_for_log(told);
        daemon.wait_for_logs("the settings are reloaded, but for the keys", times);
        assert!(warned().await, "{told}");
    }
    write_keys(&site, KEY_FILE, &before);
    hang_up(&daemon);
    daemon.wait_for_logs("the settings are reloaded", 3);
    assert!(!warned().await);
    let token = daemon.register(NUMBER).await.session_token().to_owned();
    let verified = daemon.verify(NUMBER, &token, &daemon.code_on_console()).await;
    assert_eq!(verified.status, 200, "{verified:?}");
}
