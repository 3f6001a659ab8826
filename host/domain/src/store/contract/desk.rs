//! Where the cases stand: an open store, a clock that they move, and people who register and type codes.

use std::{sync::Arc, time::Duration};

use crate::{
    clock::{Clock, UnixMillis},
    entropy::Entropy,
    model::{
        CodeFormat, FailureClass, Locale, MessageId, Outcome, PhoneNumber, Purpose, Receipt, SecurityCode,
        SendFailure, Try, Verdict, VerificationId,
    },
    rules::attempt::Terms,
    store::{
        Begun, CheckRules, Counter, Dispatched, Keyring, NewCode, NewVerification, OutboxMessage,
        PendingCode, Store,
    },
};

pub(super) const LIFETIME: Duration = Duration::from_secs(600);
pub(super) const MAX_FAILED_ATTEMPTS: u32 = 5;
pub(super) const MAX_SESSIONS: u32 = 3;
pub(super) const MILLISECOND: Duration = Duration::from_millis(1);

/// An engine under test, with data of its own.
pub trait Engine: Send + Sync {
    /// A process that uses the data, beside all that do already.
    fn open(&self, keyring: Arc<Keyring>) -> Arc<dyn Store>;

    /// The data as others find them once all processes that use them are killed at this moment.
    fn after_a_crash(&self) -> Arc<dyn Engine>;

    /// All that is stored, as whoever steals it has it: each part with a name for it.
    fn stored(&self) -> Vec<(String, Vec<u8>)>;
}

/// Where a case stands: an open store, a clock that it moves, and people who register and type codes.
pub struct Desk {
    pub(super) store: Arc<dyn Store>,
    pub(super) keyring: Arc<Keyring>,
    pub(super) clock: Clock,
    /// What every registration is counted in.
    pub(super) counters: Arc<[Counter]>,
    pub(super) engine: Arc<dyn Engine>,
    entropy: Entropy,
}

/// Somebody who registered.
#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) id: VerificationId,
    pub(super) code: SecurityCode,
    pub(super) message: OutboxMessage,
    pub(super) expires_at: UnixMillis,
}

impl Desk {
    /// On an engine that nobody used yet.
    pub fn open(engine: Arc<dyn Engine>) -> Self {
        let entropy = Entropy::seeded(1);
        let keyring = Arc::new(Keyring::ephemeral(entropy.clone()).unwrap());
        Self {
            store: engine.open(Arc::clone(&keyring)),
            clock: Clock::manual(UnixMillis(1_700_000_000_000)),
            keyring,
            counters: Arc::default(),
            engine,
            entropy,
        }
    }

    /// The store as another process would find it after this one was killed.
    pub(super) fn after_a_crash(&self) -> Self {
        self.on(self.engine.after_a_crash(), self.entropy.clone())
    }

    /// Another process on the same data.
    pub(super) fn second(&self) -> Self {
        self.on(Arc::clone(&self.engine), Entropy::seeded(2))
    }

    fn on(&self, engine: Arc<dyn Engine>, entropy: Entropy) -> Self {
        Self {
            store: engine.open(Arc::clone(&self.keyring)),
            keyring: Arc::clone(&self.keyring),
            clock: self.clock.clone(),
            counters: Arc::clone(&self.counters),
            engine,
            entropy,
        }
    }

    pub(super) fn new_id(&self) -> VerificationId {
        VerificationId::generate(&self.clock, &self.entropy).unwrap()
    }

    pub(super) fn new_message_id(&self) -> MessageId {
        MessageId::generate(&self.clock, &self.entropy).unwrap()
    }

    pub(super) fn new_verification(&self, number: &PhoneNumber, code: NewCode) -> NewVerification {
        let id = self.new_id();
        let message = OutboxMessage {
            id: MessageId::of_first(id),
            verification: id,
            number: number.clone(),
            locale: Locale("en".into()),
            text: format!("Your code is {}", code.sent().expose()).into(),
            carries_code: true,
            counters: Arc::clone(&self.counters),
            replaced: None,
            counted_at: self.clock.now(),
            guard: None,
            owner: None,
            after: None,
        };
        NewVerification {
            id,
            number: number.clone(),
            code,
            message,
            now: self.clock.now(),
            max_failed_attempts: MAX_FAILED_ATTEMPTS,
            max_sessions: MAX_SESSIONS,
            remembered_for: LIFETIME * 2,
            client_ref: None,
            purpose: Purpose::default(),
            request: None,
        }
    }

