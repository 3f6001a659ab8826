//! Why a call failed, in kinds that the host can act on whatever the provider.

use std::{fmt, time::Duration};

use phone_verify_plugin_abi::{
    RawError,
    abi_stable::std_types::{RString, RVec},
    kind,
};

/// What the host should do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// An option is missing or wrong.
    Config,
    /// Not a number that can be texted. Final; reported to the caller.
    InvalidNumber,
    /// A real number that cannot be reached, such as a landline. Final.
    UnreachableNumber,
    /// The owner opted out, or the number is barred. Final, and never tried another way.
    OptedOut,
    /// The account may not text this destination.
    DestinationBlocked,
    /// The text was refused: a spam filter, too long.
    ContentRejected,
    /// The sender id was refused.
    SenderRejected,
    /// The credentials were refused, or the account is closed.
    AuthFailed,
    /// The account has no credit left.
    NoCredit,
    /// Too fast. Say how long to wait with [`Error::retry_after`] where the provider does.
    Throttled,
    /// A passing fault, and certainly no SMS was sent: it may be tried again.
    Transient,
    /// The SMS may or may not have been sent: it is not sent again.
    OutcomeUnknown,
    /// A fault of the backend itself.
    Internal,
    /// The backend does not offer this.
    Unsupported,
}

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
    fn to_raw(self) -> u16 {
        KINDS
            .iter()
            .find(|(kind, _)| *kind == self)
            .map_or(kind::INTERNAL, |(_, raw)| *raw)
    }

    fn from_raw(raw: u16) -> Self {
        KINDS
            .iter()
            .find(|(_, known)| *known == raw)
            .map_or(Self::Internal, |(kind, _)| *kind)
    }
}

/// Why a call failed.
///
/// The message is for the operator's log. The host masks phone numbers and the values of secret options in
/// it; still, leave them out.
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
    /// `code` is short and stable, the provider's where it has one (`nexmo_9`); `message` is a sentence.
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

    /// The kind that an HTTP status stands for when the provider's body says nothing better: 401 and 403
    /// are refused credentials, 402 is no credit, 429 is throttling, 503 passes. Any other 5xx, and 408, may have come
    /// after the SMS was taken: the outcome is unknown, and it is not sent again. 3xx says that the address in the
    /// options is not the provider's, other 4xx that the request itself was wrong. The code is
    /// `<provider>_http_<status>`.
    ///
    /// Source: RFC 9110, section 15. A provider that promises more about its 500 is better mapped by its backend.
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

    /// Adds how long the provider asks to wait.
    #[must_use]
    pub fn with_retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// What the host will do about it.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The short stable code.
    pub fn code(&self) -> &str {
        &self.code
    }

    /// The sentence for the operator.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The provider's HTTP status.
    pub fn http_status(&self) -> Option<u16> {
        self.http_status
    }

    /// How long the provider asks to wait.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

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
            // What another party's flags say about itself does not hold for the backend that passes them on.
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
