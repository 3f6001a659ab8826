//! The server's keys, as an operator has them: in a file or in the settings, exchanged, and lost.

use std::fs;

use phone_verify_tests::site::Site;

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
    site.write("secret", &key);
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