    pub(super) async fn begin(&self, number: &PhoneNumber, code: NewCode) -> (Begun, OutboxMessage) {
        let new = self.new_verification(number, code);
        let message = new.message.clone();
        (self.store.begin_verification(new).await.unwrap(), message)
    }

    pub(super) fn fresh(&self) -> (SecurityCode, NewCode) {
        let code = SecurityCode::generate(CodeFormat::digits(6), &self.entropy).unwrap();
        (
            code.clone(),
            NewCode::Fresh {
                code,
                lifetime: LIFETIME,
            },
        )
    }

    /// Registers as the verifier does: with a fresh code, or else with the pending one.
    pub(super) async fn try_register(&self, number: &PhoneNumber) -> Result<Session, Begun> {
        let (code, fresh) = self.fresh();
        let (code, (begun, message)) = match self.begin(number, fresh).await {
            (Begun::CodeIsPending(pending), _) => (
                pending.code.clone(),
                self.begin(number, NewCode::Shared(pending)).await,
            ),
            begun => (code, begun),
        };
        match begun {
            Begun::Yes { expires_at } => Ok(Session {
                id: message.verification,
                code,
                message,
                expires_at,
            }),
            refused => Err(refused),
        }
    }

    pub(super) async fn register(&self, number: &PhoneNumber) -> Session {
        self.try_register(number).await.unwrap()
    }

    /// The code that is pending for a number, as a registration finds it.
    pub(super) async fn pending(&self, number: &PhoneNumber) -> Option<PendingCode> {
        let (_, fresh) = self.fresh();
        // Nothing is stored if one is pending; else the fresh one now is, which ends the case.
        match self.begin(number, fresh).await.0 {
            Begun::CodeIsPending(pending) => Some(pending),
            _ => None,
        }
    }

    pub(super) fn rules(&self) -> CheckRules {
        CheckRules {
            terms: Terms {
                now: self.clock.now(),
                only_once: true,
                max_failed_attempts: MAX_FAILED_ATTEMPTS,
                bound: None,
            },
            failed_checks: None,
            guard: None,
        }
    }

    pub(super) async fn check(&self, session: &Session, code: &SecurityCode) -> Verdict {
        self.store
            .check_code(session.id, code.clone(), self.rules(), None)
            .await
            .unwrap()
    }

    pub(super) async fn check_wrong(&self, session: &Session) -> Verdict {
        self.check(session, &wrong(&session.code)).await
    }

    pub(super) async fn settle(&self, session: &Session, outcome: Outcome) {
        self.store
            .settle_message(&session.message, &tried(outcome), self.clock.now())
            .await
            .unwrap();
    }

    /// What this process takes over from dead ones.
    pub(super) async fn taken_over(&self) -> Vec<OutboxMessage> {
        self.store
            .take_over_messages(self.clock.now(), 100)
            .await
            .unwrap()
    }
}

/// What a backend said.
pub(super) fn tried(outcome: Outcome) -> Dispatched {
    let backend = "test.TestBackend";
    Dispatched {
        tries: vec![Try::of(backend, &outcome, MILLISECOND)],
        backend: backend.into(),
        outcome,
    }
}

/// Another code than this one.
pub(super) fn wrong(code: &SecurityCode) -> SecurityCode {
    let text = if code.expose() == "000000" {
        "000001"
    } else {
        "000000"
    };
    SecurityCode::new(text).unwrap()
}

/// A number of New York, one for each `n`.
pub(super) fn number(n: u32) -> PhoneNumber {
    PhoneNumber::parse(&format!("+1347{:07}", 2_000_000 + n), None).unwrap()
}

#[expect(clippy::unnecessary_wraps, reason = "this is what an outcome looks like")]
pub(super) fn sent() -> Outcome {
    Ok(Receipt {
        message_id: Some("SM1".into()),
        ..Receipt::default()
    })
}

pub(super) fn failed(class: FailureClass) -> Outcome {
    Err(SendFailure::new(class, "test", "for a test"))
}
