//! Errors of calls, in kinds that tell the host what to do next, independent of the provider.

use std::{fmt, time::Duration};

use phone_verify_plugin_abi::{
    RawError,
    abi_stable::std_types::{RString, RVec},
    kind,
};

/// The kind of an error. The host's next step depends on it: try again, try another way, or give up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// An option is missing or wrong.
    Config,
    /// The number cannot receive SMS because it is not a valid number. Final; the host reports it to the caller.
    InvalidNumber,
    /// A valid number that cannot receive SMS, such as a landline. Final.
    UnreachableNumber,
    /// The owner opted out of messages, or the number is blocked. Final; the host does not try another way.
    OptedOut,
    /// The account is not allowed to send to this destination.
    DestinationBlocked,
    /// The provider refused the text, for example as spam or as too long.
    ContentRejected,
    /// The provider refused the sender id.
    SenderRejected,
    /// The provider refused the credentials, or the account is closed.
    AuthFailed,
    /// The account has no credit left.
    NoCredit,
    /// Too many requests. Set the wait with [`Error::with_retry_after`] if the provider states one.
    Throttled,
    /// A temporary failure, and certainly no SMS was sent: the host may try again.
    Transient,
    /// The SMS may or may not have been sent. The host does not send it again, to avoid a second one.
    OutcomeUnknown,
    /// A bug in the backend.
    Internal,
    /// The backend does not implement this.
    Unsupported,
}

/// Each kind with its number in the ABI.
const KINDS: [(ErrorKind, u16); 14] = [
    (ErrorKind::Config, kind::CONFIG),
    (ErrorKind::InvalidNumber, kind::INVALID_NUMBER),
    (ErrorKind::UnreachableNumber, kind::UNREACHABLE_NUMBER),
    (ErrorKind::OptedOut, kind::OPTED_OUT),
    (ErrorKind::DestinationBlocked, kind::DESTINATION_BLOCKED),
    (ErrorKind::ContentRejected, kind::CONTENT_REJECTED),
    (ErrorKind::SenderRejected, kind::SENDER_REJECTED),
    (ErrorKind::AuthFailed, kind::AUTH_FAILED),
    (ErrorKind::NoCredit, kind::NO_CREDIT),
    (ErrorKind::Throttled, kind::THROTTLED),
    (ErrorKind::Transient, kind::TRANSIENT),
    (ErrorKind::OutcomeUnknown, kind::OUTCOME_UNKNOWN),
    (ErrorKind::Internal, kind::INTERNAL),
    (ErrorKind::Unsupported, kind::UNSUPPORTED),
];

impl ErrorKind {
    pub(crate) fn to_raw(self) -> u16 {
        KINDS
            .iter()
            .find(|(kind, _)| *kind == self)
            .map_or(kind::INTERNAL, |(_, raw)| *raw)
    }

    /// A number that this version does not know counts as internal, so that the host tries nothing again because of it.
    fn from_raw(raw: u16) -> Self {
        KINDS
            .iter()
            .find(|(_, known)| *known == raw)
            .map_or(Self::Internal, |(kind, _)| *kind)
    }
}

/// Why a call failed.
///
/// The message goes to the operator's log. The host masks phone numbers and the values of secret options in it; leave
/// them out all the same.
#[derive(Clone, Debug)]
pub struct Error {
    kind: ErrorKind,
    code: String,
    message: String,
    http_status: Option<u16>,
    retry_after: Option<Duration>,
    flags: u64,
}

impl Error {
    /// `code` is short and stable: the provider's own where it has one, such as `nexmo_9`. `message` is a sentence for
    /// the operator.
    pub fn new(kind: ErrorKind, code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            kind,
            code: code.into(),
            message: message.into(),
            http_status: None,
            retry_after: None,
            flags: 0,
        }
    }

    /// The error for an HTTP status, when the provider's body gives no better reason. Its code is
    /// `<provider>_http_<status>`.
    ///
    /// | Status | Kind | Why |
    /// |---|---|---|
    /// | 401, 403 | `AuthFailed` | the credentials are refused |
    /// | 402 | `NoCredit` | |
    /// | 429 | `Throttled` | |
    /// | 503 | `Transient` | the provider is temporarily unavailable |
    /// | 408, other 5xx | `OutcomeUnknown` | the failure may have come after the SMS was accepted |
    /// | 3xx | `Config` | the address in the options is not the provider's |
    /// | 2xx | `OutcomeUnknown` | a success by its status, but the answer could not be read |
    /// | other | `Internal` | the request itself was wrong |
    ///
    /// Source: RFC 9110, section 15. If a provider documents that its 500 means that nothing was sent, map that status
    /// in the backend.
    pub fn from_http_status(provider: &str, status: u16) -> Self {
        let (kind, what) = match status {
            401 | 403 => (ErrorKind::AuthFailed, "refused the credentials"),
            402 => (ErrorKind::NoCredit, "reports that the account has no credit"),
            429 => (ErrorKind::Throttled, "asks for fewer requests"),
            503 => (ErrorKind::Transient, "is out of order"),
            408 | 500..=599 => (
                ErrorKind::OutcomeUnknown,
                "failed while it dealt with the request",
            ),
            300..=399 => (
                ErrorKind::Config,
                "answers with a redirect, which is not followed: its address has changed or is wrong",
            ),
            200..=299 => (ErrorKind::OutcomeUnknown, "gave an answer that cannot be read"),
            _ => (ErrorKind::Internal, "did not understand the request"),
        };
        Self::new(
            kind,
            format!("{provider}_http_{status}"),
            format!("the provider {what} (HTTP {status})"),
        )
        .with_http_status(status)
    }

    /// Adds the provider's HTTP status.
    #[must_use]
    pub fn with_http_status(mut self, status: u16) -> Self {
        self.http_status = Some(status);
        self
    }

    /// Adds the wait that the provider asks for.
    #[must_use]
    pub fn with_retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// The kind, which decides what the host does.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The short stable code.
    pub fn code(&self) -> &str {
        &self.code
    }

    /// The sentence for the operator's log.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The provider's HTTP status.
    pub fn http_status(&self) -> Option<u16> {
        self.http_status
    }

    /// The wait that the provider asks for.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// Adds bits of the ABI's `error_flag`.
    pub(crate) fn with_flags(mut self, flags: u64) -> Self {
        self.flags |= flags;
        self
    }

    pub(crate) fn into_raw(self) -> RawError {
        RawError {
            kind: self.kind.to_raw(),
            http_status: self.http_status.unwrap_or(0),
            retry_after_ms: self.retry_after.map_or(0, |wait| {
                u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1)
            }),
            code: RString::from(self.code),
            message: RString::from(self.message),
            flags: self.flags,
            ext: RVec::new(),
        }
    }

    pub(crate) fn from_raw(raw: RawError) -> Self {
        Self {
            kind: ErrorKind::from_raw(raw.kind),
            code: raw.code.into_string(),
            message: raw.message.into_string(),
            http_status: (raw.http_status != 0).then_some(raw.http_status),
            retry_after: (raw.retry_after_ms != 0).then(|| Duration::from_millis(raw.retry_after_ms)),
            // Flags describe who raised the error. The backend that passes it on is another party.
            flags: 0,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for Error {}
