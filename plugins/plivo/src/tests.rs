//! The backend against a host of the tests' own.

use std::time::Duration;

use phone_verify_plugin_api::{
    DeliveryState, ErrorKind, Money, Webhook,
    serde_json::{Value, json},
    testing::{Answer, TestHost, Tested},
};

use crate::PlivoBackend;

const ALICE: &str = "+13478379634";
const NONCE: &str = "05429567804466091622";

fn set_up(changes: &Value) -> (TestHost, Tested<PlivoBackend>) {
    let mut options = json!({ "AUTH_ID": "MA1", "AUTH_TOKEN": "a-plivo-auth-token", "FROM": "+14155550100" });
    options
        .as_object_mut()
        .unwrap()
        .extend(changes.as_object().unwrap().clone());
    let host = TestHost::new();
    let backend = host.construct(&options).unwrap();
    (host, backend)
}

fn accepted() -> Answer {
    Answer::new(202).json(&json!({ "api_id": "a", "message": "message(s) queued", "message_uuid": ["m-1"] }))
}

#[test]
fn an_sms_is_one_json_request_in_the_name_of_the_account() {
    let (host, backend) = set_up(&json!({ "CALLBACK": "https://verify.example/v1/receipts/default" }));
    host.answer(accepted());
    assert_eq!(
        backend.send_sms(ALICE, "Код 1 \"&\"").unwrap().message_id(),
        "m-1"
    );
    let requests = host.requests();
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].method(), "POST");
    assert_eq!(requests[0].url(), "https://api.plivo.com/v1/Account/MA1/Message/");
    assert_eq!(
        requests[0].header("authorization"),
        Some("Basic TUExOmEtcGxpdm8tYXV0aC10b2tlbg==")
    );
    assert_eq!(
        requests[0].json(),
        json!({
            "src": "+14155550100", "dst": ALICE, "text": "Код 1 \"&\"", "type": "sms", "log": false,
            "url": "https://verify.example/v1/receipts/default", "method": "POST",
        })
    );
}

#[test]
fn a_powerpack_takes_the_place_of_the_sender() {
    let host = TestHost::new();
    let options = json!({ "AUTH_ID": "MA1", "AUTH_TOKEN": "t", "POWERPACK_UUID": "p-1", "REDACT": false });
    let backend: Tested<PlivoBackend> = host.construct(&options).unwrap();
    host.answer(accepted());
    backend.send_sms(ALICE, "x").unwrap();
    let body = host.requests()[0].json();
    assert_eq!(
        body,
        json!({ "powerpack_uuid": "p-1", "dst": ALICE, "text": "x", "type": "sms" })
    );
}

#[test]
fn every_refusal_has_its_kind() {
    let (host, backend) = set_up(&json!({}));
    for (status, error, kind) in [
        (400, json!("+1 is not a valid dst"), ErrorKind::InvalidNumber),
        (400, json!("Invalid 'src' parameter"), ErrorKind::SenderRejected),
        (
            400,
            json!({ "text": ["is required"] }),
            ErrorKind::ContentRejected,
        ),
        (400, json!("Bad request"), ErrorKind::Internal),
        (401, json!("Authentication Failed"), ErrorKind::AuthFailed),
        (402, json!("No money"), ErrorKind::NoCredit),
        (
            403,
            json!("Sending to this country is not enabled"),
            ErrorKind::DestinationBlocked,
        ),
        (404, json!("not found"), ErrorKind::AuthFailed),
        (405, json!("method not allowed"), ErrorKind::Internal),
        (429, json!("slow down"), ErrorKind::Throttled),
        // The SMS may have been queued before the server failed.
        (500, json!("Internal error"), ErrorKind::OutcomeUnknown),
        (504, json!("timeout"), ErrorKind::OutcomeUnknown),
        (503, json!("out of order"), ErrorKind::Transient),
    ] {
        host.answer(Answer::new(status).json(&json!({ "api_id": "a", "error": error })));
        let failure = backend.send_sms(ALICE, "x").unwrap_err();
        assert_eq!(failure.kind(), kind, "{status} {error}");
        assert_eq!(
            (failure.code(), failure.http_status()),
            (format!("plivo_http_{status}").as_str(), Some(status))
        );
    }
    for (status, kind) in [
        (500, ErrorKind::OutcomeUnknown),
        (502, ErrorKind::OutcomeUnknown),
        (503, ErrorKind::Transient),
        (302, ErrorKind::Config),
    ] {
        host.answer(Answer::new(status).body("<html>no</html>"));
        assert_eq!(backend.send_sms(ALICE, "x").unwrap_err().kind(), kind, "{status}");
    }
    host.answer(Answer::new(429).retry_after(Duration::from_secs(2)));
    let wait = backend.send_sms(ALICE, "x").unwrap_err().retry_after();
    assert_eq!(wait, Some(Duration::from_secs(2)));
    host.answer(Answer::new(503).retry_after(Duration::from_secs(3)));
    let wait = backend.send_sms(ALICE, "x").unwrap_err().retry_after();
    assert_eq!(wait, Some(Duration::from_secs(3)));
}

