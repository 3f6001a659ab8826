//! What the SMS says: codes of letters, and texts by language.

use phone_verify_tests::{
    gateways::{Gateway, Nexmo},
    site::Site,
};
use serde_json::Value;

const NUMBER: &str = "+13478379634";

/// An installation that sends through Nexmo.
async fn site() -> (Gateway<Nexmo>, Site) {
    let gateway = Gateway::<Nexmo>::start().await;
    let site = Site::with_backend("nexmo.NexmoBackend", &Value::Object(gateway.options()));
    (gateway, site)
}

#[tokio::test]
async fn a_code_of_letters_may_be_typed_in_lower_case() {
    let (gateway, mut site) = site().await;
    site.set("phone_verification", "SECURITY_CODE_ALPHABET", "letters")
        .set("phone_verification", "TOKEN_LENGTH", 8)
        .set("phone_verification", "MESSAGE", "{security_code}");
    let daemon = site.serve();
    let registered = daemon.register(NUMBER).await;
    let code = gateway.sms_to(NUMBER).await.text;
    assert!(
        code.len() == 8
            && code
                .bytes()
                .all(|letter| b"BCDFGHJKLMNPQRSTVWXZ".contains(&letter)),
        "{code}"
    );
    let session = registered.session_token();
    let wrong = if code == "BBBBBBBB" {
        "CCCCCCCC"
    } else {
        "BBBBBBBB"
    };
    assert_eq!(daemon.verify(NUMBER, session, wrong).await.status, 400);
    let verified = daemon.verify(NUMBER, session, &code.to_lowercase()).await;
    assert_eq!(verified.status, 200, "{verified:?}");
}
