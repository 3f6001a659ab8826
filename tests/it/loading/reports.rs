//! What came with ABI 1.1, through the C door, in this process and in a worker process: requests of a provider,
//! feedback, balance, extensions, the facts of a call, digests and signatures.

use phone_verify::model::{
    Cost, FailureClass, IncomingRequest, ReceiptKind, ReportedState, SendFailure, TakesReceipts,
};
use phone_verify_plugin_host::{Backend, Call, CallFacts};
use phone_verify_tests::artifacts::workspace;
use serde_json::json;

use super::shelf::{Shelves, alice, call, send};

/// Loads `tests/rogue/reporter.c`.
fn reporter<const WORKER: bool>() -> Backend {
    let source = std::fs::read_to_string(workspace().join("tests/rogue/reporter.c")).unwrap();
    let header = workspace().join("plugin-api/include");
    let arguments = [
        "-std=c99", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-I",
    ];
    let shelf = Shelves::<WORKER>::empty();
    shelf.compile(
        "reporter",
        &source,
        &[&arguments[..], &[header.to_str().unwrap()]].concat(),
    );
    let key = std::fs::read_to_string(workspace().join("plugin-api/crypto/tests/keys/p256.pem")).unwrap();
    shelf
        .load("reporter.ReporterBackend", &json!({ "KEY_PEM": key }))
        .unwrap()
}

/// A request of the provider. `abc` and `plain` are signed with the right key.
fn request(body: &str) -> IncomingRequest {
    let signature = match body {
        "abc" => "694abd10842d161ddbc54df8a0d57cf64d0dbcc9",
        "plain" => "97afbec5a8d3ad53571d97f7eee4520690a9672f",
        _ => "forged",
    };
    IncomingRequest {
        method: "POST".to_owned(),
        url: "https://verify.example/v1/receipts/eu".to_owned(),
        headers: vec![("x-signature".to_owned(), signature.to_owned())],
        body: body.as_bytes().to_vec(),
    }
}

fn code<T>(outcome: Result<T, SendFailure>) -> String {
    outcome.err().map(|failure| failure.code).unwrap_or_default()
}

async fn receives(backend: &Backend) {
    let receipts = TakesReceipts {
        kind: ReceiptKind::Carrier,
        are_signed: true,
    };
    assert_eq!(backend.takes_receipts(), Some(receipts));
    let answer = backend.receive(request("abc"), call()).await.unwrap();
    let url = "https://verify.example/v1/receipts/eu".to_owned();
    assert_eq!((answer.status, answer.body.as_slice()), (202, &b"POST"[..]));
    assert_eq!(answer.headers, [("x-url".to_owned(), url)]);
    let [delivered, undelivered] = answer.reports.as_slice() else {
        panic!("{} reports", answer.reports.len());
    };
    assert_eq!(
        (
            delivered.message_id.expose(),
            delivered.state,
            delivered.class,
            delivered.segments
        ),
        ("SM1", ReportedState::Delivered, None, Some(2))
    );
    assert_eq!(delivered.cost, Cost::parse("0.0666", "EUR"));
    assert_eq!(delivered.at.map(|at| at.0), Some(1_767_225_600_000));
    assert_eq!(
        (
            undelivered.message_id.expose(),
            undelivered.state,
            undelivered.class,
            undelivered.code.as_deref()
        ),
        (
            "SM2",
            ReportedState::Undelivered,
            Some(FailureClass::UnreachableNumber),
            Some("30005")
        )
    );

    let forged = backend.receive(request("forged"), call()).await.unwrap();
    assert_eq!((forged.status, forged.reports.len()), (403, 0));
    let plain = backend.receive(request("plain"), call()).await.unwrap();
    assert_eq!(
        (plain.status, plain.reports.len()),
        (200, 2),
        "an answer that names no status"
    );
}

async fn is_asked(backend: &Backend) {
    assert!(backend.takes_feedback() && backend.tells_balance());
    assert_eq!(backend.channels(), ["sms", "voice"]);
    assert!(backend.feedback("SM1", true, call()).await.is_ok());
    assert_eq!(code(backend.feedback("SM1", false, call()).await), "feedback");
    assert_eq!(backend.balance(call()).await.unwrap().to_string(), "-3.5 USD");
    assert_eq!(code(backend.cancel("SM1", call()).await), "cancelled");
    let echoed = backend
        .extension("test/draft-1", b"\0\xff", call())
        .await
        .unwrap();
    assert_eq!(echoed.as_deref(), Some(&b"\0\xff"[..]));
    assert_eq!(
        backend.extension("test/draft-2", b"", call()).await.unwrap(),
        None
    );
}

async fn asks(backend: &Backend) {
    let facts = CallFacts {
        region: "US".to_owned(),
        channel: "sms".into(),
        purpose: CallFacts::VERIFICATION.into(),
        template: "login".to_owned(),
        params_json: json!({ "app": "Shop" }).to_string(),
        security_code: "482913".to_owned(),
        message_id: "SM1".to_owned(),
    };
    let call = Call { facts, ..call() };
    let receipt = backend.send_sms(&alice(), "facts", call).await.unwrap();
    assert_eq!(
        receipt.exact_id.as_deref(),
        Some("US|sms|verification|login|482913|SM1|app=Shop")
    );
    assert_eq!(
        (receipt.segments, receipt.cost),
        (Some(3), Cost::parse("0.0999", "EUR"))
    );
    assert_eq!(
        send(backend, "digests").await.unwrap(),
        "16/16/0 20/20/0 32/32/0 64/64/0 0/0/0 "
    );
    let receipt = backend
        .send_sms(&alice(), "hmac", super::shelf::call())
        .await
        .unwrap();
    let mac = receipt.exact_id.or(receipt.message_id);
    assert_eq!(mac.as_deref(), Some("694abd10842d161ddbc54df8a0d57cf64d0dbcc9"));
    assert_eq!(send(backend, "equal").await.unwrap(), "1 0 0 1");
    assert_eq!(send(backend, "sign").await.unwrap(), "64 0", "the key is not RSA");
    assert_eq!(send(backend, "extension").await.unwrap(), "not known");
}

#[tokio::test]
async fn a_library_in_c_reads_reports_and_is_asked_and_asks() {
    let backend = reporter::<false>();
    receives(&backend).await;
    is_asked(&backend).await;
    asks(&backend).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_does_all_that_in_a_worker_process_too() {
    let backend = reporter::<true>();
    receives(&backend).await;
    is_asked(&backend).await;
    asks(&backend).await;
}
