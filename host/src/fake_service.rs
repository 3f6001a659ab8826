//! The service on a fake network: put together by the daemon's own code, on a real database, with a clock that the test
//! moves.

use std::{net::IpAddr, sync::Arc, time::Duration};

use serde_json::{Map, json};

use crate::{
    clock::{Clock, UnixMillis},
    daemon::{self, ServiceParts},
    dispatch::bulk::Bulk,
    entropy::Entropy,
    fake_network::FakeNetwork,
    fleet::{BackendStatus, Bounds, BreakerState, DEFAULT, Entry, Fleet, ForTests, Member, Members, Route},
    model::{
        ClientAddress, CodeFormat, Language, Locale, Message, Messages, PhoneNumber, SecurityCode,
        SessionToken, TestNumbers, Verdict, VerificationId,
    },
    rules::route::Conditions,
    settings::Settings,
    store::{
        Keyring, MasterKey, Store, StoreError,
        sqlite::{self, Sqlite},
    },
    verifier::{
        CheckError, CheckRequest, Guard, RateLimits, RegisterError, RegisterRequest, Registered,
        ResendPolicy, Verifier,
    },
};

pub(crate) const LIFETIME: Duration = Duration::from_secs(600);
pub(crate) const RETENTION: Duration = Duration::from_secs(30 * 24 * 60 * 60);
pub(crate) const AUDIT_RETENTION: Duration = Duration::from_secs(365 * 24 * 60 * 60);
pub(crate) const MAX_FAILED_ATTEMPTS: u32 = 5;
pub(crate) const BOUNDS: Bounds = Bounds {
    concurrency: 4,
    send_timeout: Duration::from_secs(10),
    queue_length: QUEUE_LENGTH,
    max_per_second: None,
};
pub(crate) const TOTAL_TIMEOUT: Duration = Duration::from_secs(20);
/// Messages that may wait for a slot.
pub(crate) const QUEUE_LENGTH: usize = 8;

pub(crate) struct Service {
    pub(crate) network: Arc<FakeNetwork>,
    pub(crate) verifier: Verifier,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) keyring: Arc<Keyring>,
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) clock: Clock,
    sqlite: Arc<Sqlite>,
    running: daemon::Service,
    folder: Arc<tempfile::TempDir>,
    limits: RateLimits,
    guard: Guard,
}

impl Service {
    /// Without limits on how many SMS may be asked for.
    pub(crate) fn start(network: FakeNetwork) -> Self {
        Self::with_limits(network, RateLimits::default())
    }

