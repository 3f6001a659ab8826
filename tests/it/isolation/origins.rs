//! Where a failure arose: at the provider, in the library, or in the host. The breaker counts the first alone, and no
//! library can say it of itself.

use std::time::Duration;

use axum::{Router, routing::post};
use phone_verify::model::{FailureClass, Origin, SendFailure, Sign};
use phone_verify_plugin_host::{Backend, code};
use serde_json::json;
use tokio::net::TcpListener;

use super::shelf::{alice, call_within, send, villain};

/// A provider that takes an SMS at one path, and at another never answers.
async fn provider() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new()
        .route("/sms", post(async || "taken"))
        .route("/never", post(std::future::pending::<String>));
    tokio::spawn(async move { axum::serve(listener, router).await });
    base_url
}

async fn failure(backend: &Backend, message: &str, limit: Duration) -> SendFailure {
    let sent = backend.send_sms(&alice(), message, call_within(limit)).await;
    sent.map(|receipt| panic!("{message}: {receipt:?}")).unwrap_err()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_arises_where_it_does_whatever_its_class() {
    const LONG: Duration = Duration::from_secs(20);
    const SHORT: Duration = Duration::from_millis(500);
    /// So that a busy machine makes the request all the same.
    const ENOUGH_TO_ASK: Duration = Duration::from_secs(5);
    let provider = provider().await;
    let nobody = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let nobody = format!("http://{nobody}");
    for (base_url, message, limit, class, origin, sign) in [
        // The provider is not there, or does not answer.
        (
            &nobody,
            "fetch /sms",
            LONG,
            FailureClass::Transient,
            Origin::Provider,
            Sign::Down,
        ),
        (
            &provider,
            "fetch /never",
            ENOUGH_TO_ASK,
            FailureClass::OutcomeUnknown,
            Origin::Provider,
            Sign::Down,
        ),
        // The library asks for what cannot be, panics, hangs or crashes, whether or not the provider was asked.
        (
            &provider,
            "fetch not a url",
            LONG,
            FailureClass::Internal,
            Origin::Library,
            Sign::Nothing,
        ),
        (
            &provider,
            "panic",
            LONG,
            FailureClass::OutcomeUnknown,
            Origin::Library,
            Sign::Nothing,
        ),
        (
            &provider,
            "attack block",
            SHORT,
            FailureClass::OutcomeUnknown,
            Origin::Library,
            Sign::Nothing,
        ),
        (
            &provider,
            "attack abort",
            LONG,
            FailureClass::Internal,
            Origin::Library,
            Sign::Nothing,
        ),
        (
            &provider,
            "fetch-then abort",
            LONG,
            FailureClass::OutcomeUnknown,
            Origin::Library,
            Sign::Nothing,
        ),
        // The host does not make the request.
        (
            &provider,
            "fetch https://evil.example/",
            LONG,
            FailureClass::Config,
            Origin::Host,
            Sign::Nothing,
        ),
    ] {
        let backend = villain(&json!({ "base_url": base_url }));
        let failure = failure(&backend, message, limit).await;
        assert_eq!(
            (failure.class, failure.origin, failure.sign()),
            (class, origin, sign),
            "{message}: {failure}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn that_a_library_is_quarantined_is_the_hosts_word() {
    let backend = villain(&json!({ "base_url": provider().await }));
    for _ in 0..3 {
        send(&backend, "attack abort").await.unwrap_err();
    }
    let failure = send(&backend, "fetch /sms").await.unwrap_err();
    assert_eq!(
        (failure.code.as_str(), failure.origin),
        (code::QUARANTINED, Origin::Host)
    );
    assert!(failure.is_untried(), "so that a bulk job keeps the number");
}
