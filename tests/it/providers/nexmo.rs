//! `nexmo.NexmoBackend`.

use std::time::Duration;

use phone_verify::model::FailureClass;
use phone_verify_tests::gateways::{Behaviour, Nexmo};
use serde_json::json;

use super::rig::{ALICE, Rig, load};

const NEXMO: &str = "nexmo.NexmoBackend";

#[tokio::test]
async fn an_sms_arrives_as_it_was_sent() {
    let rig = Rig::<Nexmo>::with(NEXMO).await;
    let receipt = rig.send("Your code is 123456").await.unwrap();
    let sms = rig.gateway.sms_to(ALICE).await;
    assert_eq!(receipt.message_id.as_ref(), Some(&sms.message_id));
    assert_eq!(sms.text, "Your code is 123456");
    assert_eq!(sms.from, "1232328372987", "a number without its plus sign");
    assert!(!sms.unicode);
}

#[tokio::test]
async fn text_of_any_script_arrives_whole() {
    let rig = Rig::<Nexmo>::with(NEXMO).await;
    for (text, unicode) in [
        ("£5 = {5€} [~] à è Ç ñ ¿?\r\n@example.com #123456", false),
        ("¡Bienvenido! Usa el código 123456 para continuar.", true),
        ("Добро пожаловать: 123456", true),
        ("欢迎 & ברוך הבא + 100% 🔑=123456", true),
        ("façade", true),
        ("FAÇADE", false),
    ] {
        rig.send(text).await.unwrap();
        let sms = rig.gateway.sms_to(ALICE).await;
        assert_eq!((sms.text.as_str(), sms.unicode), (text, unicode));
    }
}

#[tokio::test]
async fn a_long_text_is_one_sms_of_several_parts() {
    let rig = Rig::<Nexmo>::with(NEXMO).await;
    let text = "ключ ".repeat(40);
    let receipt = rig.send(&text).await.unwrap();
    let sms = rig.gateway.sms_to(ALICE).await;
    assert_eq!((sms.text, sms.parts), (text, 3));
    assert_eq!(receipt.message_id, Some(sms.message_id));
}

#[tokio::test]
async fn every_documented_refusal_has_its_class() {
    let rig = Rig::<Nexmo>::with(NEXMO).await;
    for (status, class) in [
        (1, FailureClass::Throttled),
        (2, FailureClass::Internal),
        (3, FailureClass::InvalidNumber),
        (4, FailureClass::AuthFailed),
        (5, FailureClass::Transient),
        (6, FailureClass::InvalidNumber),
        (7, FailureClass::OptedOut),
        (8, FailureClass::AuthFailed),
        (9, FailureClass::NoCredit),
        (10, FailureClass::Throttled),
        (11, FailureClass::AuthFailed),
        (12, FailureClass::ContentRejected),
        (14, FailureClass::AuthFailed),
        (15, FailureClass::SenderRejected),
        (22, FailureClass::Internal),
        (23, FailureClass::Internal),
        (29, FailureClass::DestinationBlocked),
        (32, FailureClass::AuthFailed),
        (33, FailureClass::UnreachableNumber),
        (101, FailureClass::SenderRejected),
    ] {
        rig.gateway.next(Behaviour::Refuse(status));
        let failure = rig.failure().await;
        assert_eq!(failure.class, class, "status {status}");
        assert_eq!(failure.code, format!("nexmo_{status}"));
        assert_eq!(failure.http_status, Some(200));
    }
    assert_eq!(rig.gateway.inbox(), []);
}

#[tokio::test]
async fn the_provider_says_how_long_to_wait() {
    let rig = Rig::<Nexmo>::with(NEXMO).await;
    rig.gateway.next(Behaviour::Throttle(Duration::from_millis(702)));
    let failure = rig.failure().await;
    assert_eq!(
        (failure.class, failure.retry_after),
        (FailureClass::Throttled, Some(Duration::from_millis(702)))
    );
    rig.gateway.next(Behaviour::HttpStatus(429));
    let failure = rig.failure().await;
    assert_eq!(
        (failure.class, failure.retry_after),
        (FailureClass::Throttled, Some(Duration::from_secs(1)))
    );
}

#[tokio::test]
async fn an_sms_of_which_only_a_part_was_taken_is_not_sent_again() {
    let rig = Rig::<Nexmo>::with(NEXMO).await;
    let text = "long ".repeat(60);
    for status in [9, 5] {
        rig.gateway.next(Behaviour::RefuseLastPart(status));
        let failure = rig.send(&text).await.unwrap_err();
        assert_eq!(failure.class, FailureClass::OutcomeUnknown);
        assert!(!failure.class.may_be_retried());
    }
}

#[tokio::test]
async fn wrong_credentials_are_told_without_being_shown() {
    let edit = |options: &mut serde_json::Map<_, _>| {
        options.insert("SECRET".to_owned(), json!("not-the-secret"));
    };
    let rig = Rig::<Nexmo>::edited(NEXMO, edit).await;
    let failure = rig.failure().await;
    assert_eq!(
        (failure.class, failure.code.as_str()),
        (FailureClass::AuthFailed, "nexmo_4")
    );
    assert_eq!(
        failure.message,
        "Nexmo refused the SMS with status 4: Bad Credentials"
    );
}

#[test]
fn each_missing_option_is_named() {
    let refusals = load(NEXMO, &serde_json::Map::new()).err().unwrap();
    for option in ["KEY", "SECRET", "FROM"] {
        let named = refusals
            .iter()
            .any(|refusal| refusal.sentence.contains(&format!("option {option}")));
        assert!(named, "{option} is not named in {refusals:?}");
    }
}

#[test]
fn a_base_url_that_is_no_address_is_named() {
    let options =
        json!({ "KEY": "a1b2c3d4", "SECRET": "s3cret", "FROM": "Acme", "BASE_URL": "localhost:80" });
    let refusals = load(NEXMO, options.as_object().unwrap()).err().unwrap();
    assert_eq!(refusals.len(), 1, "{refusals:?}");
    assert!(
        refusals[0].sentence.contains("option BASE_URL must be"),
        "{}",
        refusals[0].sentence
    );
}
