//! `nexmo.NexmoSandboxBackend` and `twilio.TwilioSandboxBackend`.

use std::time::Duration;

use phone_verify::model::{SecurityCode, SessionToken, Verdict};
use phone_verify_plugin_host::Backend;
use phone_verify_tests::gateways::{Nexmo, Provider, Twilio};

use super::rig::{ALICE, Rig, call, load, phone};

const NEXMO: &str = "nexmo.NexmoSandboxBackend";
const TWILIO: &str = "twilio.TwilioSandboxBackend";

async fn judged(backend: &Backend, code: &str, base: Verdict) -> Verdict {
    let token = SessionToken::from_client("token");
    let call = call(Duration::from_secs(10), base);
    backend
        .validate_security_code(&SecurityCode::from_client(code), &phone(ALICE), &token, call)
        .await
        .unwrap()
}

/// The story of each sandbox.
async fn a_sandbox<P: Provider>(name: &str) {
    let rig = Rig::<P>::with(name).await;
    let backend = &rig.backend;
    assert!(backend.is_sandbox());

    let code = backend
        .generate_security_code(call(Duration::from_secs(10), Verdict::Valid))
        .await
        .unwrap();
    assert_eq!(code.expose(), "123456");

    // The base's word holds, but for a session from before the sandbox, whose code is another one.
    assert_eq!(judged(backend, "123456", Verdict::Valid).await, Verdict::Valid);
    assert_eq!(judged(backend, "123456", Verdict::Invalid).await, Verdict::Valid);
    assert_eq!(
        judged(backend, "654321", Verdict::Invalid).await,
        Verdict::Invalid
    );
    for verdict in [
        Verdict::Expired,
        Verdict::AlreadyVerified,
        Verdict::SessionTokenInvalid,
        Verdict::TooManyAttempts,
    ] {
        assert_eq!(judged(backend, "123456", verdict).await, verdict);
    }

    // With BASE_URL it sends there.
    rig.send("Your code is 123456").await.unwrap();
    assert_eq!(rig.gateway.sms_to(ALICE).await.text, "Your code is 123456");
}

#[tokio::test]
async fn the_token_of_nexmos_sandbox_is_every_code() {
    a_sandbox::<Nexmo>(NEXMO).await;
}

#[tokio::test]
async fn the_token_of_twilios_sandbox_is_every_code() {
    a_sandbox::<Twilio>(TWILIO).await;
}

#[tokio::test]
async fn without_a_base_url_nothing_is_sent() {
    let without = |options: &mut serde_json::Map<_, _>| {
        options.remove("BASE_URL");
    };
    let rig = Rig::<Nexmo>::edited(NEXMO, without).await;
    assert_eq!(rig.send("Your code is 123456").await.unwrap().message_id, None);
    assert_eq!(rig.gateway.requests(), 0);
    let rig = Rig::<Twilio>::edited(TWILIO, without).await;
    assert_eq!(rig.send("Your code is 123456").await.unwrap().message_id, None);
    assert_eq!(rig.gateway.requests(), 0);
}

#[tokio::test]
async fn one_table_of_options_serves_the_sandbox_and_the_real_backend() {
    Rig::<Nexmo>::with("nexmo.NexmoBackend")
        .await
        .send("Hello")
        .await
        .unwrap();
    let without = |options: &mut serde_json::Map<_, _>| {
        options.remove("SANDBOX_TOKEN");
    };
    let rig = Rig::<Nexmo>::edited("nexmo.NexmoBackend", without).await;
    let refusals = load(NEXMO, &{
        let mut options = rig.gateway.options();
        without(&mut options);
        options
    })
    .err()
    .unwrap();
    assert!(
        refusals[0].sentence.contains("option SANDBOX_TOKEN"),
        "{refusals:?}"
    );
}
