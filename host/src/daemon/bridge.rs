//! The loaded backend as the verifier and the dispatcher see it, and how another takes its place.
//!
//! Invariant: a call ends in the backend that it began in; no call begins in one whose successor is there.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use phone_verify_plugin_host::{Backend, BaseCalls, Call};
use serde_json::{Map, Value};
use tokio_util::task::{TaskTracker, task_tracker::TaskTrackerToken};

use crate::{
    clock::UnixMillis,
    dispatch::{Sender, Settled},
    entropy::Entropy,
    http::DemoPhone,
    model::{
        CodeFormat, FailureClass, Locale, Messages, Outcome, PhoneNumber, SecurityCode, SendFailure,
        TestNumbers, Verdict,
    },
    store::{OutboxMessage, Tried},
    trace::Trace,
    verifier::{BaseValidate, CheckRequest, Overrides},
};

/// How long a backend whose successor is there may take over the calls that it has, before that is logged.
const DRAIN_LIMIT: Duration = Duration::from_secs(30);

/// The backend in use, whichever it is.
pub(super) struct Bridge {
    current: ArcSwap<InUse>,
    time_limit: Duration,
    /// Shown each SMS that the backend took, in a demo.
    demo: Option<Arc<DemoPhone>>,
}

/// A backend, with what its overrides can fall back on.
pub(super) struct InUse {
    backend: Backend,
    name: Arc<str>,
    base: Arc<Base>,
    /// The calls in it.
    calls: TaskTracker,
}

/// The base behaviour.
pub(super) struct Base {
    pub(super) code_format: CodeFormat,
    pub(super) messages: Arc<Messages>,
    pub(super) test_numbers: Arc<TestNumbers>,
    pub(super) entropy: Entropy,
}

/// The base behaviour for one call.
struct BoundBase {
    base: Arc<Base>,
    locale: Locale,
    validate: Option<Arc<dyn BaseValidate>>,
}

#[async_trait]
impl BaseCalls for BoundBase {
    fn security_code(&self) -> Result<SecurityCode, SendFailure> {
        SecurityCode::generate(self.base.code_format, &self.base.entropy)
            .map_err(|error| SendFailure::new(FailureClass::Internal, "no_entropy", error.to_string()))
    }

    fn message(&self, code: &SecurityCode) -> String {
        self.base.messages.render(&self.locale, code)
    }

    async fn validate(&self, code: &SecurityCode) -> Option<Result<Verdict, SendFailure>> {
        Some(self.validate.as_ref()?.validate(code).await)
    }
}

impl InUse {
    pub(super) fn new(backend: Backend, base: Base) -> Self {
        Self {
            name: Arc::from(backend.name()),
            backend,
            base: Arc::new(base),
            calls: TaskTracker::new(),
        }
    }

    /// Waits for the calls in it, and drops it. What is not ended by the limit ends by its own deadline.
    pub(super) async fn drain(self: Arc<Self>) {
        self.calls.close();
        let drained = tokio::time::timeout(DRAIN_LIMIT, self.calls.wait()).await;
        let (name, version) = (self.backend.name(), self.backend.library_version());
        if drained.is_ok() {
            tracing::debug!(backend = name, version, "the backend before is drained");
        } else {
            let calls = self.calls.len();
            tracing::warn!(
                backend = name,
                version,
                calls,
                "the backend before still has calls"
            );
            self.calls.wait().await;
        }
        // Its destructor is foreign code.
        let dropped = tokio::task::spawn_blocking(move || drop(self)).await;
        if dropped.is_err() {
            tracing::warn!("the destructor of the backend before panicked");
        }
    }
}

/// The backend in use, for one call.
struct InCall {
    in_use: Arc<InUse>,
    time_limit: Duration,
    _counted: TaskTrackerToken,
}

impl Bridge {
    pub(super) fn new(in_use: InUse, time_limit: Duration, demo: Option<Arc<DemoPhone>>) -> Self {
        Self {
            current: ArcSwap::from_pointee(in_use),
            time_limit,
            demo,
        }
    }

