//! A loaded library as a member of the fleet: what the dispatcher and the verifier ask goes into it as calls.
//!
//! Invariants: every call holds a token of the member's calls from before it begins until it has ended; the destructor of
//! the backend runs on a thread where it may block, whoever lets go of the library last.

use std::{ops::Deref, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures_util::FutureExt;
use phone_verify_plugin_host::{Backend, BaseCalls, Call, CallFacts};
use serde_json::{Map, Value};
use tokio_util::task::TaskTracker;

use super::{BackendFacts, Content, Parts, Sender, Settled, Sms};
use crate::{
    entropy::Entropy,
    model::{
        CodeFormat, FailureClass, IncomingRequest, Locale, Messages, Outcome, PhoneNumber, ReceiptAnswer,
        Region, SecurityCode, SendFailure, TakesReceipts, Verdict,
    },
    trace::Trace,
    verifier::{AuthorityCall, BaseValidate, CheckRequest, CodeAuthority},
};

/// A constructed backend, with what its overrides can fall back on.
pub struct Library {
    backend: DroppedApart,
    base: Arc<Base>,
    /// How long a call that sends nothing may take.
    time_limit: Duration,
    calls: TaskTracker,
}

/// A backend whose destructor, which is foreign code, keeps no thread of the runtime: a call may be the last that holds the
/// library when it ends.
struct DroppedApart(Option<Backend>);

impl Deref for DroppedApart {
    type Target = Backend;

    fn deref(&self) -> &Backend {
        self.0.as_ref().expect("only the destructor takes it")
    }
}

impl Drop for DroppedApart {
    fn drop(&mut self) {
        let backend = self.0.take();
        // Without a runtime there is nobody whom it could keep.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        let dropped = runtime.spawn_blocking(move || drop(backend));
        runtime.spawn(async move {
            if dropped.await.is_err_and(|error| error.is_panic()) {
                tracing::warn!("the destructor of the backend before panicked");
            }
        });
    }
}

/// The base behaviour.
pub struct Base {
    /// What codes look like.
    pub code_format: CodeFormat,
    /// The texts.
    pub messages: Arc<Messages>,
    /// Makes the codes.
    pub entropy: Entropy,
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

impl Library {
    /// What a member is made of. `time_limit`: of a call that sends nothing.
    pub fn parts(backend: Backend, base: Base, time_limit: Duration) -> Parts {
        let calls = TaskTracker::new();
        let facts = BackendFacts::of(&backend);
        let library = Arc::new(Self {
            backend: DroppedApart(Some(backend)),
            base: Arc::new(base),
            time_limit,
            calls: calls.clone(),
        });
        Parts {
            calls,
            ..Parts::of(facts, &library)
        }
    }

    fn call(
        &self,
        key: String,
        locale: &Locale,
        time_limit: Duration,
        validate: Option<Arc<dyn BaseValidate>>,
    ) -> Call {
        let trace = Trace::current();
        Call {
            time_limit,
            request_id: trace.map_or_else(|| key.clone(), |trace| trace.request_id().to_owned()),
            idempotency_key: key,
            locale: locale.first_tag(),
            facts: CallFacts::default(),
            base: Arc::new(BoundBase {
                base: Arc::clone(&self.base),
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

/// What a library is told of an SMS beside number and text.
fn facts(region: String, content: Content) -> CallFacts {
    let purpose = match content {
        Content::Code => CallFacts::VERIFICATION,
        Content::Text => CallFacts::MESSAGE,
    };
    CallFacts {
        region,
        channel: "sms".into(),
        purpose: purpose.into(),
        ..CallFacts::default()
    }
}

#[async_trait]
impl Sender for Library {
    async fn send(&self, sms: Sms<'_>, time_limit: Duration) -> Outcome {
        let _counted = self.calls.token();
        let region = sms.number.country().map(Region::code);
        let call = Call {
            facts: facts(region.unwrap_or_default(), sms.content),
            ..self.call(sms.key, sms.locale, time_limit, None)
        };
        self.backend.send_sms(sms.number, sms.text, call).await
    }

    fn sends_bulk(&self) -> bool {
        self.backend.overrides_send_bulk_sms()
    }

    async fn send_bulk(&self, numbers: &[PhoneNumber], text: &str, time_limit: Duration, settled: Settled) {
        let _counted = self.calls.token();
        let call = Call {
            // Its numbers are of several countries.
            facts: facts(String::new(), Content::Text),
            ..self.call(String::new(), &Locale::default(), time_limit, None)
        };
        self.backend.send_bulk_sms(numbers, text, call, settled).await;
    }

    fn takes_receipts(&self) -> Option<TakesReceipts> {
        self.backend.takes_receipts()
    }

    async fn receive(
        &self,
        request: IncomingRequest,
        time_limit: Duration,
    ) -> Result<ReceiptAnswer, SendFailure> {
        let _counted = self.calls.token();
        let call = self.call(String::new(), &Locale::default(), time_limit, None);
        self.backend.receive(request, call).await
    }

    fn trouble(&self) -> Option<String> {
        self.backend.trouble()
    }
}

impl CodeAuthority for Library {
    fn generate<'a>(
        self: Arc<Self>,
        _number: &'a PhoneNumber,
        locale: &'a Locale,
    ) -> Option<AuthorityCall<'a, SecurityCode>> {
        if !self.backend.overrides_generate_security_code() {
            return None;
        }
        let counted = self.calls.token();
        let asked = async move {
            let _counted = counted;
            self.backend.generate_security_code(self.unnamed(locale)).await
        };
        Some(asked.boxed())
    }

    fn compose<'a>(
        self: Arc<Self>,
        _number: &'a PhoneNumber,
        code: &'a SecurityCode,
        locale: &'a Locale,
        context: &'a Map<String, Value>,
    ) -> Option<AuthorityCall<'a, Option<String>>> {
        if !self.backend.overrides_generate_message() {
            return None;
        }
        let counted = self.calls.token();
        let asked = async move {
            let _counted = counted;
            let call = self.unnamed(locale);
            self.backend.generate_message(code, context, call).await
        };
        Some(asked.boxed())
    }

    fn validates(&self) -> bool {
        self.backend.overrides_validate_security_code()
    }

    fn validate(
        self: Arc<Self>,
        check: &CheckRequest,
        base: Arc<dyn BaseValidate>,
    ) -> AuthorityCall<'_, Verdict> {
        let counted = self.calls.token();
        let asked = async move {
            let _counted = counted;
            let call = self.call(String::new(), &Locale::default(), self.time_limit, Some(base));
            self.backend
                .validate_security_code(&check.code, &check.number, &check.session_token, call)
                .await
        };
        asked.boxed()
    }
}
