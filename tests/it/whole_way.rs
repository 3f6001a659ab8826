//! The whole way: the real daemon with a real library sends through a provider, a person types the code, and
//! every answer is the one that was promised.

use std::time::Duration;

use phone_verify_tests::{
    daemon::{Answer, Daemon},
    gateways::{Behaviour, Elks, Gateway, Nexmo, Provider, Twilio},
    site::Site,
};
use serde_json::{Value, json};

use crate::providers::http::example_for;

const NUMBER: &str = "+13478379634";
const OTHER_NUMBER: &str = "+13478379635";

/// An installation that sends through a provider.
async fn site<P: Provider>(backend: &str) -> (Gateway<P>, Site) {
    let gateway = Gateway::start().await;
    let site = Site::with_backend(backend, &Value::Object(gateway.options()));
    (gateway, site)
}

/// The code in an SMS of the default text.
fn code_in(text: &str) -> String {
    text.chars().filter(char::is_ascii_digit).collect()
}

fn wrong(code: &str) -> &'static str {
    if code == "000000" { "000001" } else { "000000" }
}

fn non_field(answer: &Answer) -> &str {
    answer.body["non_field_errors"][0].as_str().unwrap_or_default()
}

#[tokio::test]
async fn a_number_is_verified_through_nexmo() {
    let (gateway, site) = site::<Nexmo>("nexmo.NexmoBackend").await;
    let daemon = site.serve();
    let registered = daemon.register("+1 347-837-9634").await;
    assert_eq!(registered.status, 200, "{registered:?}");
    let sms = gateway.sms_to(NUMBER).await;
    let code = code_in(&sms.text);
    assert_eq!(
        sms.text,
        format!("Welcome to Phone Verify! Please use security code {code} to proceed.")
    );
    let verified = daemon.verify(NUMBER, registered.session_token(), &code).await;
    assert_eq!(
        (verified.status, &verified.body),
        (200, &json!({ "message": "Security code is valid." }))
    );
}

#[tokio::test]
async fn a_number_is_verified_through_twilio() {
    let (gateway, site) = site::<Twilio>("phone_verify.backends.twilio.TwilioBackend").await;
    let daemon = site.serve();
    let registered = daemon.register(NUMBER).await;
    let code = code_in(&gateway.sms_to(NUMBER).await.text);
    assert_eq!(
        daemon
            .verify(NUMBER, registered.session_token(), &code)
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn a_number_is_verified_through_a_provider_that_only_the_settings_know() {
    let gateway = Gateway::<Elks>::start().await;
    let options = example_for("46elks", &gateway);
    let site = Site::with_backend("http.HttpBackend", &Value::Object(options));
    let daemon = site.serve();
    let registered = daemon.register(NUMBER).await;
    assert_eq!(registered.status, 200, "{registered:?}");
    let code = code_in(&gateway.sms_to(NUMBER).await.text);
    let verified = daemon.verify(NUMBER, registered.session_token(), &code).await;
    assert_eq!(verified.status, 200, "{verified:?}");

    gateway.next(Behaviour::Refuse(403));
    let refused = daemon.register(OTHER_NUMBER).await;
    assert_eq!(refused.status, 503, "{refused:?}");
    daemon.wait_for_log("Not enough credits");
    assert!(!daemon.log().contains(&code), "{}", daemon.log());
}

#[tokio::test]
async fn a_sandbox_takes_its_fixed_code_for_a_registered_session_alone() {
    let (gateway, site) = site::<Nexmo>("nexmo.NexmoSandboxBackend").await;
    let daemon = site.serve();
    daemon.wait_for_log("sandbox");
    assert!(
        daemon.get("/readyz").await.body["warnings"][0]
            .as_str()
            .unwrap()
            .contains("sandbox")
    );
    let token = gateway.options()["SANDBOX_TOKEN"].as_str().unwrap().to_owned();
    assert_eq!(
        daemon.verify(NUMBER, "unregistered", &token).await.code(),
        "security_code_invalid"
    );
    let registered = daemon.register(NUMBER).await;
    let session = registered.session_token();
    for _ in 0..5 {
        assert_eq!(
            daemon.verify(NUMBER, session, wrong(&token)).await.code(),
            "security_code_invalid"
        );
    }
    assert_eq!(
        daemon.verify(NUMBER, session, &token).await.code(),
        "too_many_attempts"
    );
    let registered = daemon.register(OTHER_NUMBER).await;
    assert_eq!(
        daemon
            .verify(OTHER_NUMBER, registered.session_token(), &token)
            .await
            .status,
        200
    );
}

/// Registers, and reads the code off the phone.
async fn registered(daemon: &Daemon, gateway: &Gateway<Nexmo>, number: &str) -> (String, String) {
    let answer = daemon.register(number).await;
    let code = code_in(&gateway.sms_to(number).await.text);
    (answer.session_token().to_owned(), code)
}

#[tokio::test]
async fn a_code_is_used_once() {
    let (gateway, site) = site::<Nexmo>("nexmo.NexmoBackend").await;
    let daemon = site.serve();
    let (session, code) = registered(&daemon, &gateway, NUMBER).await;
    assert_eq!(daemon.verify(NUMBER, &session, &code).await.status, 200);
    let again = daemon.verify(NUMBER, &session, &code).await;
    assert_eq!(
        (again.status, non_field(&again)),
        (400, "Security code is already verified")
    );
}

#[tokio::test]
async fn wrong_codes_end_a_session_and_a_stranger_ends_nobodys() {
    let (gateway, site) = site::<Nexmo>("nexmo.NexmoBackend").await;
    let daemon = site.serve();
    let (session, code) = registered(&daemon, &gateway, NUMBER).await;
    let (stranger, same_code) = registered(&daemon, &gateway, NUMBER).await;
    assert_eq!(code, same_code, "a pending code is sent again, not replaced");
    for _ in 0..5 {
        let answer = daemon.verify(NUMBER, &stranger, wrong(&code)).await;
        assert_eq!(
            (answer.status, non_field(&answer)),
            (400, "Security code is not valid")
        );
    }
    let locked = daemon.verify(NUMBER, &stranger, &code).await;
    assert_eq!(
        (locked.status, non_field(&locked)),
        (
            400,
            "Too many failed verification attempts. Please request a new code."
        )
    );
    let refused = daemon.register(NUMBER).await;
    assert_eq!((refused.status, refused.code()), (429, "attempts_used_up"));
    let wait: u64 = refused.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=600).contains(&wait), "{wait}");
    assert_eq!(daemon.verify(NUMBER, &session, &code).await.status, 200);
}