#[test]
fn a_success_that_cannot_be_read_may_stand_for_a_sent_sms() {
    let (host, backend) = set_up(&json!({}));
    for body in [
        "",
        "{}",
        "{\"message_uuid\": []}",
        "{\"message_uuid\": [\"\"]}",
        "{\"message_uuid\": \"m",
        "[1]",
    ] {
        host.answer(Answer::new(202).body(body));
        assert_eq!(
            backend.send_sms(ALICE, "x").unwrap_err().kind(),
            ErrorKind::OutcomeUnknown,
            "{body}"
        );
    }
}

#[test]
fn the_balance_is_the_accounts_cash_credits() {
    let (host, backend) = set_up(&json!({}));
    host.answer(Answer::new(200).json(&json!({ "account_type": "standard", "cash_credits": "99.98080" })));
    assert_eq!(backend.balance().unwrap(), Money::new("99.98080", "USD"));
    assert_eq!(host.requests()[0].url(), "https://api.plivo.com/v1/Account/MA1/");
    host.answer(Answer::new(401).json(&json!({ "error": "no" })));
    assert_eq!(backend.balance().unwrap_err().kind(), ErrorKind::AuthFailed);
}

/// A request as Plivo signs it.
fn signed(request: Webhook, signature: &str) -> Webhook {
    request
        .with_header("X-Plivo-Signature-V3-Nonce", NONCE)
        .with_header("X-Plivo-Signature-V3", &format!("b3RoZXI=,{signature}"))
}

/// The vectors were made by the provider's library for Python.
#[test]
fn a_request_that_plivo_signed_is_read() {
    let (_, backend) = set_up(&json!({}));
    let base = "https://verify.example/v1/receipts/default";
    let delivered = [
        ("MessageUUID", "m-1"),
        ("Status", "delivered"),
        ("ErrorCode", "000"),
        ("To", "13478379634"),
        ("Empty", ""),
    ];
    for (request, signature, status, reports) in [
        (
            Webhook::post(base).with_form(&delivered),
            "ciNEivCYRrXgX+ZSS1VVcVS5HYAvNHeW95CnFjs08v8=",
            200,
            1,
        ),
        (
            Webhook::post("https://verify.example:8443/v1/receipts/default?b=2&a=x%20y")
                .with_form(&[("Status", "sent"), ("MessageUUID", "m-1")]),
            "CRl8tRpoXCjSFtaDQb4Kn4dLR1qTEQ2N2eYd6kTiuJg=",
            200,
            1,
        ),
        (
            Webhook::get(&format!("{base}?Status=delivered&MessageUUID=m-1&From=")),
            "PH6N7CpDgkDmx9gbf1y1IhsRlp5C6LM5ZpeMQ4LBMxk=",
            200,
            1,
        ),
        (
            Webhook::post(&format!("{base}?b=2&a=x%20y")),
            "lD3yOV8CaC6SC5HLwuoBvS4zgaOMqkE72IDrbvzlwCw=",
            400,
            0,
        ),
        (
            Webhook::post(base),
            "ojtwJrwrnCoPeebIM/eg8GJU8hyKXyuwO/6+OLGBERc=",
            400,
            0,
        ),
    ] {
        let received = backend.receive(&signed(request, signature)).unwrap();
        assert_eq!(
            (received.status(), received.delivery_reports().len()),
            (status, reports),
            "{signature}"
        );
    }
}

#[test]
fn a_request_that_plivo_did_not_sign_reports_nothing() {
    let (_, backend) = set_up(&json!({}));
    let base = "https://verify.example/v1/receipts/default";
    let form = [
        ("MessageUUID", "m-1"),
        ("Status", "delivered"),
        ("ErrorCode", "000"),
        ("To", "13478379634"),
        ("Empty", ""),
    ];
    let right = "ciNEivCYRrXgX+ZSS1VVcVS5HYAvNHeW95CnFjs08v8=";
    let mut forged = form;
    forged[0].1 = "m-2";
    let genuine = || Webhook::post(base).with_form(&form);
    for request in [
        signed(Webhook::post(base).with_form(&forged), right),
        signed(
            Webhook::post("https://verify.example/v1/receipts/other").with_form(&form),
            right,
        ),
        signed(genuine(), &right.to_lowercase()),
        signed(genuine(), ""),
        genuine().with_header("X-Plivo-Signature-V3", right),
        genuine()
            .with_header("X-Plivo-Signature-V3", right)
            .with_header("X-Plivo-Signature-V3-Nonce", "1"),
        genuine(),
    ] {
        let received = backend.receive(&request).unwrap();
        assert_eq!(
            (received.status(), received.delivery_reports().len()),
            (403, 0),
            "{request:?}"
        );
    }
    // The signature of the main account, for a message of its subaccount.
    let request = genuine()
        .with_header("X-Plivo-Signature-V3-Nonce", NONCE)
        .with_header("X-Plivo-Signature-Ma-V3", right);
    assert_eq!(backend.receive(&request).unwrap().status(), 200);
}

