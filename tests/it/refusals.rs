//! What a client is told when its SMS was not sent, or its number may not be registered now. The ancestor
//! answered 200 to all of it.

use std::time::Duration;

use axum::{
    body::Body,
    http::{Request, header},
};
use phone_verify::model::{FailureClass, Receipt, SendFailure};
use phone_verify_tests::service::{Rules, Service};
use serde_json::{Value, json};

const NUMBER: &str = "+13478379634";

struct Answer {
    status: u16,
    retry_after: Option<u64>,
    body: Value,
}

impl Answer {
    fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }
}

async fn post(service: &Service, route: &str, body: &Value) -> Answer {
    let request = Request::post(format!("/api/phone/{route}"))
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(body.to_string()))
        .unwrap();
    let answer = service.answer(request).await;
    let retry_after = answer.headers().get(header::RETRY_AFTER);
    Answer {
        status: answer.status().as_u16(),
        retry_after: retry_after.map(|wait| wait.to_str().unwrap().parse().unwrap()),
        body: serde_json::from_slice(answer.body()).unwrap(),
    }
}

async fn register(service: &Service) -> Answer {
    post(service, "register", &json!({ "phone_number": NUMBER })).await
}

async fn verify(service: &Service, token: &Value, code: &str) -> Answer {
    let body = json!({ "phone_number": NUMBER, "session_token": token, "security_code": code });
    post(service, "verify", &body).await
}

fn failure(class: FailureClass) -> SendFailure {
    SendFailure::new(class, "acme_7", "what Acme said of +13478379634")
}

#[tokio::test]
async fn an_sms_that_was_not_sent_is_never_a_success() {
    use FailureClass as F;
    for (class, name) in FailureClass::ALL {
        let expected = match class {
            F::InvalidNumber | F::UnreachableNumber | F::OptedOut | F::DestinationBlocked => 400,
            F::Throttled | F::Transient | F::AuthFailed | F::NoCredit | F::Config => 503,
            _ => 502,
        };
        let service = Service::start(&Rules::default());
        service.backend.answers(Err(failure(class)));
        let answer = register(&service).await;
        assert_eq!(answer.status, expected, "{name}: {}", answer.body);
        assert!(!answer.code().is_empty(), "{name}: {}", answer.body);
        assert_eq!(
            answer.body["phone_number"].is_array(),
            expected == 400,
            "{name}: {}",
            answer.body
        );
        assert_eq!(
            answer.body["detail"].is_string(),
            expected != 400,
            "{name}: {}",
            answer.body
        );
        let told = answer.body.to_string();
        assert!(!told.contains("cme") && !told.contains("1347"), "{name}: {told}");
        if class != F::OutcomeUnknown {
            // Nothing is left behind: the number can be registered at once, with a code of its own.
            service.backend.answers(Ok(Receipt::default()));
            assert_eq!(register(&service).await.status, 200, "{name}");
        }
    }
}

#[tokio::test]
async fn a_throttling_provider_is_handed_on_as_a_wait() {
    let service = Service::start(&Rules::default());
    let mut throttled = failure(FailureClass::Throttled);
    throttled.retry_after = Some(Duration::from_secs(90));
    service.backend.answers(Err(throttled));
    let answer = register(&service).await;
    assert_eq!(
        (answer.status, answer.retry_after),
        (503, Some(90)),
        "{}",
        answer.body
    );
}

#[tokio::test]
async fn registering_again_gives_no_new_attempts_and_says_when_there_will_be_some() {
    let service = Service::start(&Rules::default());
    let first = register(&service).await.body["session_token"].clone();
    for _ in 0..5 {
        assert_eq!(
            verify(&service, &first, "000000").await.code(),
            "security_code_invalid"
        );
    }
    assert_eq!(
        verify(&service, &first, "000000").await.code(),
        "too_many_attempts"
    );
    service.clock.advance(Duration::from_secs(100));
    let refused = register(&service).await;
    assert_eq!(
        (refused.status, refused.code()),
        (429, "attempts_used_up"),
        "{}",
        refused.body
    );
    // The code is good through its last millisecond, so that after 500 seconds it would be too early by that one.
    assert_eq!(refused.retry_after, Some(501));
    assert!(refused.body["detail"].is_string());
    service.clock.advance(Duration::from_secs(501));
    assert_eq!(register(&service).await.status, 200);
}

#[tokio::test]
async fn a_pending_code_is_sent_a_few_times_and_then_no_more() {
    let service = Service::start(&Rules::default());
    for _ in 0..5 {
        assert_eq!(register(&service).await.status, 200);
    }
    let refused = register(&service).await;
    assert_eq!(
        (refused.status, refused.code()),
        (429, "too_many_sessions"),
        "{}",
        refused.body
    );
    assert_eq!(refused.retry_after, Some(601));
    let texts: Vec<_> = service.backend.sent().into_iter().map(|(_, text)| text).collect();
    assert_eq!(texts.len(), 5);
    assert!(
        texts.iter().all(|text| *text == texts[0]),
        "the same code each time"
    );
}
