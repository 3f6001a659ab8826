//! A provider and a backend that a test plays: it keeps what was sent, answers as it is told to, and can be
//! made to hold its answers back.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use futures_util::{FutureExt, future::ready};
use serde_json::{Map, Value};
use tokio::sync::Semaphore;

use crate::{
    fleet::{BackendFacts, Parts, Sender, Settled, Sms},
    model::{FailureClass, Locale, Outcome, PhoneNumber, Receipt, SecurityCode, SendFailure, Verdict},
    verifier::{AuthorityCall, BaseValidate, CheckRequest, CodeAuthority},
};

/// How a backend that judges codes itself comes to its verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Judge {
    /// It does not: the host does.
    Host,
    /// `000000` is right for everybody, anything else is asked of the host.
    Sandbox,
    /// It fails.
    Broken,
}

/// What the backend overrides.
pub(crate) struct Behaviour {
    pub(crate) judge: Judge,
    pub(crate) wording: Option<&'static str>,
    pub(crate) fixed_code: Option<&'static str>,
    pub(crate) whole_batches: bool,
    /// Reports every this-many-th number of a batch, twice; the rest never.
    pub(crate) reports: usize,
    pub(crate) name: &'static str,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            judge: Judge::Host,
            wording: None,
            fixed_code: None,
            whole_batches: false,
            reports: 1,
            name: "fake.FakeBackend",
        }
    }
}

pub(crate) struct FakeNetwork {
    behaviour: Behaviour,
    inbox: Mutex<Vec<(PhoneNumber, String)>>,
    /// For the next messages; then all are sent.
    outcomes: Mutex<VecDeque<Outcome>>,
    /// One permit lets one message through.
    gate: Semaphore,
    open: AtomicBool,
}

impl Default for FakeNetwork {
    fn default() -> Self {
        Self::new(Behaviour::default())
    }
}

pub(crate) fn failure(class: FailureClass) -> SendFailure {
    SendFailure::new(class, "fake", "the test wants it so")
}

impl FakeNetwork {
    pub(crate) fn new(behaviour: Behaviour) -> Self {
        Self {
            behaviour,
            inbox: Mutex::default(),
            outcomes: Mutex::default(),
            gate: Semaphore::new(0),
            open: AtomicBool::new(true),
        }
    }

    /// What a member of a fleet is made of.
    pub(crate) fn parts(self: &Arc<Self>) -> Parts {
        let facts = BackendFacts {
            owns_codes: self.behaviour.judge != Judge::Host || self.behaviour.fixed_code.is_some(),
            ..BackendFacts::part_of_program(self.behaviour.name)
        };
        Parts::of(facts, self)
    }

    pub(crate) fn next(&self, outcomes: impl IntoIterator<Item = Outcome>) {
        self.outcomes.lock().unwrap().extend(outcomes);
    }

    /// From now on a message is only answered when it is let through.
    pub(crate) fn hold(&self) {
        self.gate.forget_permits(usize::MAX);
        self.open.store(false, Ordering::SeqCst);
    }

    pub(crate) fn let_through(&self, messages: usize) {
        self.gate.add_permits(messages);
    }

    /// Messages are answered at once again, also those that are held.
    pub(crate) fn let_all_through(&self) {
        self.open.store(true, Ordering::SeqCst);
        self.gate.add_permits(1000);
    }

    pub(crate) fn inbox(&self) -> Vec<(PhoneNumber, String)> {
        self.inbox.lock().unwrap().clone()
    }

    /// Waits until this many have arrived.
    pub(crate) async fn arrived(&self, count: usize) -> Vec<(PhoneNumber, String)> {
        loop {
            let inbox = self.inbox();
            if inbox.len() >= count {
                return inbox;
            }
            tokio::task::yield_now().await;
        }
    }

    async fn take(&self, number: &PhoneNumber, text: &str) -> Outcome {
        self.inbox.lock().unwrap().push((number.clone(), text.to_owned()));
        let outcome = self.outcomes.lock().unwrap().pop_front();
        if !self.open.load(Ordering::SeqCst) {
            self.gate.acquire().await.unwrap().forget();
        }
        outcome.unwrap_or_else(|| Ok(Receipt::default()))
    }
}

#[async_trait]
impl Sender for FakeNetwork {
    async fn send(&self, sms: Sms<'_>, _time_limit: Duration) -> Outcome {
        self.take(sms.number, sms.text).await
    }

    fn sends_bulk(&self) -> bool {
        self.behaviour.whole_batches
    }

    async fn send_bulk(&self, numbers: &[PhoneNumber], text: &str, _time_limit: Duration, settled: Settled) {
        for (place, number) in numbers.iter().enumerate() {
            let outcome = self.take(number, text).await;
            if place % self.behaviour.reports == 0 {
                settled(place, outcome);
                settled(place, Err(failure(FailureClass::Internal)));
            }
        }
        settled(numbers.len(), Ok(Receipt::default()));
    }
}

impl CodeAuthority for FakeNetwork {
    fn generate<'a>(
        self: Arc<Self>,
        _number: &'a PhoneNumber,
        _locale: &'a Locale,
    ) -> Option<AuthorityCall<'a, SecurityCode>> {
        let code = SecurityCode::new(self.behaviour.fixed_code?);
        Some(ready(code.ok_or_else(|| failure(FailureClass::Internal))).boxed())
    }

    fn compose<'a>(
        self: Arc<Self>,
        _number: &'a PhoneNumber,
        code: &'a SecurityCode,
        _locale: &'a Locale,
        context: &'a Map<String, Value>,
    ) -> Option<AuthorityCall<'a, Option<String>>> {
        let name = context.get("name").and_then(Value::as_str).unwrap_or_default();
        let text = format!("{}{name} {}", self.behaviour.wording?, code.expose());
        Some(ready(Ok(Some(text))).boxed())
    }

    fn validates(&self) -> bool {
        self.behaviour.judge != Judge::Host
    }

    fn validate(
        self: Arc<Self>,
        check: &CheckRequest,
        base: Arc<dyn BaseValidate>,
    ) -> AuthorityCall<'_, Verdict> {
        let judge = self.behaviour.judge;
        let verdict = async move {
            match judge {
                Judge::Sandbox if check.code.expose() == "000000" => Ok(Verdict::Valid),
                Judge::Broken => Err(failure(FailureClass::Internal)),
                Judge::Host | Judge::Sandbox => base.validate(&check.code).await,
            }
        };
        verdict.boxed()
    }
}