/// A report with these fields, signed with the services of the host.
fn reported(fields: &[(&str, &str)]) -> phone_verify_plugin_api::Received {
    use phone_verify_plugin_api::{HashAlgorithm, data_encoding::BASE64};

    let (host, backend) = set_up(&json!({}));
    let url = "https://verify.example/v1/receipts/default";
    let mut sorted = fields.to_vec();
    sorted.sort_unstable();
    let text: String = sorted
        .iter()
        .map(|(name, value)| format!("{name}{value}"))
        .collect();
    let signed_text = format!("{url}?{text}.{NONCE}");
    let signature = host.host().hmac(
        HashAlgorithm::Sha256,
        b"a-plivo-auth-token",
        signed_text.as_bytes(),
    );
    let signature = BASE64.encode(&signature.unwrap());
    backend
        .receive(&signed(Webhook::post(url).with_form(fields), &signature))
        .unwrap()
}

#[test]
fn every_state_and_code_is_read() {
    for (status, code, state, kind, shown) in [
        ("queued", "", DeliveryState::Sent, None, ""),
        ("sent", "000", DeliveryState::Sent, None, ""),
        ("delivered", "000", DeliveryState::Delivered, None, ""),
        ("read", "", DeliveryState::Delivered, None, ""),
        (
            "undelivered",
            "10",
            DeliveryState::Undelivered,
            Some(ErrorKind::ContentRejected),
            "plivo_10",
        ),
        (
            "undelivered",
            "20",
            DeliveryState::Undelivered,
            Some(ErrorKind::Transient),
            "plivo_20",
        ),
        (
            "rejected",
            "30",
            DeliveryState::Undelivered,
            Some(ErrorKind::ContentRejected),
            "plivo_30",
        ),
        (
            "failed",
            "40",
            DeliveryState::Undelivered,
            Some(ErrorKind::SenderRejected),
            "plivo_40",
        ),
        (
            "failed",
            "50",
            DeliveryState::Undelivered,
            Some(ErrorKind::InvalidNumber),
            "plivo_50",
        ),
        (
            "undelivered",
            "70",
            DeliveryState::Undelivered,
            Some(ErrorKind::UnreachableNumber),
            "plivo_70",
        ),
        (
            "undelivered",
            "90",
            DeliveryState::Undelivered,
            Some(ErrorKind::DestinationBlocked),
            "plivo_90",
        ),
        (
            "rejected",
            "200",
            DeliveryState::Undelivered,
            Some(ErrorKind::OptedOut),
            "plivo_200",
        ),
        (
            "failed",
            "900",
            DeliveryState::Undelivered,
            Some(ErrorKind::NoCredit),
            "plivo_900",
        ),
        (
            "failed",
            "910",
            DeliveryState::Undelivered,
            Some(ErrorKind::AuthFailed),
            "plivo_910",
        ),
        ("failed", "1000", DeliveryState::Undelivered, None, "plivo_1000"),
        ("failed", "000", DeliveryState::Undelivered, None, ""),
        ("failed", "new", DeliveryState::Undelivered, None, ""),
    ] {
        let received = reported(&[("MessageUUID", "m-1"), ("Status", status), ("ErrorCode", code)]);
        let [report] = received.delivery_reports() else {
            panic!("{status} {code}")
        };
        assert_eq!(
            (report.state(), report.kind(), report.code()),
            (state, kind, shown),
            "{status} {code}"
        );
    }
}

#[test]
fn a_report_has_the_segments_and_the_price() {
    let received = reported(&[
        ("MessageUUID", "m-1"),
        ("Status", "delivered"),
        ("Units", "2"),
        ("TotalAmount", "0.01100"),
        ("TotalRate", "0.00550"),
    ]);
    let report = &received.delivery_reports()[0];
    assert_eq!(
        (report.segments(), report.cost()),
        (Some(2), Some(&Money::new("0.01100", "USD")))
    );
    // A state that came later is not asked for again.
    let received = reported(&[("MessageUUID", "m-1"), ("Status", "teleported")]);
    assert_eq!((received.status(), received.delivery_reports().len()), (200, 0));
}
