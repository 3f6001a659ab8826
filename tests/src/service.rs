//! The service without a daemon process: the real router, verifier, store and dispatcher, a clock that the test moves,
//! and a backend with scripted outcomes.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use axum::{
    Router,
    body::{Body, to_bytes},
    http::{Request, Response},
};
use phone_verify::{
    clock::{Clock, UnixMillis},
    dispatch::{Breaker, Dispatcher, Limits, Sender, Settled},
    entropy::Entropy,
    http::{App, Bounds, Connections, Generation, Live, Loaded, router},
    metrics::Metrics,
    model::{
        ClientAddresses, CodeFormat, DropIn, Language, Locale, Messages, Outcome, PhoneNumber, Receipt,
        SecurityCode, SendFailure, TrustedProxies, Verdict,
    },
    store::{Keyring, OutboxMessage, Store, Tried, sqlite},
    verifier::{BaseValidate, CheckRequest, Guard, Overrides, Policy, RateLimits, ResendPolicy, Verifier},
};
use serde_json::{Map, Value};
use tokio::sync::mpsc;
use tower::ServiceExt;

/// The time at which a test's clock starts.
const BEGIN: UnixMillis = UnixMillis(1_800_000_000_000);

/// The rules of a test's service. All others have their defaults from `default.toml`.
#[derive(Clone)]
pub struct Rules {
    /// The lifetime of a code.
    pub expiration: Duration,
    /// Whether a code is valid for one use.
    pub only_once: bool,
    /// How many wrong codes are accepted for a code.
    pub max_failed_attempts: u32,
    /// Limits on SMS. Default: none, as in django-phone-verify.
    pub limits: RateLimits,
    /// The guard against pumping. Default: off.
    pub guard: Guard,
    /// The code of every SMS. `None`: the service generates it.
    pub code: Option<String>,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            expiration: Duration::from_secs(600),
            only_once: true,
            max_failed_attempts: 5,
            limits: RateLimits::default(),
            guard: Guard::default(),
            code: None,
        }
    }
}

/// A running service.
pub struct Service {
    /// Its routes.
    pub router: Router,
    /// Its time.
    pub clock: Clock,
    /// Its backend.
    pub backend: Arc<ScriptedBackend>,
    // Fields are dropped in this order: the dispatcher must end before its database is removed.
    _dispatcher: Dispatcher,
    _folder: tempfile::TempDir,
}

