//! What a backend may decide in place of the base behaviour. The daemon puts the loaded backend behind
//! these traits, so that the verifier knows none.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Map, Value};

use super::CheckRequest;
use crate::model::{Locale, SecurityCode, SendFailure, Verdict};

/// The overrides of the backend in use.
#[async_trait]
pub trait Overrides: Send + Sync {
    /// A security code; `None`: not overridden.
    async fn generate_security_code(&self, locale: &Locale) -> Option<Result<SecurityCode, SendFailure>>;

    /// The text of the SMS; `None`: not overridden, or the template is wanted.
    async fn generate_message(
        &self,
        code: &SecurityCode,
        locale: &Locale,
        context: &Map<String, Value>,
    ) -> Option<Result<String, SendFailure>>;

    /// Whether [`Overrides::validate_security_code`] is to be asked.
    fn validates(&self) -> bool;

    /// A verdict on an attempt that is counted already; `base` answers with the host's own.
    async fn validate_security_code(
        &self,
        check: &CheckRequest,
        base: Arc<dyn BaseValidate>,
    ) -> Result<Verdict, SendFailure>;
}

/// The host's own comparison, bound to one attempt.
#[async_trait]
pub trait BaseValidate: Send + Sync {
    /// Compares a code with the one that was sent.
    async fn validate(&self, code: &SecurityCode) -> Result<Verdict, SendFailure>;
}
