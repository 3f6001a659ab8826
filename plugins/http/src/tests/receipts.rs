//! What the backend makes of delivery receipts.

use phone_verify_plugin_api::{
    DeliveryState, ErrorKind, HashAlgorithm, Webhook,
    data_encoding::{BASE64, HEXLOWER},
    serde_json::{Value, json},
    testing::{TestHost, Tested},
};

use super::{refusal, set_up};
use crate::HttpBackend;

const URL: &str = "https://verify.example/v1/receipts/default/0f3c";
/// The time of the host of the tests.
const NOW: u64 = 1_767_225_600;

fn with_receipts(changes: &Value) -> (TestHost, Tested<HttpBackend>) {
    let mut options = json!({
        "MESSAGE_ID": "/id", "RECEIPT_ID": "/id", "RECEIPT_CODE": "/code",
        "RECEIPTS": [
            { "fields": { "/state": "DELIVERED" }, "state": "delivered" },
            { "fields": { "/state": "FAILED", "/code": 7 }, "state": "undelivered", "class": "opted_out" },
            { "fields": { "/state": "FAILED" }, "state": "undelivered" },
            { "fields": { "/state": "QUEUED" }, "state": "sent" },
        ],
    });
    let table = options.as_object_mut().unwrap();
    table.extend(changes.as_object().unwrap().clone());
    set_up(&options)
}

#[test]
fn a_receipt_is_read_in_every_format() {
    let (_, backend) = with_receipts(&json!({}));
    for request in [
        Webhook::get(&format!("{URL}?id=m-1&state=FAILED&code=7")),
        Webhook::post(URL).with_form(&[("id", "m-1"), ("state", "FAILED"), ("code", "7")]),
        Webhook::post(&format!("{URL}?id=m-1")).with_form(&[("state", "FAILED"), ("code", "7")]),
        Webhook::post(URL).with_json(&json!({ "id": "m-1", "state": "failed", "code": 7 })),
        Webhook::post(URL).with_json(&json!([{ "id": "m-1", "state": "FAILED", "code": "7" }])),
    ] {
        let received = backend.receive(&request).unwrap();
        let [report] = received.delivery_reports() else {
            panic!("{received:?}")
        };
        assert_eq!((received.status(), report.message_id()), (200, "m-1"));
        assert_eq!(
            (report.state(), report.kind(), report.code()),
            (
                DeliveryState::Undelivered,
                Some(ErrorKind::OptedOut),
                "provider_7"
            )
        );
    }
    let xml =
        json!({ "RECEIPT_ID": "/r/id", "RECEIPTS": [{ "fields": { "/r/@s": "ok" }, "state": "delivered" }] });
    let (_, backend) = with_receipts(&xml);
    let request = Webhook::post(URL).with_body("<r s='ok'><id>m-1</id></r>");
    let received = backend.receive(&request).unwrap();
    assert_eq!(received.delivery_reports()[0].message_id(), "m-1");
}

#[test]
fn what_reports_nothing_of_interest_is_not_asked_for_again() {
    let (_, backend) = with_receipts(&json!({}));
    for request in [
        Webhook::post(URL).with_json(&json!({ "id": "m-1", "state": "REROUTED" })),
        Webhook::post(URL).with_json(&json!({ "state": "DELIVERED" })),
        Webhook::post(URL).with_json(&json!({ "id": "", "state": "DELIVERED" })),
        Webhook::post(URL).with_json(&json!([])),
        Webhook::post(URL).with_body("not a receipt"),
        Webhook::get(URL),
    ] {
        let received = backend.receive(&request).unwrap();
        assert_eq!(
            (received.status(), received.delivery_reports().len()),
            (200, 0),
            "{request:?}"
        );
    }
    // It is unclear which of the two is meant.
    let twice = Webhook::get(&format!("{URL}?id=m-1&id=m-2&state=DELIVERED"));
    assert_eq!(backend.receive(&twice).unwrap().status(), 400);
}

#[test]
fn a_request_may_have_many_receipts_but_not_more_than_the_host_takes() {
    let (_, backend) = with_receipts(&json!({ "RECEIPT_LIST": "/data/results", "RECEIPT_ANSWER": "ACK" }));
    let results: Vec<Value> = (0..150)
        .map(|id| json!({ "id": format!("m-{id}"), "state": "DELIVERED" }))
        .collect();
    let request = Webhook::post(URL).with_json(&json!({ "data": { "results": results } }));
    let received = backend.receive(&request).unwrap();
    assert_eq!(received.delivery_reports().len(), 100);
    assert_eq!(received.body(), b"ACK");
}

#[test]
fn a_backend_without_rules_for_receipts_takes_none() {
    let (_, backend) = set_up(&json!({}));
    assert_eq!(backend.receive(&Webhook::post(URL)).unwrap().status(), 404);
}

