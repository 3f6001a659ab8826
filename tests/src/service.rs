//! The service without a daemon process: put together by the daemon's own code, with a clock that the test moves, and a
//! backend with scripted outcomes.

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
    daemon::{self, ServiceParts},
    entropy::Entropy,
    fleet::{BackendFacts, Bounds, DEFAULT, Entry, ForTests, Member, Members, Parts, Sender, Settled, Sms},
    http::{App, router},
    model::{
        CodeFormat, IncomingRequest, Locale, Outcome, PhoneNumber, Receipt, ReceiptAnswer, SecurityCode,
        SendFailure, TakesReceipts, TestNumbers,
    },
    settings::Settings,
    store::{Keyring, sqlite},
    verifier::{AuthorityCall, CodeAuthority, Guard, RateLimits},
};
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

impl Rules {
    /// What the daemon would read.
    fn settings(&self) -> Settings {
        let mut settings = Settings::defaults();
        let phone_verification = &mut settings.phone_verification;
        phone_verification.code_format = CodeFormat::digits(6);
        phone_verification.expiration = self.expiration;
        phone_verification.only_once = self.only_once;
        phone_verification.max_failed_attempts = self.max_failed_attempts;
        settings.limits = self.limits.clone();
        settings.guard = self.guard.clone();
        settings.dispatch.bounds = Bounds {
            concurrency: 16,
            send_timeout: Duration::from_secs(10),
            queue_length: 64,
            max_per_second: None,
        };
        settings
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
    /// Its keys.
    pub keyring: Arc<Keyring>,
    // Fields are dropped in this order: the service must end before its database is removed.
    _running: daemon::Service,
    _folder: tempfile::TempDir,
}

impl Service {
    /// Starts a service with its own database. Call it inside a tokio runtime.
    ///
    /// # Panics
    /// When the service cannot be started.
    pub fn start(rules: &Rules) -> Self {
        Self::with(rules, |_| {})
    }

    /// The same with further settings.
    ///
    /// # Panics
    /// When the service cannot be started.
    pub fn with(rules: &Rules, further: impl FnOnce(&mut Settings)) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (clock, entropy) = (Clock::manual(BEGIN), Entropy::system());
        let keyring = Arc::new(Keyring::ephemeral(entropy.clone()).expect("randomness"));
        let database = folder.path().join("phone-verify.db");
        let store =
            sqlite::open(&database, Arc::clone(&keyring), Arc::new(())).expect("a new database opens");
        let backend = Arc::new(ScriptedBackend {
            code: rules.code.clone(),
            outcome: Mutex::new(Ok(Receipt::default())),
            sent: Mutex::default(),
            takes_receipts: Mutex::default(),
            receives: Mutex::new(Ok(ReceiptAnswer::new(200))),
            received: Mutex::default(),
        });
        let mut settings = rules.settings();
        further(&mut settings);
        let bounds = settings.dispatch.bounds;
        let member = Member::new(
            DEFAULT,
            Parts::of(
                BackendFacts::part_of_program("scripted.ScriptedBackend"),
                &backend,
            ),
            bounds,
            None,
            &clock,
        );
        let entry = Entry {
            member: Arc::new(member),
            refusals: [].into(),
        };
        let for_tests = ForTests::new(Arc::new(TestNumbers::default()), clock.clone());
        let parts = ServiceParts {
            store: Arc::new(store),
            store_metrics: Arc::default(),
            keyring: Arc::clone(&keyring),
            members: Members::one(entry, for_tests),
            clock: clock.clone(),
            entropy,
        };
        let service = daemon::Service::on(parts, &settings);
        let app = App {
            // A separate source, so that request ids do not influence the codes.
            entropy: Entropy::seeded(0),
            ..daemon::app(&service, &settings, None, Arc::default(), None)
        };
        Self {
            router: router(Arc::new(app)),
            clock,
            backend,
            keyring,
            _running: service,
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
    takes_receipts: Mutex<Option<TakesReceipts>>,
    receives: Mutex<Result<ReceiptAnswer, SendFailure>>,
    received: Mutex<Vec<IncomingRequest>>,
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

    /// Takes requests of its provider from now on, and makes this of each.
    pub fn receives(&self, takes: TakesReceipts, answer: Result<ReceiptAnswer, SendFailure>) {
        *self.takes_receipts.lock().unwrap_or_else(PoisonError::into_inner) = Some(takes);
        *self.receives.lock().unwrap_or_else(PoisonError::into_inner) = answer;
    }

    /// Every request of its provider that it was given.
    pub fn received(&self) -> Vec<IncomingRequest> {
        let received = self.received.lock().unwrap_or_else(PoisonError::into_inner);
        received.clone()
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
    async fn send(&self, sms: Sms<'_>, _: Duration) -> Outcome {
        self.take(sms.number, sms.text)
    }

    fn sends_bulk(&self) -> bool {
        false
    }

    async fn send_bulk(&self, _: &[PhoneNumber], _: &str, _: Duration, _: Settled) {}

    fn takes_receipts(&self) -> Option<TakesReceipts> {
        *self.takes_receipts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn receive(&self, request: IncomingRequest, _: Duration) -> Result<ReceiptAnswer, SendFailure> {
        let mut received = self.received.lock().unwrap_or_else(PoisonError::into_inner);
        received.push(request);
        self.receives
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl CodeAuthority for ScriptedBackend {
    fn generate<'a>(
        self: Arc<Self>,
        _: &'a PhoneNumber,
        _: &'a Locale,
    ) -> Option<AuthorityCall<'a, SecurityCode>> {
        let code = SecurityCode::new(self.code.clone()?)?;
        Some(Box::pin(async { Ok(code) }))
    }
}