    pub(crate) fn with_limits(network: FakeNetwork, limits: RateLimits) -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let keyring = Arc::new(Keyring::ephemeral(Entropy::seeded(1)).unwrap());
        let clock = Clock::manual(UnixMillis(1_700_000_000_000));
        Self::on(network, folder, keyring, clock, limits, Guard::default())
    }

    /// With these keys to a new database.
    pub(crate) fn keyed(keys: &[MasterKey], limits: RateLimits) -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let keyring = Arc::new(Keyring::of(keys, Entropy::system()).unwrap());
        let clock = Clock::manual(UnixMillis(1_700_000_000_000));
        Self::on(
            FakeNetwork::default(),
            folder,
            keyring,
            clock,
            limits,
            Guard::default(),
        )
    }

    pub(crate) fn with_guard(network: FakeNetwork, guard: Guard) -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let keyring = Arc::new(Keyring::ephemeral(Entropy::seeded(1)).unwrap());
        let clock = Clock::manual(UnixMillis(1_700_000_000_000));
        Self::on(network, folder, keyring, clock, RateLimits::default(), guard)
    }

    /// With these limits and this guard.
    pub(crate) fn ruled(network: FakeNetwork, limits: RateLimits, guard: Guard) -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let keyring = Arc::new(Keyring::ephemeral(Entropy::seeded(1)).unwrap());
        let clock = Clock::manual(UnixMillis(1_700_000_000_000));
        Self::on(network, folder, keyring, clock, limits, guard)
    }

    fn on(
        network: impl Into<Arc<FakeNetwork>>,
        folder: Arc<tempfile::TempDir>,
        keyring: Arc<Keyring>,
        clock: Clock,
        limits: RateLimits,
        guard: Guard,
    ) -> Self {
        let database = folder.path().join("service.db");
        let sqlite = Arc::new(sqlite::open(&database, Arc::clone(&keyring), Arc::new(())).unwrap());
        sqlite.join_time(&clock).unwrap();
        let store = Arc::clone(&sqlite) as Arc<dyn Store>;
        let network = network.into();
        let parts = ServiceParts {
            store,
            store_metrics: Arc::default(),
            keyring,
            members: members(&network, TestNumbers::default(), None, &clock),
            clock,
            entropy: Entropy::system(),
        };
        let service = daemon::Service::on(parts, &settings(&limits, &guard));
        Self {
            network,
            verifier: service.verifier.clone(),
            store: Arc::clone(&service.store),
            keyring: Arc::clone(&service.keyring),
            fleet: Arc::clone(&service.fleet),
            clock: service.clock.clone(),
            sqlite,
            running: service,
            folder,
            limits,
            guard,
        }
    }

    /// From now on these numbers are for tests, and no others.
    pub(crate) fn has_for_tests(&self, numbers: TestNumbers) {
        let before = self.fleet.members();
        let Entry { member, refusals } = before.entries()[0].clone();
        self.fleet.exchange(Members::one(
            Entry { member, refusals },
            ForTests::new(Arc::new(numbers), self.clock.clone()),
        ));
    }

    /// A backend that nothing is known against takes the place of one that is left alone.
    pub(crate) fn has_a_backend_anew(&self) {
        if self.backend().breaker != BreakerState::Closed {
            let before = self.fleet.usual();
            self.fleet.exchange(members(
                &self.network,
                TestNumbers::default(),
                Some(&before),
                &self.clock,
            ));
        }
    }

    /// From now on these are its backends, by name, with routes that are tried in this order; those that had a name before
    /// are followed by whoever has it now.
    pub(crate) fn has_fleet(&self, backends: &[(&str, &Arc<FakeNetwork>)], routes: Vec<Route>) {
        let before = self.fleet.members();
        let entry = |(name, network): &(&str, &Arc<FakeNetwork>)| {
            let before = before.named(name).map(|entry| &*entry.member);
            Entry {
                member: Arc::new(Member::new(name, network.parts(), BOUNDS, before, &self.clock)),
                refusals: [].into(),
            }
        };
        let entries = backends.iter().map(entry).collect();
        let for_tests = ForTests::new(Arc::new(TestNumbers::default()), self.clock.clone());
        self.fleet
            .exchange(Members::of(entries, routes, for_tests).unwrap());
    }

    /// The last message of a verification, once it is settled.
    pub(crate) async fn settled(&self, id: VerificationId) -> Message {
        while self.waiting() > 0 {
            self.store.ready().await.unwrap();
        }
        let (mut verification, _) = self.verifier.find(id).await.unwrap().unwrap();
        verification.messages.pop().unwrap()
    }

    /// How its backend fares.
    pub(crate) fn backend(&self) -> BackendStatus {
        self.fleet.status().remove(0)
    }

    /// Another process on the same database; this one goes on as if it knew nothing of it.
    pub(crate) fn second(&self, network: FakeNetwork) -> Self {
        Self::on(
            network,
            Arc::clone(&self.folder),
            Arc::clone(&self.keyring),
            self.clock.clone(),
            self.limits.clone(),
            self.guard.clone(),
        )
    }

    /// What others see when this process is killed.
    pub(crate) fn is_killed(&self) {
        self.sqlite.is_killed();
    }

    /// Another process on the same database and network, with a clock of its own.
    pub(crate) fn second_with(&self, network: &Arc<FakeNetwork>, clock: Clock) -> Self {
        Self::on(
            Arc::clone(network),
            Arc::clone(&self.folder),
            Arc::clone(&self.keyring),
            clock,
            self.limits.clone(),
            self.guard.clone(),
        )
    }

    /// Another process on the same database, with these keys.
    pub(crate) fn with_keys(&self, keys: &[MasterKey]) -> Self {
        Self::on(
            FakeNetwork::default(),
            Arc::clone(&self.folder),
            Arc::new(Keyring::of(keys, Entropy::system()).unwrap()),
            self.clock.clone(),
            self.limits.clone(),
            self.guard.clone(),
        )
    }

    /// Does something to the database behind the service's back.
    pub(crate) fn meddle(&self, sql: &str) {
        self.database().execute_batch(sql).unwrap();
    }

    /// How many messages are under way.
    pub(crate) fn waiting(&self) -> u32 {
        let count = "SELECT count(*) FROM message WHERE sealed IS NOT NULL";
        self.database().query_row(count, [], |row| row.get(0)).unwrap()
    }

    fn database(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.folder.path().join("service.db")).unwrap()
    }

    /// Forgets a number, as an operator does.
    pub(crate) async fn forget(&self, number: &PhoneNumber) -> Result<u64, StoreError> {
        let operator = self.verifier.administration("uid:0".to_owned());
        operator.forget(number).await
    }

    pub(crate) async fn drain_for(&self, limit: Duration) -> bool {
        self.running.drain(limit).await
    }

    pub(crate) async fn drain(&self) -> bool {
        self.running.drain(TOTAL_TIMEOUT).await
    }

    pub(crate) fn bulk(&self) -> Bulk {
        self.running.bulk()
    }

    pub(crate) async fn register(&self, number: &PhoneNumber) -> Result<Registered, RegisterError> {
        self.register_in(number, "").await
    }

    pub(crate) async fn register_in(
        &self,
        number: &PhoneNumber,
        languages: &str,
    ) -> Result<Registered, RegisterError> {
        let mut context = Map::new();
        context.insert("name".into(), json!("Ada"));
        let request = RegisterRequest {
            context,
            ..RegisterRequest::of(number.clone(), Locale(languages.into()))
        };
        self.verifier.register(request).await
    }

    pub(crate) async fn register_from(
        &self,
        client: &str,
        number: &PhoneNumber,
    ) -> Result<Registered, RegisterError> {
        let request = RegisterRequest {
            client: Some(client.parse::<IpAddr>().unwrap().into()),
            ..RegisterRequest::of(number.clone(), Locale::default())
        };
        self.verifier.register(request).await
    }

    pub(crate) async fn check(
        &self,
        number: &PhoneNumber,
        session_token: &SessionToken,
        code: &str,
    ) -> Result<Verdict, CheckError> {
        self.check_of(None, number, session_token, code).await
    }

    pub(crate) async fn check_from(
        &self,
        client: &str,
        number: &PhoneNumber,
        session_token: &SessionToken,
        code: &str,
    ) -> Result<Verdict, CheckError> {
        let client = client.parse::<IpAddr>().unwrap().into();
        self.check_of(Some(client), number, session_token, code).await
    }

    async fn check_of(
        &self,
        client: Option<ClientAddress>,
        number: &PhoneNumber,
        session_token: &SessionToken,
        code: &str,
    ) -> Result<Verdict, CheckError> {
        let request = CheckRequest {
            number: number.clone(),
            client,
            session_token: session_token.clone(),
            code: SecurityCode::new(code).unwrap(),
            bound: None,
        };
        self.verifier.check(request).await
    }
}