#[tokio::test]
async fn a_session_is_good_for_its_number_and_its_time() {
    let (gateway, site) = site::<Nexmo>("nexmo.NexmoBackend").await;
    let daemon = site.serve();
    let (session, code) = registered(&daemon, &gateway, NUMBER).await;
    for (number, session) in [(OTHER_NUMBER, session.as_str()), (NUMBER, "unknown")] {
        let answer = daemon.verify(number, session, &code).await;
        assert_eq!(
            (answer.status, non_field(&answer)),
            (400, "Security code is not valid")
        );
    }
    let database = rusqlite::Connection::open(site.path("phone-verify.db")).unwrap();
    database.busy_timeout(Duration::from_secs(10)).unwrap();
    database
        .execute("UPDATE verification SET expires_at = 1", [])
        .unwrap();
    let answer = daemon.verify(NUMBER, &session, &code).await;
    assert_eq!(
        (answer.status, non_field(&answer)),
        (400, "Security code has expired")
    );
}

#[tokio::test]
async fn what_the_provider_refuses_is_no_success() {
    let (gateway, mut site) = site::<Nexmo>("nexmo.NexmoBackend").await;
    site.set("dispatch", "send_timeout_seconds", 1)
        .set("dispatch", "total_timeout_seconds", 1);
    let daemon = site.serve();
    let cases = [
        (Behaviour::Refuse(7), 400, "phone_number_opted_out"),
        (Behaviour::Refuse(6), 400, "phone_number_refused"),
        (Behaviour::Refuse(29), 400, "destination_blocked"),
        (Behaviour::Throttle(Duration::from_secs(30)), 503, "sms_not_sent"),
        (Behaviour::Refuse(9), 503, "sms_not_sent"),
        (Behaviour::Refuse(15), 502, "sms_not_sent"),
        (Behaviour::DropAfterReading, 502, "sms_outcome_unknown"),
        (Behaviour::BrokenJson, 502, "sms_outcome_unknown"),
        (Behaviour::HugeBody, 502, "sms_outcome_unknown"),
        (Behaviour::Hold, 502, "sms_outcome_unknown"),
    ];
    for (place, (behaviour, status, code)) in cases.into_iter().enumerate() {
        gateway.next(behaviour);
        let number = format!("+1347837{:04}", 1000 + place);
        let answer = daemon.register(&number).await;
        assert_eq!(
            (answer.status, answer.code()),
            (status, code),
            "{behaviour:?}: {answer:?}"
        );
        assert!(answer.body.get("session_token").is_none());
        // A success in between keeps the breaker closed.
        assert_eq!(
            daemon
                .register(&format!("+1347837{:04}", 2000 + place))
                .await
                .status,
            200
        );
    }
}

