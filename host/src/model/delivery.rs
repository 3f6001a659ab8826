//! What became of an SMS, in classes that the host can act on whatever the provider.

use std::time::Duration;

/// The provider took the SMS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Receipt {
    /// The provider's message id, by which its delivery receipt will name it.
    pub message_id: Option<String>,
}

/// What kind of failure it was: the next step depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FailureClass {
    /// An option of the backend is wrong.
    Config,
    /// Not a number that can be texted.
    InvalidNumber,
    /// A real number that cannot be reached.
    UnreachableNumber,
    /// The owner opted out, or the number is barred: never tried another way.
    OptedOut,
    /// The account may not text this destination.
    DestinationBlocked,
    /// The text was refused.
    ContentRejected,
    /// The sender id was refused.
    SenderRejected,
    /// The credentials were refused.
    AuthFailed,
    /// The account has no credit.
    NoCredit,
    /// Too fast.
    Throttled,
    /// A passing fault, and nothing was sent.
    Transient,
    /// It may or may not have been sent: never sent again blindly.
    OutcomeUnknown,
    /// A fault of the backend.
    Internal,
    /// The backend does not offer this.
    Unsupported,
}

impl FailureClass {
    /// All of them, with their stable names.
    pub const ALL: [(Self, &'static str); 14] = [
        (Self::Config, "config"),
        (Self::InvalidNumber, "invalid_number"),
        (Self::UnreachableNumber, "unreachable_number"),
        (Self::OptedOut, "opted_out"),
        (Self::DestinationBlocked, "destination_blocked"),
        (Self::ContentRejected, "content_rejected"),
        (Self::SenderRejected, "sender_rejected"),
        (Self::AuthFailed, "auth_failed"),
        (Self::NoCredit, "no_credit"),
        (Self::Throttled, "throttled"),
        (Self::Transient, "transient"),
        (Self::OutcomeUnknown, "outcome_unknown"),
        (Self::Internal, "internal"),
        (Self::Unsupported, "unsupported"),
    ];

    /// Its stable name.
    pub fn as_str(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(class, _)| *class == self)
            .map_or("internal", |(_, name)| name)
    }

    /// The class of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .find(|(_, known)| *known == name)
            .map(|(class, _)| *class)
    }

    /// Whether the same SMS may be tried again: certainly nothing was sent, and it may go better.
    pub fn may_be_retried(self) -> bool {
        matches!(self, Self::Throttled | Self::Transient)
    }

    /// Whether it is about the number, so that another try would fare no better.
    pub fn blames_number(self) -> bool {
        matches!(
            self,
            Self::InvalidNumber | Self::UnreachableNumber | Self::OptedOut | Self::DestinationBlocked
        )
    }

    /// Whether the backend as a whole is at fault, and not this message: what a breaker counts. A refusal that
    /// the backend does not know is not: whoever may choose the number could bring it about.
    pub fn blames_backend(self) -> bool {
        matches!(
            self,
            Self::Config | Self::AuthFailed | Self::NoCredit | Self::Transient | Self::OutcomeUnknown
        )
    }
}

/// Why an SMS was not (or perhaps not) sent. The message is for the operator's log, never for the client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct SendFailure {
    /// What to do about it.
    pub class: FailureClass,
    /// The provider's code or the host's own: `nexmo_9`, `plugin_panic`, `deadline`.
    pub code: String,
    /// One sentence without secrets and numbers.
    pub message: String,
    /// The provider's HTTP status.
    pub http_status: Option<u16>,
    /// How long the provider asks to wait.
    pub retry_after: Option<Duration>,
}

impl SendFailure {
    /// A failure that the host itself states.
    pub fn new(class: FailureClass, code: &str, message: impl Into<String>) -> Self {
        Self {
            class,
            code: code.to_owned(),
            message: message.into(),
            http_status: None,
            retry_after: None,
        }
    }
}

/// What became of one message.
pub type Outcome = Result<Receipt, SendFailure>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_has_a_name_of_its_own() {
        for (class, name) in FailureClass::ALL {
            assert_eq!(FailureClass::parse(name), Some(class));
            assert_eq!(class.as_str(), name);
        }
    }
}