/// One backend on the network, after `before`.
fn members(
    network: &Arc<FakeNetwork>,
    for_tests: TestNumbers,
    before: Option<&Member>,
    clock: &Clock,
) -> Members {
    let entry = Entry {
        member: Arc::new(Member::new(DEFAULT, network.parts(), BOUNDS, before, clock)),
        refusals: [].into(),
    };
    Members::one(entry, ForTests::new(Arc::new(for_tests), clock.clone()))
}

/// What the service runs with; the rest is as it is by default.
fn settings(limits: &RateLimits, guard: &Guard) -> Settings {
    let english = Language::of_tag("en").unwrap();
    let mut messages = Messages::new("Your {app} code: {security_code}", english, "Acme").unwrap();
    messages
        .add_language("es", "Tu código de {app}: {security_code}")
        .unwrap();
    let mut settings = Settings::defaults();
    let phone_verification = &mut settings.phone_verification;
    phone_verification.code_format = CodeFormat::digits(6);
    phone_verification.expiration = LIFETIME;
    phone_verification.only_once = true;
    phone_verification.resend = ResendPolicy::Same;
    phone_verification.max_failed_attempts = MAX_FAILED_ATTEMPTS;
    phone_verification.messages = Arc::new(messages);
    phone_verification.record_retention = RETENTION;
    settings.limits = limits.clone();
    settings.guard = guard.clone();
    settings.store.audit_retention = AUDIT_RETENTION;
    settings.dispatch.total_timeout = TOTAL_TIMEOUT;
    settings.dispatch.bounds = BOUNDS;
    settings
}

/// A route for all messages through these members, by their places.
pub(crate) fn through(send: &[usize]) -> Route {
    Route {
        conditions: Conditions::default(),
        send: send.to_vec(),
        destination_failover: false,
    }
}

/// A number of New York, one for each `n`.
pub(crate) fn number(n: u32) -> PhoneNumber {
    PhoneNumber::parse(&format!("+1347{:07}", 2_000_000 + n), None).unwrap()
}

/// The code at the end of an SMS.
pub(crate) fn code_in(text: &str) -> String {
    text.rsplit(' ').next().unwrap().to_owned()
}
