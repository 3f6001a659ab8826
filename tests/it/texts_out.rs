//! `/v1/messages`: one text to one number, and what became of it.

use axum::{
    body::Body,
    http::{Request, header},
};
use phone_verify::{
    model::{
        DeliveryReport, FailureClass, Limit, ProviderMessageId, Receipt, ReceiptAnswer, ReceiptKind,
        ReportedState, SendFailure, TakesReceipts,
    },
    verifier::RateLimits,
};
use phone_verify_tests::{
    gateways::{Gateway, Nexmo},
    service::{Rules, Service},
    site::Site,
};
use serde_json::{Value, json};

const NUMBER: &str = "+13478379634";
const TEXT: &str = "Your parcel arrives tomorrow.";

async fn ask(service: &Service, request: Request<Body>) -> (u16, Value) {
    let answer = service.answer(request).await;
    let body = serde_json::from_slice(answer.body()).unwrap_or_default();
    (answer.status().as_u16(), body)
}

async fn send_under(service: &Service, key: Option<&str>, body: &Value) -> (u16, Value) {
    let mut request = Request::post("/v1/messages").header(header::CONTENT_TYPE, "application/json");
    if let Some(key) = key {
        request = request.header("Idempotency-Key", key);
    }
    ask(service, request.body(Body::from(body.to_string())).unwrap()).await
}

async fn send(service: &Service) -> (u16, Value) {
    send_under(service, None, &json!({ "phone_number": NUMBER, "message": TEXT })).await
}

async fn shown(service: &Service, id: &Value) -> Value {
    let path = format!("/v1/messages/{}", id.as_str().unwrap());
    let (status, body) = ask(service, Request::get(path).body(Body::empty()).unwrap()).await;
    assert_eq!(status, 200, "{body}");
    body
}

#[tokio::test]
async fn a_text_is_sent_and_followed_until_it_arrives() {
    let service = Service::start(&Rules::default());
    service.backend.answers(Ok(Receipt {
        message_id: Some("SM7".into()),
        exact_id: None,
        ..Receipt::default()
    }));
    let (status, begun) = send(&service).await;
    assert_eq!(
        (status, &begun["delivery"]["status"]),
        (201, &json!("sent")),
        "{begun}"
    );
    assert_eq!(begun["delivery"]["provider_message_id"], "SM7");
    let [(number, text)] = &service.backend.sent()[..] else {
        panic!("one SMS")
    };
    assert_eq!((number.e164(), text.as_str()), (NUMBER, TEXT));
    let report = DeliveryReport::new(ProviderMessageId::new("SM7").unwrap(), ReportedState::Delivered);
    let takes = TakesReceipts {
        kind: ReceiptKind::Handset,
        are_signed: true,
    };
    let reads = ReceiptAnswer {
        reports: vec![report],
        ..ReceiptAnswer::new(200)
    };
    service.backend.receives(takes, Ok(reads));
    let receipt = Request::post("/v1/receipts/default").body(Body::empty()).unwrap();
    assert_eq!(ask(&service, receipt).await.0, 200);
    let found = shown(&service, &begun["id"]).await;
    assert_eq!(found["delivery"]["status"], "delivered", "{found}");
    assert!(!found.to_string().contains(TEXT), "the words are not kept");
    // It is no verification.
    let path = format!("/v1/verifications/{}", begun["id"].as_str().unwrap());
    assert_eq!(
        ask(&service, Request::get(path).body(Body::empty()).unwrap())
            .await
            .0,
        404
    );
}

#[tokio::test]
async fn the_same_request_sends_one_text() {
    let service = Service::start(&Rules::default());
    let body = json!({ "phone_number": NUMBER, "message": TEXT });
    let first = send_under(&service, Some("order-7"), &body).await;
    assert_eq!(first.0, 201);
    assert_eq!(send_under(&service, Some("order-7"), &body).await, first);
    assert_eq!(service.backend.sent().len(), 1);
    let other = json!({ "phone_number": NUMBER, "message": "another" });
    let (status, answer) = send_under(&service, Some("order-7"), &other).await;
    assert_eq!((status, &answer["code"]), (422, &json!("idempotency_key_reused")));
}

