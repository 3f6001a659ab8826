//! Loads backends.
use crate::model::{PhoneNumber, Receipt, SecurityCode, SendFailure, SessionToken, Verdict};
use std::{path::PathBuf, sync::Arc, time::Duration};

/// What a backend's override can call instead of its own code, bound to one verification.
#[async_trait::async_trait]
pub trait BaseCalls: Send + Sync {
    /// `TOKEN_LENGTH` digits.
    fn security_code(&self) -> Result<SecurityCode, SendFailure>;
    /// The `MESSAGE` template.
    fn message(&self, code: &SecurityCode) -> String;
    /// The host's own check; `None` outside `validate_security_code`.
    async fn validate(&self, code: &SecurityCode) -> Option<Result<Verdict, SendFailure>>;
}

/// What travels with each call.
pub struct Call {
    /// The call is given up after this.
    pub time_limit: Duration,
    /// In the log.
    pub request_id: String,
    /// The same for every try of one message; empty: none.
    pub idempotency_key: String,
    /// BCP 47, empty: none.
    pub locale: String,
    /// What the override can call.
    pub base: Arc<dyn BaseCalls>,
}

/// A loaded, constructed backend.
pub struct Backend {}

impl Backend {
    /// `nexmo.NexmoBackend`
    pub fn name(&self) -> &str {
        todo!()
    }
    /// The manifest says that it is for tests and tutorials.
    pub fn is_sandbox(&self) -> bool {
        todo!()
    }
    /// Whether it overrides: the host calls it for these only.
    pub fn overrides_generate_security_code(&self) -> bool {
        todo!()
    }
    /// …
    pub fn overrides_generate_message(&self) -> bool {
        todo!()
    }
    /// …
    pub fn overrides_validate_security_code(&self) -> bool {
        todo!()
    }
    /// …
    pub fn overrides_send_bulk_sms(&self) -> bool {
        todo!()
    }
    /// Sends.
    pub async fn send_sms(
        &self,
        _number: &PhoneNumber,
        _message: &str,
        _call: Call,
    ) -> Result<Receipt, SendFailure> {
        todo!()
    }
    /// One text to up to 1000 numbers; `settled` hears each outcome as it comes (index, outcome). What the backend does not
    /// report fails as `not_reported` (or with the error of the call).
    pub async fn send_bulk_sms(
        &self,
        _numbers: &[PhoneNumber],
        _message: &str,
        _call: Call,
        _settled: Arc<dyn Fn(usize, Result<Receipt, SendFailure>) + Send + Sync>,
    ) {
        todo!()
    }
    /// …
    pub async fn generate_security_code(&self, _call: Call) -> Result<SecurityCode, SendFailure> {
        todo!()
    }
    /// `None`: the template is used.
    pub async fn generate_message(
        &self,
        _code: &SecurityCode,
        _context: &serde_json::Map<String, serde_json::Value>,
        _call: Call,
    ) -> Result<Option<String>, SendFailure> {
        todo!()
    }
    /// The override's verdict.
    pub async fn validate_security_code(
        &self,
        _code: &SecurityCode,
        _number: &PhoneNumber,
        _token: &SessionToken,
        _call: Call,
    ) -> Result<Verdict, SendFailure> {
        todo!()
    }
}

/// `nexmo.NexmoBackend`, with anything before it ignored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendName {
    /** file stem */
    pub library: String,
    /** export */
    pub backend: String,
}
impl BackendName {
    /// Parses a dotted path.
    pub fn parse(_text: &str) -> Result<Self, String> {
        todo!()
    }
}

/// Why a library or a backend cannot be used: one sentence with what was found, what was needed and what to do.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{code}: {sentence}")]
pub struct Refusal {
    /** `P202` */
    pub code: &'static str,
    /** … */
    pub sentence: String,
}

/// Where libraries come from, and what they may do.
pub struct Loader {}
/// What `Loader` needs.
pub struct LoaderConfig {
    /// Searched in this order.
    pub directories: Vec<PathBuf>,
    /// Private (0700) directory for staged copies; made when missing.
    pub staging: PathBuf,
    /// time
    pub clock: crate::clock::Clock,
    /// randomness
    pub entropy: crate::entropy::Entropy,
    /// whether http:// and private addresses may be called (tests, proxies)
    pub allow_private_addresses: bool,
}
impl Loader {
    /// Nothing is loaded yet.
    pub fn new(_config: LoaderConfig) -> Self {
        todo!()
    }
    /// Finds, preflights, loads and constructs. All problems at once.
    pub fn load(
        &self,
        _name: &BackendName,
        _options: &serde_json::Map<String, serde_json::Value>,
    ) -> Result<Backend, Vec<Refusal>> {
        todo!()
    }
    /// Every library in the directories, read without running its code.
    pub fn survey(&self) -> Vec<LibraryReport> {
        todo!()
    }
}
/// One file in a plugin directory.
#[derive(Clone, Debug, serde::Serialize)]
pub struct LibraryReport {
    /** … */
    pub path: PathBuf,
}
impl std::fmt::Display for LibraryReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.path.display())
    }
}
