//! OAuth 2 access tokens.

use std::{
    future::Future,
    pin::pin,
    task::{Context, Waker},
    time::Duration,
};

use phone_verify_plugin_api::{
    ErrorKind,
    serde_json::{Value, json},
    testing::{Answer, TestHost, Tested},
};

use super::{ALICE, TEXT, set_up};
use crate::HttpBackend;

fn with_tokens(changes: &Value) -> (TestHost, Tested<HttpBackend>) {
    let mut options = json!({
        "TOKEN_URL": "https://login.provider.example/token",
        "TOKEN_BASIC_AUTH": "{key}:{secret}",
        "TOKEN_FORM": { "scope": "sms send" },
    });
    let table = options.as_object_mut().unwrap();
    table.extend(changes.as_object().unwrap().clone());
    set_up(&options)
}

fn token(name: &str, seconds: u64) -> Answer {
    Answer::new(200).json(&json!({ "access_token": name, "token_type": "Bearer", "expires_in": seconds }))
}

/// Lets time pass: the clock of the host moves when somebody sleeps.
fn pass(host: &TestHost, time: Duration) {
    let host = host.host();
    let mut sleep = pin!(host.sleep(time));
    let slept = sleep.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(slept.is_ready());
}

/// The URLs and the Authorization of all requests since the last look.
fn seen(host: &TestHost) -> Vec<(String, String)> {
    host.requests()
        .iter()
        .map(|request| {
            let authorization = request.header("authorization").unwrap_or_default();
            (request.url().to_owned(), authorization.to_owned())
        })
        .collect()
}

const TOKEN_URL: &str = "https://login.provider.example/token";
const URL: &str = "https://api.provider.example/sms";

fn asked() -> (String, String) {
    (
        TOKEN_URL.to_owned(),
        "Basic YS1zZWNyZXQta2V5OmFub3RoZXItc2VjcmV0".to_owned(),
    )
}

fn sent(token: &str) -> (String, String) {
    (URL.to_owned(), format!("Bearer {token}"))
}

#[test]
fn a_token_is_asked_for_once_and_kept_until_shortly_before_it_expires() {
    let (host, backend) = with_tokens(&json!({}));
    host.answer(token("t-1", 600))
        .answer(Answer::new(200))
        .answer(Answer::new(200));
    backend.send_sms(ALICE, TEXT).unwrap();
    let requests = host.requests();
    assert_eq!(
        requests[0].form("grant_type").as_deref(),
        Some("client_credentials")
    );
    assert_eq!(requests[0].form("scope").as_deref(), Some("sms send"));
    backend.send_sms(ALICE, TEXT).unwrap();
    assert_eq!(seen(&host), [sent("t-1")]);

    pass(&host, Duration::from_secs(541));
    host.answer(token("t-2", 600)).answer(Answer::new(200));
    backend.send_sms(ALICE, TEXT).unwrap();
    assert_eq!(seen(&host), [asked(), sent("t-2")]);
}

#[test]
fn a_refused_token_is_replaced_once() {
    let (host, backend) = with_tokens(&json!({}));
    host.answer(token("t-1", 600)).answer(Answer::new(401));
    host.answer(token("t-2", 600)).answer(Answer::new(200));
    backend.send_sms(ALICE, TEXT).unwrap();
    assert_eq!(seen(&host), [asked(), sent("t-1"), asked(), sent("t-2")]);

    host.answer(Answer::new(401))
        .answer(token("t-3", 600))
        .answer(Answer::new(401));
    let error = backend.send_sms(ALICE, TEXT).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AuthFailed);
    assert_eq!(seen(&host), [sent("t-2"), asked(), sent("t-3")]);
}

#[test]
fn without_a_token_nothing_was_sent() {
    for (answer, kind) in [
        (
            Answer::new(401).json(&json!({ "error": "invalid_client" })),
            ErrorKind::AuthFailed,
        ),
        (Answer::new(400), ErrorKind::AuthFailed),
        (Answer::new(404), ErrorKind::Config),
        (Answer::new(302), ErrorKind::Config),
        (
            Answer::new(429).retry_after(Duration::from_secs(2)),
            ErrorKind::Throttled,
        ),
        (Answer::new(500), ErrorKind::Transient),
        (Answer::new(200).body("<html>"), ErrorKind::Transient),
        (
            Answer::new(200).json(&json!({ "access_token": "a\r\nb: c" })),
            ErrorKind::Transient,
        ),
        (
            Answer::new(200).json(&json!({ "access_token": "" })),
            ErrorKind::Transient,
        ),
        (Answer::no_connection(), ErrorKind::Transient),
        (Answer::no_answer_in_time(), ErrorKind::Transient),
        (Answer::connection_reset(), ErrorKind::Transient),
    ] {
        let (host, backend) = with_tokens(&json!({}));
        host.answer(answer);
        let error = backend.send_sms(ALICE, TEXT).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.message().contains("TOKEN_URL"), "{error}");
        assert_eq!(seen(&host), [asked()]);
    }
}

#[test]
fn a_token_goes_where_its_placeholder_is_and_into_no_error() {
    let (host, backend) = with_tokens(&json!({
        "HEADERS": { "X-Session": "{access_token}" }, "ERROR_TEXT": "text", "BASIC_AUTH": "{user}:{password}",
    }));
    host.answer(token("t-1-secret", 600));
    host.answer(Answer::new(400).body("session t-1-secret is too old"));
    let error = backend.send_sms(ALICE, TEXT).unwrap_err();
    assert!(error.message().ends_with("session *** is too old"), "{error}");
    let requests = host.requests();
    assert_eq!(requests[1].header("x-session"), Some("t-1-secret"));
    assert!(requests[1].header("authorization").unwrap().starts_with("Basic "));
}

#[test]
fn a_server_that_wants_the_client_in_the_form_gets_it_there() {
    let (host, backend) = with_tokens(&json!({
        "TOKEN_BASIC_AUTH": null,
        "TOKEN_FORM": { "grant_type": "custom", "client_id": "{key}", "client_secret": "{secret}" },
    }));
    host.answer(token("t-1", 600)).answer(Answer::new(200));
    backend.send_sms(ALICE, TEXT).unwrap();
    let requests = host.requests();
    assert_eq!(requests[0].header("authorization"), None);
    assert_eq!(requests[0].form("client_id").as_deref(), Some("a-secret-key"));
    assert_eq!(requests[0].form("grant_type").as_deref(), Some("custom"));
}
