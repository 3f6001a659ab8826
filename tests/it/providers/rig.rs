//! A backend loaded out of its library, and the gateway at its other end.

use std::{
    path::Path,
    sync::{Arc, LazyLock},
    time::Duration,
};

use phone_verify::{
    clock::Clock,
    entropy::Entropy,
    model::{Outcome, PhoneNumber, SecurityCode, SendFailure, Verdict},
};
use phone_verify_plugin_host::{
    Backend, BackendName, BaseCalls, Call, CallFacts, Isolation, IsolationRules, Loader, LoaderConfig,
    Outbound, Refusal, TrustRules,
};
use phone_verify_tests::{
    artifacts,
    gateways::{Gateway, Provider},
};
use serde_json::{Map, Value};

/// Somebody's number.
pub(crate) const ALICE: &str = "+13478379634";

/// A backend and its provider.
pub(crate) struct Rig<P> {
    pub(crate) gateway: Gateway<P>,
    pub(crate) backend: Backend,
}

impl<P: Provider> Rig<P> {
    /// Loads `nexmo.NexmoBackend` or the like with the gateway's own options.
    pub(crate) async fn with(backend: &str) -> Self {
        Self::edited(backend, |_| ()).await
    }

    /// The same, with options that the test edits.
    pub(crate) async fn edited(backend: &str, edit: impl FnOnce(&mut Map<String, Value>)) -> Self {
        let gateway = Gateway::start().await;
        let mut options = gateway.options();
        edit(&mut options);
        let backend = load(backend, &options).unwrap();
        Self { gateway, backend }
    }

    /// Sends one SMS to [`ALICE`].
    pub(crate) async fn send(&self, message: &str) -> Outcome {
        self.send_to(ALICE, message).await
    }

    pub(crate) async fn send_to(&self, number: &str, message: &str) -> Outcome {
        let call = call(Duration::from_secs(10), Verdict::Valid);
        self.backend.send_sms(&phone(number), message, call).await
    }

    /// The failure of a send.
    pub(crate) async fn failure(&self) -> SendFailure {
        self.send("Your code is 123456").await.unwrap_err()
    }
}

/// Loads a backend through a loader that all stories share: its HTTP client reads the system's certificates once.
pub(crate) fn load(backend: &str, options: &Map<String, Value>) -> Result<Backend, Vec<Refusal>> {
    static LOADER: LazyLock<Loader> = LazyLock::new(|| {
        Loader::new(LoaderConfig {
            directories: ["nexmo", "twilio"]
                .map(|library| artifacts::library(library).parent().unwrap().to_owned())
                .to_vec(),
            // Copies are named by their content, so that nothing piles up here.
            staging: Path::new(env!("CARGO_TARGET_TMPDIR")).join("staged"),
            clock: Clock::system(),
            entropy: Entropy::system(),
            // A gateway's address is the operator's own BASE_URL, which needs no special word.
            allow_private_addresses: false,
            outbound: Outbound::default(),
            requests_at_once: 256,
            isolation: IsolationRules {
                default: Isolation::Inline,
                ..IsolationRules::default()
            },
            trust: TrustRules::default(),
        })
    });
    LOADER.load(&BackendName::parse(backend).unwrap(), options)
}

pub(crate) fn phone(number: &str) -> PhoneNumber {
    PhoneNumber::parse(number, None).unwrap()
}

/// A call whose base answers a check with this verdict.
pub(crate) fn call(time_limit: Duration, verdict: Verdict) -> Call {
    Call {
        time_limit,
        request_id: "r-1".to_owned(),
        idempotency_key: "i-1".to_owned(),
        locale: String::new(),
        facts: CallFacts::default(),
        base: Arc::new(Base(verdict)),
    }
}

struct Base(Verdict);

#[async_trait::async_trait]
impl BaseCalls for Base {
    fn security_code(&self) -> Result<SecurityCode, SendFailure> {
        Ok(SecurityCode::new("424242").unwrap())
    }

    fn message(&self, code: &SecurityCode) -> String {
        format!("Your code is {}.", code.expose())
    }

    async fn validate(&self, _code: &SecurityCode) -> Option<Result<Verdict, SendFailure>> {
        Some(Ok(self.0))
    }
}
