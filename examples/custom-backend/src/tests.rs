//! Tests of the requests that the backend makes and of the errors that it derives from the answers. They need no
//! network: `phone_verify_plugin_api::testing` provides the host.

use std::time::Duration;

use phone_verify_plugin_api::{
    DeliveryState, ErrorKind, Verdict, Webhook,
    serde_json::{Value, json},
    testing::{Answer, TestHost, Tested},
};

use crate::{backend::AcmeBackend, sandbox::AcmeSandboxBackend};

const ALICE: &str = "+13478379634";
const BOB: &str = "+447911123456";

fn options() -> Value {
    json!({ "KEY": "Fake Key", "FROM": "+1234567890", "SANDBOX_TOKEN": "123456" })
}

fn set_up() -> (TestHost, Tested<AcmeBackend>) {
    let host = TestHost::new();
    let backend = host.construct(&options()).unwrap();
    (host, backend)
}

fn accepted(id: &str) -> Answer {
    Answer::new(202).json(&json!({ "id": id }))
}

#[test]
fn an_sms_is_one_request_with_the_key_in_a_header() {
    let (host, backend) = set_up();
    host.answer(accepted("acme-1"));
    let receipt = backend.send_sms(ALICE, "Your code is 482913.").unwrap();
    assert_eq!(receipt.message_id(), "acme-1");

    let requests = host.requests();
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].method(), "POST");
    assert_eq!(requests[0].url(), "https://api.acme.example/messages");
    assert_eq!(requests[0].header("authorization"), Some("Bearer Fake Key"));
    assert_eq!(
        requests[0].json(),
        json!({ "from": "+1234567890", "to": ALICE, "text": "Your code is 482913." })
    );
}

#[test]
fn every_refusal_has_its_kind() {
    let (host, backend) = set_up();
    for (answer, kind) in [
        (Answer::new(422), ErrorKind::InvalidNumber),
        (Answer::new(401), ErrorKind::AuthFailed),
        (Answer::new(503), ErrorKind::Transient),
        (Answer::no_connection(), ErrorKind::Transient),
        // The SMS may have been sent, so the host must not send it again.
        (Answer::no_answer_in_time(), ErrorKind::OutcomeUnknown),
        (Answer::connection_reset(), ErrorKind::OutcomeUnknown),
        (Answer::new(202).body("not JSON"), ErrorKind::OutcomeUnknown),
    ] {
        host.answer(answer);
        assert_eq!(backend.send_sms(ALICE, "hello").unwrap_err().kind(), kind);
    }
}

#[test]
fn a_throttling_provider_says_how_long_to_wait() {
    let (host, backend) = set_up();
    host.answer(Answer::new(429).retry_after(Duration::from_secs(7)));
    let error = backend.send_sms(ALICE, "hello").unwrap_err();
    assert_eq!(
        (error.kind(), error.retry_after()),
        (ErrorKind::Throttled, Some(Duration::from_secs(7)))
    );
}

#[test]
fn the_failure_of_one_number_does_not_stop_the_rest() {
    let (host, backend) = set_up();
    host.answer(Answer::new(422)).answer(accepted("acme-2"));
    let outcomes = backend.send_bulk_sms(&[ALICE, BOB], "hello");
    assert_eq!(outcomes[0].as_ref().unwrap_err().kind(), ErrorKind::InvalidNumber);
    assert_eq!(outcomes[1].as_ref().unwrap().message_id(), "acme-2");
}

#[test]
fn a_message_greets_who_is_named() {
    let (_host, backend) = set_up();
    let greeting = backend
        .generate_message("482913", &[("username", "Ann")])
        .unwrap();
    assert_eq!(greeting.as_deref(), Some("Hi Ann, your code is 482913."));
    assert_eq!(backend.generate_message("482913", &[]).unwrap(), None);
}

#[test]
fn the_balance_is_what_acme_says() {
    let (host, backend) = set_up();
    host.answer(Answer::new(200).json(&json!({ "amount": "12.50", "currency": "EUR" })));
    let left = backend.balance().unwrap();
    assert_eq!((left.amount(), left.currency()), ("12.50", "EUR"));
    host.answer(Answer::new(401));
    assert_eq!(backend.balance().unwrap_err().kind(), ErrorKind::AuthFailed);
}

#[test]
fn a_report_counts_only_with_the_signature_of_acme() {
    let (_host, backend) = set_up();
    let address = "https://verify.example/v1/receipts/default";
    let report = || Webhook::post(address).with_body(r#"{"id": "1f0e8ae6", "status": "delivered"}"#);
    let signature = "5173aba5d05d234c1e18facfe2127ae108edb118d91960c695c998fa5ffd2e6a";
    let received = backend
        .receive(&report().with_header("X-Signature", signature))
        .unwrap();
    let [delivered] = received.delivery_reports() else {
        panic!("{received:?}");
    };
    assert_eq!(
        (delivered.message_id(), delivered.state()),
        ("1f0e8ae6", DeliveryState::Delivered)
    );

    for forged in [
        report(),
        report().with_header("X-Signature", &signature.to_uppercase()),
    ] {
        let received = backend.receive(&forged).unwrap();
        assert_eq!((received.status(), received.delivery_reports()), (403, &[][..]));
    }
}

#[test]
fn the_sandbox_knows_its_code_and_opens_no_unknown_session() {
    let host = TestHost::new();
    let sandbox: Tested<AcmeSandboxBackend> = host.construct(&options()).unwrap();
    assert_eq!(sandbox.generate_security_code().unwrap(), "123456");
    for (code, base, verdict) in [
        ("123456", Verdict::Valid, Verdict::Valid),
        ("123456", Verdict::Invalid, Verdict::Valid),
        ("000000", Verdict::Invalid, Verdict::Invalid),
        ("123456", Verdict::Expired, Verdict::Expired),
        (
            "123456",
            Verdict::SessionTokenInvalid,
            Verdict::SessionTokenInvalid,
        ),
    ] {
        assert_eq!(sandbox.validate_security_code(code, base).unwrap(), verdict);
    }
}

#[test]
fn a_missing_option_is_told_by_name() {
    let host = TestHost::new();
    let error = host
        .construct::<AcmeBackend>(&json!({ "FROM": "Acme" }))
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.message().contains("KEY is missing"), "{error}");
}
