//! The domain service.
use crate::{
    clock::{Clock, UnixMillis},
    entropy::Entropy,
    model::*,
    store::Store,
};
use std::{sync::Arc, time::Duration};

/// What a backend may decide in place of the base, behind a trait so that the verifier knows no backend.
#[async_trait::async_trait]
pub trait Overrides: Send + Sync {
    /// `None`: not overridden.
    async fn generate_security_code(&self, locale: &Locale) -> Option<Result<SecurityCode, SendFailure>>;
    /// `None`: not overridden, or the template is wanted.
    async fn generate_message(
        &self,
        code: &SecurityCode,
        locale: &Locale,
        context: &serde_json::Map<String, serde_json::Value>,
    ) -> Option<Result<String, SendFailure>>;
    /// Whether `validate_security_code` is overridden.
    fn validates(&self) -> bool;
    /// Asked only when `validates`; `base` answers with the host's own comparison.
    async fn validate_security_code(
        &self,
        check: &CheckRequest,
        base: Arc<dyn BaseValidate>,
    ) -> Result<Verdict, SendFailure>;
}
/// The host's own comparison for one attempt that is already counted.
#[async_trait::async_trait]
pub trait BaseValidate: Send + Sync {
    /// Compares.
    async fn validate(&self, code: &SecurityCode) -> Result<Verdict, SendFailure>;
}

/// The rules, from `[phone_verification]`.
pub struct Policy {
    /// 4..=10 digits
    pub token_length: usize,
    /// …
    pub expiration: Duration,
    /// …
    pub only_once: bool,
    /// …
    pub max_failed_attempts: u32,
    /// …
    pub messages: Messages,
}
/// One registration.
pub struct RegisterRequest {
    /** … */
    pub number: PhoneNumber,
    /** … */
    pub locale: Locale,
    /** … */
    pub context: serde_json::Map<String, serde_json::Value>,
}
/// Sent.
pub struct Registered {
    /** … */
    pub id: VerificationId,
    /** … */
    pub session_token: SessionToken,
    /** … */
    pub expires_at: UnixMillis,
}
/// One check.
pub struct CheckRequest {
    /** … */
    pub number: PhoneNumber,
    /** … */
    pub session_token: SessionToken,
    /** … */
    pub code: SecurityCode,
}

/// Why a registration was not carried out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// The attempts for the number's pending code are used up (429).
    #[error("too many failed attempts; wait {0:?}")]
    AttemptsUsedUp(Duration),
    /// Too many sessions share the number's pending code (429).
    #[error("too many registrations of one number; wait {0:?}")]
    TooManySessions(Duration),
    /// The queue to the backend is full (503).
    #[error("the outbox is full")]
    Busy,
    /// The backend refused or could not send (400 for a number it refuses, 502/503 otherwise).
    #[error("the SMS was not sent: {0}")]
    NotSent(SendFailure),
    /// The store failed (503).
    #[error("the store failed: {0}")]
    Store(#[from] crate::store::StoreError),
    /// no randomness (503)
    #[error(transparent)]
    NoEntropy(#[from] crate::entropy::NoEntropy),
}
/// Why a check could not be made (a wrong code is a [`Verdict`], not an error).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckError {
    /// 503
    #[error("the store failed: {0}")]
    Store(#[from] crate::store::StoreError),
    /// The backend's override failed (502).
    #[error("the backend could not judge the code: {0}")]
    Backend(SendFailure),
}

/// The service.
pub struct Verifier {}
impl Verifier {
    /// `outbox`: where orders to send go (the dispatcher has the other end).
    pub fn new(
        _policy: Policy,
        _store: Arc<dyn Store>,
        _keyring: Arc<crate::store::Keyring>,
        _overrides: Arc<dyn Overrides>,
        _outbox: tokio::sync::mpsc::Sender<crate::store::Order>,
        _clock: Clock,
        _entropy: Entropy,
    ) -> Self {
        todo!()
    }
    /// Sends a code, waits for the outcome.
    pub async fn register(&self, _request: RegisterRequest) -> Result<Registered, RegisterError> {
        todo!()
    }
    /// Judges a code.
    pub async fn check(&self, _request: CheckRequest) -> Result<Verdict, CheckError> {
        todo!()
    }
    /// Deletes what is older than `older_than`; with `dry_run` only counts.
    pub async fn cleanup(
        &self,
        _older_than: Duration,
        _dry_run: bool,
    ) -> Result<u64, crate::store::StoreError> {
        todo!()
    }
}
