//! What became of an SMS, in classes that the host can act on whatever the provider.

use std::time::Duration;

/// The provider took the SMS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Receipt {
    /// The provider's message id.
    pub message_id: Option<String>,
}

/// What kind of failure it was: the host's next step depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FailureClass {
    Config,
    InvalidNumber,
    UnreachableNumber,
    OptedOut,
    DestinationBlocked,
    ContentRejected,
    SenderRejected,
    AuthFailed,
    NoCredit,
    Throttled,
    Transient,
    OutcomeUnknown,
    Internal,
    Unsupported,
}

impl FailureClass {
    /// `invalid_number`, `throttled`, …: stable.
    pub fn as_str(self) -> &'static str {
        todo!()
    }
}

/// Why an SMS was not (or perhaps not) sent. `message` is for the operator's log: never for the client.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{code}: {message}")]
pub struct SendFailure {
    /// What to do about it.
    pub class: FailureClass,
    /// The provider's code or the host's own: `nexmo_9`, `plugin_panic`, `deadline`.
    pub code: String,
    /// One sentence, scrubbed of secrets and numbers.
    pub message: String,
    /// The provider's HTTP status.
    pub http_status: Option<u16>,
    /// How long the provider asks to wait.
    pub retry_after: Option<Duration>,
}
