//! Numbers for tests over the real daemon: a fixed code, no SMS, and a warning wherever an operator looks.

use phone_verify_tests::site::Site;
use serde_json::Value;

const NUMBER: &str = "+13478379634";
const CODE: &str = "837261";

fn site(until: &str) -> Site {
    let mut site = Site::new();
    let numbers: toml::Table = format!("\"{NUMBER}\" = {{ code = \"{CODE}\", until = {until} }}")
        .parse()
        .unwrap();
    site.set("phone_verification", "TEST_NUMBERS", numbers);
    site
}

fn warned(warnings: &Value, words: &str) -> bool {
    let warnings = warnings.as_array().unwrap();
    warnings
        .iter()
        .any(|warning| warning.as_str().unwrap().contains(words))
}

#[tokio::test]
async fn a_number_for_tests_is_verified_without_an_sms_and_operators_are_told() {
    let site = site("9999-12-31");
    let checked = site.run(&["check", "--json"]).json();
    assert!(
        warned(&checked["warnings"], "numbers for tests are in effect: 1"),
        "{checked}"
    );
    let daemon = site.serve();
    daemon.wait_for_log("numbers for tests are in effect: 1");
    let ready = daemon.get("/readyz").await;
    assert!(warned(&ready.body["warnings"], "until 9999-12-31"), "{ready:?}");

    let registered = daemon.register(NUMBER).await;
    let verified = daemon.verify(NUMBER, registered.session_token(), CODE).await;
    assert_eq!(verified.status, 200, "{verified:?}");
    // Another number's SMS is the first that is printed.
    daemon.register("+13478379635").await;
    assert_ne!(daemon.code_on_console(), CODE);
    let printed = format!("{}{}", daemon.log(), daemon.printed());
    assert!(!printed.contains(CODE) && !printed.contains(NUMBER), "{printed}");
}

#[tokio::test]
async fn a_number_whose_date_has_passed_gets_its_sms_and_is_told_of() {
    let site = site("2020-01-31");
    let checked = site.run(&["check", "--json"]).json();
    assert!(
        warned(
            &checked["warnings"],
            "+13****34 was a number for tests until 2020-01-31"
        ),
        "{checked}"
    );
    let daemon = site.serve();
    let ready = daemon.get("/readyz").await;
    assert!(!warned(&ready.body["warnings"], "numbers for tests"), "{ready:?}");
    let registered = daemon.register(NUMBER).await;
    let code = daemon.code_on_console();
    let verified = daemon.verify(NUMBER, registered.session_token(), &code).await;
    assert_eq!(verified.status, 200, "{verified:?}");
}