impl Service {
    /// Starts a service with its own database. Call it inside a tokio runtime.
    ///
    /// # Panics
    /// When the service cannot be started.
    pub fn start(rules: &Rules) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (clock, entropy) = (Clock::manual(BEGIN), Entropy::system());
        let keyring = Arc::new(Keyring::ephemeral(entropy.clone()).expect("randomness"));
        let database = folder.path().join("phone-verify.db");
        let store =
            sqlite::open(&database, Arc::clone(&keyring), Arc::new(())).expect("a new database opens");
        let store: Arc<dyn Store> = Arc::new(store);
        let backend = Arc::new(ScriptedBackend {
            code: rules.code.clone(),
            outcome: Mutex::new(Ok(Receipt::default())),
            sent: Mutex::default(),
        });
        let limits = Limits {
            concurrency: 16,
            send_timeout: Duration::from_secs(10),
            total_timeout: Duration::from_secs(20),
        };
        let template = "Welcome to {app}! Please use security code {security_code} to proceed.";
        let english = Language::of_tag("en").expect("a language");
        let policy = Policy {
            test_numbers: Arc::default(),
            code_format: CodeFormat::digits(6),
            expiration: rules.expiration,
            only_once: rules.only_once,
            resend: ResendPolicy::Same,
            max_failed_attempts: rules.max_failed_attempts,
            messages: Arc::new(Messages::new(template, english, "Phone Verify").expect("a good template")),
            limits: rules.limits.clone(),
            guard: rules.guard.clone(),
            record_retention: Duration::from_secs(30 * 24 * 60 * 60),
            audit_retention: Duration::from_secs(365 * 24 * 60 * 60),
        };
        let (orders, to_dispatch) = mpsc::channel(64);
        let breaker = Arc::new(Breaker::new(clock.clone()));
        let dispatcher = Dispatcher::start(
            Arc::clone(&store),
            Arc::clone(&backend) as Arc<dyn Sender>,
            Arc::clone(&breaker),
            limits,
            to_dispatch,
            clock.clone(),
        );
        let verifier = Verifier::new(
            policy,
            Arc::clone(&store),
            keyring,
            Arc::clone(&backend) as Arc<dyn Overrides>,
            orders,
            clock.clone(),
            entropy,
        );
        let app = App {
            live: Live::new(Generation {
                verifier,
                backend: Loaded {
                    name: "scripted.ScriptedBackend".into(),
                    version: "0.0.0".into(),
                    abi: "1.0".into(),
                    sha256: "0".repeat(64),
                    signed_by: None,
                    isolation: "inline".into(),
                    sandbox: false,
                    weakness: None,
                },
                notes: Vec::new(),
                default_region: None,
                context_allows_urls: false,
                keys: Vec::new(),
            }),
            store,
            breaker,
            sender: Arc::clone(&backend) as Arc<dyn Sender>,
            connections: Connections::new(
                Bounds {
                    max_connections: 1,
                    max_connections_per_address: 1,
                    trusted_proxies: TrustedProxies::default(),
                    read_timeout: Duration::from_secs(10),
                    idle_timeout: Duration::from_secs(75),
                },
                clock.clone(),
            ),
            trusted_proxies: TrustedProxies::default(),
            allowed_origins: Vec::new(),
            public_url: None,
            drop_in_endpoints: DropIn::Open,
            read_timeout: Duration::from_secs(10),
            clock: clock.clone(),
            metrics: Metrics::default(),
            started_at: BEGIN,
            // A separate source, so that request ids do not influence the codes.
            entropy: Entropy::seeded(0),
            client_addresses: ClientAddresses::Masked,
            demo: None,
        };
        Self {
            router: router(Arc::new(app)),
            clock,
            backend,
            _dispatcher: dispatcher,
            _folder: folder,
        }
    }

    /// Handles a request. The body of the answer is as it would go over the wire.
    ///
    /// # Panics
    /// When the answer's body ends early.
    pub async fn answer(&self, request: Request<Body>) -> Response<Vec<u8>> {
        let Ok(answer) = self.router.clone().oneshot(request).await;
        let (head, body) = answer.into_parts();
        let body = to_bytes(body, usize::MAX).await.expect("a whole body");
        Response::from_parts(head, body.to_vec())
    }
}

/// A backend that sends nothing and returns scripted outcomes.
pub struct ScriptedBackend {
    code: Option<String>,
    outcome: Mutex<Outcome>,
    sent: Mutex<Vec<(PhoneNumber, String)>>,
}

impl ScriptedBackend {
    /// Sets the outcome of every SMS from now on.
    pub fn answers(&self, outcome: Outcome) {
        *self.outcome.lock().unwrap_or_else(PoisonError::into_inner) = outcome;
    }

    /// Every SMS that it was asked to send.
    pub fn sent(&self) -> Vec<(PhoneNumber, String)> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn take(&self, number: &PhoneNumber, text: &str) -> Outcome {
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        sent.push((number.clone(), text.to_owned()));
        self.outcome
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

#[async_trait]
impl Sender for ScriptedBackend {
    fn is_test(&self, _number: &PhoneNumber, _now: UnixMillis) -> bool {
        false
    }

    fn name(&self) -> Arc<str> {
        "scripted.ScriptedBackend".into()
    }

    async fn send(&self, message: &OutboxMessage, _: Duration) -> Tried {
        Tried {
            outcome: self.take(&message.number, &message.text),
            backend: self.name(),
        }
    }

    fn sends_bulk(&self) -> bool {
        false
    }

    async fn send_bulk(&self, _: &[PhoneNumber], _: &str, _: Duration, _: Settled) {}

    async fn send_one(&self, number: &PhoneNumber, text: &str, _: &str, _: Duration) -> Outcome {
        self.take(number, text)
    }
}

#[async_trait]
impl Overrides for ScriptedBackend {
    async fn generate_security_code(&self, _: &Locale) -> Option<Result<SecurityCode, SendFailure>> {
        Some(Ok(SecurityCode::new(self.code.clone()?)?))
    }

    async fn generate_message(
        &self,
        _: &SecurityCode,
        _: &Locale,
        _: &Map<String, Value>,
    ) -> Option<Result<String, SendFailure>> {
        None
    }

    fn validates(&self) -> bool {
        false
    }

    async fn validate_security_code(
        &self,
        check: &CheckRequest,
        base: Arc<dyn BaseValidate>,
    ) -> Result<Verdict, SendFailure> {
        base.validate(&check.code).await
    }
}
