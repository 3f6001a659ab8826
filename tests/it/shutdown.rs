//! How a daemon ends: in order when it is asked to, and without loss when it is not.

use std::sync::Arc;

use phone_verify_tests::{
    gateways::{Behaviour, NexmoGateway},
    site::Site,
};
use rustix::process::Signal;
use serde_json::{Value, json};

const NUMBER: &str = "+13478379634";

fn code_in(text: &str) -> String {
    text.chars().filter(char::is_ascii_digit).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn on_sigterm_requests_under_way_finish() {
    let gateway = NexmoGateway::start().await;
    let site = Site::with_backend("nexmo.NexmoBackend", &Value::Object(gateway.options()));
    let daemon = Arc::new(site.serve());
    gateway.next(Behaviour::Hold);
    let under_way = tokio::spawn({
        let daemon = Arc::clone(&daemon);
        async move { daemon.register(NUMBER).await }
    });
    let sms = gateway.sms_to(NUMBER).await;
    daemon.signal(Signal::TERM);
    daemon.wait_for_log("stopping");
    gateway.release();
    let answer = under_way.await.unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    let (status, log) = Arc::into_inner(daemon).unwrap().wait();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(log.contains("everything under way was finished"), "{log}");

    let daemon = site.serve();
    let checked = daemon
        .verify(NUMBER, answer.session_token(), &code_in(&sms.text))
        .await;
    assert_eq!(checked.status, 200, "{checked:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledged_registration_survives_kill_9() {
    let site = Site::with_backend("noop.FixedCodeBackend", &json!({}));
    let daemon = site.serve();
    let registered = daemon.register(NUMBER).await;
    daemon.signal(Signal::KILL);
    daemon.wait();
    let daemon = site.serve();
    let checked = daemon.verify(NUMBER, registered.session_token(), "123456").await;
    assert_eq!(checked.status, 200, "{checked:?}");
    daemon.signal(Signal::KILL);
    daemon.wait();
    let daemon = site.serve();
    let again = daemon.verify(NUMBER, registered.session_token(), "123456").await;
    assert_eq!(again.code(), "security_code_already_verified", "{again:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sighup_does_not_end_it_and_sigint_does() {
    let daemon = Site::new().serve();
    daemon.signal(Signal::HUP);
    daemon.wait_for_log("SIGHUP");
    assert_eq!(daemon.get("/healthz").await.body, json!({ "status": "ok" }));
    daemon.signal(Signal::INT);
    let (status, log) = daemon.wait();
    assert_eq!(status.code(), Some(0), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_secret_is_logged() {
    let gateway = NexmoGateway::start().await;
    let mut site = Site::with_backend("nexmo.NexmoBackend", &Value::Object(gateway.options()));
    site.set("log", "level", "trace");
    let daemon = site.serve();
    let registered = daemon.register(NUMBER).await;
    let code = code_in(&gateway.sms_to(NUMBER).await.text);
    daemon.verify(NUMBER, registered.session_token(), "000000").await;
    daemon.verify(NUMBER, registered.session_token(), &code).await;
    gateway.next(Behaviour::Refuse(9));
    daemon.register(NUMBER).await;
    daemon
        .post("/api/phone/register", &json!({ "phone_number": "+134783" }))
        .await;
    let token = registered.session_token().to_owned();
    let (_, log) = daemon.stop();
    let secret = gateway.options()["SECRET"].as_str().unwrap().to_owned();
    for hidden in [&code, &token, &secret, "13478379634", "3478379634", "+134783"] {
        assert!(!log.contains(hidden), "{hidden} was logged:\n{log}");
    }
    assert!(
        log.contains("/api/phone/register") && log.contains("200"),
        "{log}"
    );
}
