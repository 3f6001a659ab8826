//! `twilio.TwilioBackend`.

use std::time::Duration;

use phone_verify::model::FailureClass;
use phone_verify_tests::gateways::{Behaviour, Twilio};
use serde_json::json;

use super::rig::{ALICE, Rig, load};

const TWILIO: &str = "twilio.TwilioBackend";

#[tokio::test]
async fn an_sms_arrives_as_it_was_sent() {
    let rig = Rig::<Twilio>::with(TWILIO).await;
    for text in [
        "Your code is 123456",
        "欢迎 & ברוך הבא + 100% 🔑=123456\n@example.com #123456",
    ] {
        let receipt = rig.send(text).await.unwrap();
        let sms = rig.gateway.sms_to(ALICE).await;
        assert_eq!(receipt.message_id, Some(sms.message_id));
        assert_eq!((sms.text.as_str(), sms.from.as_str()), (text, "+15005550006"));
    }
}

#[tokio::test]
async fn a_messaging_service_stands_in_for_the_sender() {
    let edit = |options: &mut serde_json::Map<_, _>| {
        options.remove("FROM");
        options.insert(
            "messaging_service_sid".to_owned(),
            json!(Twilio::MESSAGING_SERVICE_SID),
        );
    };
    let rig = Rig::<Twilio>::edited(TWILIO, edit).await;
    rig.send("Your code is 123456").await.unwrap();
    assert_eq!(
        rig.gateway.sms_to(ALICE).await.from,
        Twilio::MESSAGING_SERVICE_SID
    );
}

#[tokio::test]
async fn what_was_sent_is_redacted_where_the_operator_wants_it() {
    let redact = |options: &mut serde_json::Map<_, _>| {
        options.insert("REDACT".to_owned(), json!(true));
    };
    for (rig, redacted) in [
        (Rig::<Twilio>::with(TWILIO).await, false),
        (Rig::<Twilio>::edited(TWILIO, redact).await, true),
    ] {
        rig.send("Your code is 123456").await.unwrap();
        let fields = rig.gateway.last_request();
        let has = |name: &str, value: &str| fields.contains(&(name.to_owned(), value.to_owned()));
        assert_eq!(has("ContentRetention", "discard"), redacted);
        assert_eq!(has("AddressRetention", "obfuscate"), redacted);
    }
}

#[tokio::test]
async fn every_documented_refusal_has_its_class() {
    let rig = Rig::<Twilio>::with(TWILIO).await;
    for (code, status, class) in [
        (20003, 401, FailureClass::AuthFailed),
        (20404, 404, FailureClass::AuthFailed),
        (20429, 429, FailureClass::Throttled),
        (20500, 500, FailureClass::OutcomeUnknown),
        (21211, 400, FailureClass::InvalidNumber),
        (21408, 400, FailureClass::DestinationBlocked),
        (21606, 400, FailureClass::SenderRejected),
        (21608, 400, FailureClass::DestinationBlocked),
        (21610, 400, FailureClass::OptedOut),
        (21612, 400, FailureClass::SenderRejected),
        (21614, 400, FailureClass::InvalidNumber),
        (21617, 400, FailureClass::ContentRejected),
        (21635, 400, FailureClass::UnreachableNumber),
        (30001, 400, FailureClass::Throttled),
        (30002, 403, FailureClass::AuthFailed),
        (29999, 400, FailureClass::Internal),
    ] {
        rig.gateway.next(Behaviour::Refuse(code));
        let failure = rig.failure().await;
        assert_eq!(failure.class, class, "code {code}");
        assert_eq!(failure.code, format!("twilio_{code}"));
        assert_eq!(failure.http_status, Some(status));
    }
    assert_eq!(rig.gateway.inbox(), []);
}

#[tokio::test]
async fn the_provider_says_how_long_to_wait() {
    let rig = Rig::<Twilio>::with(TWILIO).await;
    rig.gateway.next(Behaviour::Throttle(Duration::from_secs(2)));
    let failure = rig.failure().await;
    assert_eq!(
        (failure.class, failure.retry_after),
        (FailureClass::Throttled, Some(Duration::from_secs(2)))
    );
}

#[tokio::test]
async fn a_text_that_is_too_long_is_refused_for_its_content() {
    let rig = Rig::<Twilio>::with(TWILIO).await;
    let failure = rig.send(&"a".repeat(1601)).await.unwrap_err();
    assert_eq!(
        (failure.class, failure.code.as_str()),
        (FailureClass::ContentRejected, "twilio_21617")
    );
}

#[tokio::test]
async fn wrong_credentials_are_told_without_being_shown() {
    let edit = |options: &mut serde_json::Map<_, _>| {
        options.insert("SECRET".to_owned(), json!("not-the-token"));
    };
    let failure = Rig::<Twilio>::edited(TWILIO, edit).await.failure().await;
    assert_eq!(
        (failure.class, failure.code.as_str()),
        (FailureClass::AuthFailed, "twilio_20003")
    );
    assert!(!failure.message.contains("not-the-token"), "{failure}");
}

#[tokio::test]
async fn a_number_that_the_provider_repeats_is_masked() {
    let rig = Rig::<Twilio>::with(TWILIO).await;
    rig.gateway.refuse_number(ALICE, 21211);
    let failure = rig.failure().await;
    assert!(failure.message.contains("+13****34"), "{failure}");
    assert!(!failure.message.contains("3478379634"), "{failure}");
}

#[test]
fn each_missing_option_is_named() {
    let refusals = load(TWILIO, &serde_json::Map::new()).err().unwrap();
    for option in ["SID", "SECRET"] {
        let named = refusals
            .iter()
            .any(|refusal| refusal.sentence.contains(&format!("option {option}")));
        assert!(named, "{option} is not named in {refusals:?}");
    }
    let options = json!({ "SID": "AC1", "SECRET": "s3cret" });
    let refusals = load(TWILIO, options.as_object().unwrap()).err().unwrap();
    assert!(
        refusals[0].sentence.contains("option FROM is missing"),
        "{refusals:?}"
    );
}