    /// Calls from now on begin in `next`. Returns what they began in until now.
    pub(super) fn exchange(&self, next: InUse) -> Arc<InUse> {
        self.current.swap(Arc::new(next))
    }

    fn current(&self) -> InCall {
        let in_use = self.current.load_full();
        InCall {
            _counted: in_use.calls.token(),
            in_use,
            time_limit: self.time_limit,
        }
    }
}

impl InCall {
    fn backend(&self) -> &Backend {
        &self.in_use.backend
    }

    fn call(
        &self,
        id: String,
        locale: &Locale,
        time_limit: Duration,
        validate: Option<Arc<dyn BaseValidate>>,
    ) -> Call {
        let trace = Trace::current();
        Call {
            time_limit,
            request_id: trace.map_or_else(|| id.clone(), |trace| trace.request_id().to_owned()),
            idempotency_key: id,
            locale: locale.first_tag(),
            base: Arc::new(BoundBase {
                base: Arc::clone(&self.in_use.base),
                locale: locale.clone(),
                validate,
            }),
        }
    }

    /// A call that is about no message yet.
    fn unnamed(&self, locale: &Locale) -> Call {
        self.call(String::new(), locale, self.time_limit, None)
    }
}

#[async_trait]
impl Sender for Bridge {
    fn name(&self) -> Arc<str> {
        Arc::clone(&self.current.load().name)
    }

    async fn send(&self, message: &OutboxMessage, time_limit: Duration) -> Tried {
        let current = self.current();
        let call = current.call(message.id.to_string(), &message.locale, time_limit, None);
        let outcome = current
            .backend()
            .send_sms(&message.number, &message.text, call)
            .await;
        if let Some(demo) = self.demo.as_ref().filter(|_| outcome.is_ok()) {
            demo.receive(&message.number, &message.text);
        }
        Tried {
            outcome,
            backend: Arc::clone(&current.in_use.name),
        }
    }

    fn is_test(&self, number: &PhoneNumber, now: UnixMillis) -> bool {
        let in_use = self.current.load();
        in_use.base.test_numbers.code_of(number, now).is_some()
    }

    fn trouble(&self) -> Option<String> {
        self.current.load().backend.trouble()
    }

    fn sends_bulk(&self) -> bool {
        self.current.load().backend.overrides_send_bulk_sms()
    }

    async fn send_bulk(&self, numbers: &[PhoneNumber], text: &str, time_limit: Duration, settled: Settled) {
        let current = self.current();
        let call = current.call(String::new(), &Locale::default(), time_limit, None);
        current
            .backend()
            .send_bulk_sms(numbers, text, call, settled)
            .await;
    }

    async fn send_one(&self, number: &PhoneNumber, text: &str, key: &str, time_limit: Duration) -> Outcome {
        let current = self.current();
        let call = current.call(key.to_owned(), &Locale::default(), time_limit, None);
        current.backend().send_sms(number, text, call).await
    }
}

#[async_trait]
impl Overrides for Bridge {
    async fn generate_security_code(&self, locale: &Locale) -> Option<Result<SecurityCode, SendFailure>> {
        let current = self.current();
        if !current.backend().overrides_generate_security_code() {
            return None;
        }
        let call = current.unnamed(locale);
        Some(current.backend().generate_security_code(call).await)
    }

    async fn generate_message(
        &self,
        code: &SecurityCode,
        locale: &Locale,
        context: &Map<String, Value>,
    ) -> Option<Result<String, SendFailure>> {
        let current = self.current();
        if !current.backend().overrides_generate_message() {
            return None;
        }
        current
            .backend()
            .generate_message(code, context, current.unnamed(locale))
            .await
            .transpose()
    }

    fn validates(&self) -> bool {
        self.current.load().backend.overrides_validate_security_code()
    }

    async fn validate_security_code(
        &self,
        check: &CheckRequest,
        base: Arc<dyn BaseValidate>,
    ) -> Result<Verdict, SendFailure> {
        let current = self.current();
        let call = current.call(String::new(), &Locale::default(), current.time_limit, Some(base));
        current
            .backend()
            .validate_security_code(&check.code, &check.number, &check.session_token, call)
            .await
    }
}