#[test]
fn a_receipt_with_a_wrong_signature_reports_nothing() {
    let (host, backend) = with_receipts(&json!({ "RECEIPT_SIGNATURE": {
        "at": "header:X-Signature", "prefix": "sha256=", "timestamp": "header:X-Time",
        "hash": "sha256", "key": "{secret}", "over": "{timestamp}.{method}.{url}.{body}",
    } }));
    let body = r#"{"id": "m-1", "state": "DELIVERED"}"#;
    let signature = |time: &str, body: &str| {
        let over = format!("{time}.POST.{URL}.{body}");
        let signature = host
            .host()
            .hmac(HashAlgorithm::Sha256, b"another-secret", over.as_bytes());
        format!("sha256={}", HEXLOWER.encode(&signature.unwrap()))
    };
    let request = |time: &str, signature: &str| {
        Webhook::post(URL)
            .with_header("x-time", time)
            .with_header("x-signature", signature)
            .with_body(body)
    };
    let reports = |request: &Webhook| {
        let received = backend.receive(request).unwrap();
        (received.status(), received.delivery_reports().len())
    };
    let now = NOW.to_string();
    assert_eq!(reports(&request(&now, &signature(&now, body))), (200, 1));
    assert_eq!(
        reports(&request(
            &now,
            &signature(&now, body).to_uppercase().replace("SHA256", "sha256")
        )),
        (200, 1)
    );
    let millis = format!("{now}123");
    assert_eq!(reports(&request(&millis, &signature(&millis, body))), (200, 1));
    let (old, early) = ((NOW - 301).to_string(), (NOW + 301).to_string());
    for (time, signature) in [
        (now.as_str(), signature(&now, "{}")),
        (now.as_str(), signature(&now, body).replace("sha256=", "")),
        (now.as_str(), "sha256=".to_owned()),
        (now.as_str(), String::new()),
        ("soon", signature("soon", body)),
        ("", signature("", body)),
        (old.as_str(), signature(&old, body)),
        (early.as_str(), signature(&early, body)),
    ] {
        assert_eq!(
            reports(&request(time, &signature)),
            (403, 0),
            "{time} {signature}"
        );
    }
    assert_eq!(reports(&Webhook::post(URL).with_body(body)), (403, 0));
}

/// Over the fields themselves, in a field, in base64.
#[test]
fn a_signature_may_be_a_digest_in_a_field() {
    let (host, backend) = with_receipts(&json!({ "RECEIPT_SIGNATURE": {
        "at": "/sig", "hash": "sha1", "over": "{url}{secret}", "encoding": "base64",
    } }));
    let right = host
        .host()
        .digest(HashAlgorithm::Sha1, format!("{URL}another-secret").as_bytes());
    let right = BASE64.encode(&right.unwrap());
    for (signature, status) in [
        (right.as_str(), 200),
        (right.to_lowercase().as_str(), 403),
        ("x", 403),
    ] {
        let request =
            Webhook::post(URL).with_json(&json!({ "id": "m-1", "state": "DELIVERED", "sig": signature }));
        assert_eq!(backend.receive(&request).unwrap().status(), status);
    }
}

#[test]
fn wrong_rules_for_receipts_are_told_by_name_with_what_to_do() {
    let receipts = json!([{ "state": "delivered" }]);
    let complete = json!({ "MESSAGE_ID": "/id", "RECEIPT_ID": "/id", "RECEIPTS": receipts });
    let signed = |more: Value| {
        let mut signature = json!({ "at": "header:X", "hash": "sha1", "key": "{secret}", "over": "{body}" });
        signature
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let mut changes = complete.clone();
        changes["RECEIPT_SIGNATURE"] = signature;
        changes
    };
    for (changes, said) in [
        (
            json!({ "RECEIPT_ID": "/id" }),
            "option RECEIPTS is missing, to which",
        ),
        (
            json!({ "RECEIPTS": receipts, "MESSAGE_ID": "/id" }),
            "option RECEIPT_ID is missing",
        ),
        (
            json!({ "RECEIPTS": receipts, "RECEIPT_ID": "/id" }),
            "option MESSAGE_ID is missing, without which",
        ),
        (
            json!({ "RECEIPTS": [{ "state": "deliverd" }] }),
            "did you mean delivered?",
        ),
        (
            json!({ "RECEIPTS": [{ "fields": { "/a": 1 } }] }),
            "option RECEIPTS, rule 1 of 1, has no state",
        ),
        (json!({ "RECEIPTS": [{ "sate": "sent" }] }), "did you mean state?"),
        (
            json!({ "RECEIPTS": [{ "state": "sent", "class": "accepted" }] }),
            "which is not one of a failure",
        ),
        (
            json!({ "RECEIPTS": receipts, "RECEIPT_ID": "id" }),
            "option RECEIPT_ID must say where to look",
        ),
        (
            signed(json!({ "at": null })),
            "option RECEIPT_SIGNATURE has no at",
        ),
        (
            signed(json!({ "at": "X" })),
            "option RECEIPT_SIGNATURE.at must say where to look",
        ),
        (
            signed(json!({ "hash": "sha3" })),
            "option RECEIPT_SIGNATURE.hash is not a known hash",
        ),
        (signed(json!({ "prefx": "v1=" })), "did you mean prefix?"),
        (
            signed(json!({ "over": "{timestamp}{secret}" })),
            "has {timestamp}, but not where a receipt has it",
        ),
        (
            signed(json!({ "over": "{message}{secret}" })),
            "has {message}, which no receipt has",
        ),
    ] {
        let error = refusal(&changes);
        assert!(
            error.message().contains(said),
            "{said:?} is not in: {}",
            error.message()
        );
    }
}
