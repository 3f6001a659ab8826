//! A backend's HTTP goes through the host: where it may go, how it ends, and what that says about the SMS.

use std::{net::SocketAddr, time::Duration};

use axum::{
    Router,
    http::HeaderMap,
    response::Redirect,
    routing::{any, post},
};
use phone_verify::model::{FailureClass, SendFailure};
use phone_verify_plugin_host::Backend;
use serde_json::json;
use tokio::net::TcpListener;

use super::shelf::{Shelf, alice, built, call_within, villain};

/// A provider's server: it echoes, and misbehaves by path.
async fn server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new()
        .route(
            "/echo",
            post(async |headers: HeaderMap, body: String| {
                // Not echoed: a secret is masked in whatever comes back.
                assert_eq!(headers["authorization"], "Bearer k3y-value");
                format!("{} {body}", headers["user-agent"].to_str().unwrap())
            }),
        )
        .route("/moved", any(async || Redirect::temporary("/echo")))
        .route("/huge", any(async || "x".repeat((1 << 20) + 1)))
        .route("/large", any(async || "x".repeat(200)))
        .route("/never", any(std::future::pending::<String>));
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

/// A server that reads a request and breaks the connection off.
async fn breaks_off() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            stream.readable().await.unwrap();
            let _ = stream.try_read(&mut [0; 16]);
        }
    });
    address
}

async fn fetch(backend: &Backend, url: &str) -> Result<String, SendFailure> {
    let receipt = backend
        .send_sms(
            &alice(),
            &format!("fetch {url}"),
            call_within(Duration::from_secs(30)),
        )
        .await?;
    Ok(receipt.message_id.unwrap())
}

fn villain_at(address: SocketAddr) -> Backend {
    villain(&json!({"base_url": format!("http://{address}"), "SECRET": "k3y-value"}))
}

#[tokio::test]
async fn a_request_goes_to_the_base_url_and_its_answer_comes_back() {
    let backend = villain_at(server().await);
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        fetch(&backend, "/echo").await.unwrap(),
        format!("200 phone-verify/{version} to=me")
    );
    assert_eq!(fetch(&backend, "/moved").await.unwrap(), "307 ");
    assert_eq!(fetch(&backend, "/nothing").await.unwrap(), "404 ");
    assert_eq!(
        fetch(&backend, "/large").await.unwrap(),
        format!("200 {}", "x".repeat(200))
    );
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_given_up() {
    let failure = fetch(&villain_at(server().await), "/huge").await.unwrap_err();
    assert_eq!(failure.class, FailureClass::OutcomeUnknown);
    assert_eq!(failure.code, "http_body_too_large");
}

#[tokio::test]
async fn a_refused_connection_says_that_nothing_was_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let failure = fetch(&villain_at(address), "/echo").await.unwrap_err();
    assert_eq!(failure.class, FailureClass::Transient);
    assert_eq!(failure.code, "http_connect");
}

#[tokio::test]
async fn a_connection_that_breaks_off_leaves_the_outcome_open() {
    let failure = fetch(&villain_at(breaks_off().await), "/echo").await.unwrap_err();
    assert_eq!(failure.class, FailureClass::OutcomeUnknown);
    assert_eq!(failure.code, "http_reset");
}

#[tokio::test]
async fn a_slow_answer_leaves_the_outcome_open_and_the_backend_hears_of_it() {
    let backend = villain_at(server().await);
    let failure = backend
        .send_sms(&alice(), "fetch /never", call_within(Duration::from_secs(1)))
        .await
        .unwrap_err();
    assert_eq!(failure.class, FailureClass::OutcomeUnknown);
    assert_eq!(failure.code, "http_timeout");
}

#[tokio::test]
async fn a_host_that_nobody_declared_is_not_called() {
    let address = server().await;
    for (backend, url, why) in [
        (
            villain(&json!({})),
            "https://evil.example/",
            "evil.example:443 is not among the hosts that the backend declares, nor its base_url",
        ),
        (
            villain(&json!({})),
            "http://127.0.0.1:443/",
            "127.0.0.1 may be called over https only",
        ),
        (
            villain(&json!({})),
            "https://127.0.0.1/",
            "127.0.0.1 is a private address",
        ),
        (
            villain(&json!({})),
            "https://localhost/",
            "the name resolves to a private address",
        ),
        (
            villain_at(server().await),
            &format!("http://{address}/echo"),
            "nor its base_url",
        ),
    ] {
        let failure = fetch(&backend, url).await.unwrap_err();
        assert_eq!(failure.class, FailureClass::Config, "{failure}");
        assert_eq!(failure.code, "http_denied", "{failure}");
        assert!(failure.message.ends_with(why), "{failure}");
    }
}

#[tokio::test]
async fn the_operator_can_allow_private_addresses() {
    let shelf = Shelf::trusting();
    shelf.put("villain", &built("villain"));
    let backend = shelf.load("villain.VillainBackend", &json!({})).unwrap();
    let address = server().await;
    let answer = fetch(&backend, &format!("http://{address}/moved")).await;
    assert_eq!(answer.unwrap(), "307 ");
}

#[tokio::test]
async fn a_request_that_cannot_be_is_not_made() {
    let failure = fetch(&villain(&json!({})), "not a url").await.unwrap_err();
    assert_eq!(failure.class, FailureClass::Internal);
    assert_eq!(failure.code, "http_invalid_request");
}