#[tokio::test]
async fn a_text_that_is_not_sent_is_told_as_what_it_is() {
    let service = Service::start(&Rules::default());
    for (class, status, code) in [
        (FailureClass::OptedOut, 400, "phone_number_opted_out"),
        (FailureClass::NoCredit, 503, "sms_not_sent"),
        (FailureClass::OutcomeUnknown, 502, "sms_outcome_unknown"),
        (FailureClass::ContentRejected, 502, "sms_not_sent"),
    ] {
        service
            .backend
            .answers(Err(SendFailure::new(class, "test_1", "for a test")));
        let (found, answer) = send(&service).await;
        assert_eq!(
            (found, &answer["code"]),
            (status, &json!(code)),
            "{class:?}: {answer}"
        );
    }
}

#[tokio::test]
async fn a_text_uses_the_limits_of_its_number_and_of_the_service() {
    let hour = std::time::Duration::from_secs(3600);
    let once = |code| -> std::sync::Arc<[Limit]> {
        [Limit {
            code,
            max: 1,
            reserved_percent: 0,
            window: hour,
        }]
        .into()
    };
    for limits in [
        RateLimits {
            number: once("number_per_hour"),
            ..RateLimits::default()
        },
        RateLimits {
            service: once("service_per_hour"),
            ..RateLimits::default()
        },
    ] {
        let service = Service::start(&Rules {
            limits: limits.clone(),
            ..Rules::default()
        });
        assert_eq!(send(&service).await.0, 201);
        let (status, answer) = send(&service).await;
        assert_eq!(status, 429, "{answer}");
        assert_eq!(service.backend.sent().len(), 1);
        service.clock.advance(hour);
        assert_eq!(send(&service).await.0, 201, "{limits:?}");
    }
}

#[tokio::test]
async fn every_faulty_field_is_told() {
    let service = Service::start(&Rules::default());
    let latin = "x".repeat(1530);
    let cyrillic = "ж".repeat(670);
    for (body, fields) in [
        (json!({}), vec!["message", "phone_number"]),
        (
            json!({ "phone_number": "x", "message": " " }),
            vec!["message", "phone_number"],
        ),
        (
            json!({ "phone_number": NUMBER, "message": latin.clone() + "x" }),
            vec!["message"],
        ),
        (
            json!({ "phone_number": NUMBER, "message": cyrillic.clone() + "ж" }),
            vec!["message"],
        ),
        (
            json!({ "phone_number": NUMBER, "message": TEXT, "channel": "fax" }),
            vec!["channel"],
        ),
    ] {
        let (status, answer) = send_under(&service, None, &body).await;
        let errors = answer["errors"].as_object().unwrap();
        let told: Vec<&str> = errors.keys().map(String::as_str).collect();
        assert_eq!((status, told), (400, fields), "{answer}");
    }
    let unknown = json!({ "phone_number": NUMBER, "message": TEXT, "text": "x" });
    let (status, answer) = send_under(&service, None, &unknown).await;
    assert_eq!(status, 400);
    assert!(answer["detail"].as_str().unwrap().contains("channel"), "{answer}");
    assert_eq!(service.backend.sent().len(), 0);
    for text in [latin, cyrillic] {
        let body = json!({ "phone_number": NUMBER, "message": text, "channel": "sms" });
        assert_eq!(send_under(&service, None, &body).await.0, 201);
    }
}

#[tokio::test]
async fn a_text_is_exported_and_forgotten_with_its_number_and_never_logged() {
    let gateway: Gateway<Nexmo> = Gateway::start().await;
    let mut site = Site::with_backend("nexmo.NexmoBackend", &Value::Object(gateway.options()));
    site.set("log", "level", "trace");
    let daemon = site.serve();
    let begun = daemon
        .post(
            "/v1/messages",
            &json!({ "phone_number": NUMBER, "message": TEXT }),
        )
        .await;
    assert_eq!(begun.status, 201, "{begun:?}");
    // The daemon answers before it has recorded that the provider took it.
    let exported = loop {
        let exported = site.run(&["export", NUMBER, "--json"]).json();
        if exported["messages"][0]["delivery"] != "queued" {
            break exported;
        }
    };
    assert_eq!(exported["messages"][0]["id"], begun.body["id"], "{exported}");
    assert_eq!(exported["messages"][0]["delivery"], "sent", "{exported}");
    assert_eq!(site.run(&["forget", NUMBER, "--json"]).json()["records"], 1);
    let path = format!("/v1/messages/{}", begun.body["id"].as_str().unwrap());
    let gone = daemon.get(&path).await;
    assert_eq!((gone.status, gone.code()), (404, "message_not_found"));
    let log = daemon.log();
    assert!(!log.contains(TEXT) && !log.contains(&NUMBER[3..]), "{log}");
}
