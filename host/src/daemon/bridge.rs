//! The loaded backend as the verifier and the dispatcher see it.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use serde_json::{Map, Value};

use crate::{
    backends::{Backend, BaseCalls, Call},
    dispatch::{Sender, Settled},
    entropy::Entropy,
    model::{
        FailureClass, Locale, Messages, Outcome, PhoneNumber, SecurityCode, SendFailure, Verdict,
        VerificationId,
    },
    store::OutboxMessage,
    verifier::{BaseValidate, CheckRequest, Overrides},
};

/// The backend in use, with what its overrides can fall back on.
pub(super) struct Bridge {
    backend: Arc<Backend>,
    base: Arc<Base>,
    time_limit: Duration,
}

/// The base behaviour.
struct Base {
    token_length: usize,
    messages: Arc<Messages>,
    entropy: Entropy,
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
        SecurityCode::generate(self.base.token_length, &self.base.entropy)
            .map_err(|error| SendFailure::new(FailureClass::Internal, "no_entropy", error.to_string()))
    }

    fn message(&self, code: &SecurityCode) -> String {
        self.base.messages.render(&self.locale, code)
    }

    async fn validate(&self, code: &SecurityCode) -> Option<Result<Verdict, SendFailure>> {
        Some(self.validate.as_ref()?.validate(code).await)
    }
}

impl Bridge {
    pub(super) fn new(
        backend: Arc<Backend>,
        token_length: usize,
        messages: Arc<Messages>,
        time_limit: Duration,
        entropy: Entropy,
    ) -> Self {
        Self {
            backend,
            base: Arc::new(Base {
                token_length,
                messages,
                entropy,
            }),
            time_limit,
        }
    }

    fn call(
        &self,
        id: String,
        locale: &Locale,
        time_limit: Duration,
        validate: Option<Arc<dyn BaseValidate>>,
    ) -> Call {
        Call {
            time_limit,
            request_id: id.clone(),
            idempotency_key: id,
            locale: locale.first_tag(),
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

#[async_trait]
impl Sender for Bridge {
    async fn send(&self, message: &OutboxMessage, time_limit: Duration) -> Outcome {
        let VerificationId(id) = message.id;
        let call = self.call(
            data_encoding::HEXLOWER.encode(&id),
            &message.locale,
            time_limit,
            None,
        );
        self.backend.send_sms(&message.number, &message.text, call).await
    }

    fn sends_bulk(&self) -> bool {
        self.backend.overrides_send_bulk_sms()
    }

    async fn send_bulk(&self, numbers: &[PhoneNumber], text: &str, time_limit: Duration, settled: Settled) {
        let call = self.call(String::new(), &Locale::default(), time_limit, None);
        self.backend.send_bulk_sms(numbers, text, call, settled).await;
    }

    async fn send_one(&self, number: &PhoneNumber, text: &str, key: &str, time_limit: Duration) -> Outcome {
        let call = self.call(key.to_owned(), &Locale::default(), time_limit, None);
        self.backend.send_sms(number, text, call).await
    }
}

#[async_trait]
impl Overrides for Bridge {
    async fn generate_security_code(&self, locale: &Locale) -> Option<Result<SecurityCode, SendFailure>> {
        if !self.backend.overrides_generate_security_code() {
            return None;
        }
        Some(self.backend.generate_security_code(self.unnamed(locale)).await)
    }

    async fn generate_message(
        &self,
        code: &SecurityCode,
        locale: &Locale,
        context: &Map<String, Value>,
    ) -> Option<Result<String, SendFailure>> {
        if !self.backend.overrides_generate_message() {
            return None;
        }
        self.backend
            .generate_message(code, context, self.unnamed(locale))
            .await
            .transpose()
    }

    fn validates(&self) -> bool {
        self.backend.overrides_validate_security_code()
    }

    async fn validate_security_code(
        &self,
        check: &CheckRequest,
        base: Arc<dyn BaseValidate>,
    ) -> Result<Verdict, SendFailure> {
        let call = self.call(String::new(), &Locale::default(), self.time_limit, Some(base));
        self.backend
            .validate_security_code(&check.code, &check.number, &check.session_token, call)
            .await
    }
}