#[tokio::test]
async fn a_passing_fault_is_tried_once_more() {
    let (gateway, site) = site::<Nexmo>("nexmo.NexmoBackend").await;
    let daemon = site.serve();
    gateway.next(Behaviour::Throttle(Duration::from_millis(20)));
    let (session, code) = registered(&daemon, &gateway, NUMBER).await;
    assert_eq!(gateway.requests(), 2);
    assert_eq!(daemon.verify(NUMBER, &session, &code).await.status, 200);
}

#[tokio::test]
async fn a_provider_that_fails_in_a_row_is_left_alone_and_codes_that_it_took_are_still_checked() {
    let (gateway, site) = site::<Nexmo>("nexmo.NexmoBackend").await;
    let daemon = site.serve();
    let ready = daemon.get("/readyz").await;
    assert_eq!((ready.status, &ready.body["status"]), (200, &json!("ready")));
    let (session, code) = registered(&daemon, &gateway, OTHER_NUMBER).await;
    for place in 0..5 {
        gateway.next(Behaviour::Refuse(4));
        assert_eq!(
            daemon
                .register(&format!("+1347837{:04}", 3000 + place))
                .await
                .status,
            503
        );
    }
    let requests = gateway.requests();
    let refused = daemon.register(NUMBER).await;
    assert_eq!(
        (refused.status, gateway.requests()),
        (503, requests),
        "the provider is not asked"
    );
    assert!(refused.headers.contains_key("retry-after"));
    let readiness = daemon.get("/readyz").await;
    assert_eq!(
        (
            readiness.status,
            &readiness.body["status"],
            &readiness.body["backend"]["breaker"]
        ),
        (200, &json!("degraded"), &json!("open")),
        "an orchestrator goes on sending requests here"
    );
    let warning = readiness.body["warnings"][0].as_str().unwrap();
    assert!(
        warning.contains("the provider behind nexmo.NexmoBackend failed"),
        "{warning}"
    );
    daemon.wait_for_log("breaker opened: the provider failed that often in a row");
    assert_eq!(daemon.get("/healthz").await.status, 200);
    assert_eq!(daemon.verify(OTHER_NUMBER, &session, &code).await.status, 200);
}

#[tokio::test]
async fn an_acknowledged_registration_survives_a_kill() {
    let (gateway, site) = site::<Nexmo>("nexmo.NexmoBackend").await;
    let daemon = site.serve();
    let (session, code) = registered(&daemon, &gateway, NUMBER).await;
    drop(daemon); // kills it
    let daemon = site.serve();
    assert_eq!(daemon.verify(NUMBER, &session, &code).await.status, 200);
    drop(daemon);
    let daemon = site.serve();
    assert_eq!(
        daemon.verify(NUMBER, &session, &code).await.code(),
        "security_code_already_verified"
    );
}

#[tokio::test]
async fn the_language_of_the_request_chooses_the_text() {
    let (gateway, mut site) = site::<Nexmo>("nexmo.NexmoBackend").await;
    let messages: toml::Table = "es = \"¡Bienvenido a {app}! Código {security_code} ✓\""
        .parse()
        .unwrap();
    site.set("phone_verification", "MESSAGES", messages);
    let daemon = site.serve();
    let request = daemon
        .request("POST", "/api/phone/register")
        .header("accept-language", "fr, es-MX;q=0.8")
        .json(&json!({ "phone_number": NUMBER }));
    assert_eq!(daemon.send(request).await.status, 200);
    let text = gateway.sms_to(NUMBER).await.text;
    assert_eq!(
        text,
        format!("¡Bienvenido a Phone Verify! Código {} ✓", code_in(&text))
    );
}
