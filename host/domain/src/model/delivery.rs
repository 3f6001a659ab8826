//! A message on its way, and what became of it, in classes that the host can act on whatever the provider.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use super::VerificationId;
use crate::{
    clock::Clock,
    entropy::{Entropy, NoEntropy},
};

/// Names a message, also to a provider that drops duplicates: as the id of a verification, made of the time and randomness.
/// The first message of a verification has that one's id.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MessageId(pub [u8; 16]);

impl MessageId {
    /// A new one.
    pub fn generate(clock: &Clock, entropy: &Entropy) -> Result<Self, NoEntropy> {
        VerificationId::generate(clock, entropy).map(Self::of_first)
    }

    /// That of the first message of a verification.
    pub fn of_first(VerificationId(id): VerificationId) -> Self {
        Self(id)
    }
}

/// As it appears in a log and in the API: 32 hexadecimal digits.
impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What is known of a message. Neither its number nor its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Names it.
    pub id: MessageId,
    /// What became of it.
    pub delivery: Delivery,
    /// The backend that was asked last; `None`: none was asked yet, or it is not known.
    pub backend: Option<String>,
    /// The provider's id of it, as it may be shown.
    pub provider_id: Option<String>,
    /// Each time that a backend was asked to send it, by the process that settled it.
    pub tries: Vec<Try>,
}

/// What became of an SMS, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// It is on its way to the provider.
    Pending,
    /// The provider took it.
    Sent,
    /// It was not sent, or perhaps not.
    Failed(FailureClass),
}

impl Delivery {
    /// The states that users see. Each class of failure is one of the last two.
    pub const STATES: [&str; 4] = ["queued", "sent", "failed", "unknown"];

    /// Its state as users see it, one of [`Self::STATES`].
    pub fn state(self) -> &'static str {
        let [queued, sent, failed, unknown] = Self::STATES;
        match self {
            Self::Pending => queued,
            Self::Sent => sent,
            Self::Failed(FailureClass::OutcomeUnknown) => unknown,
            Self::Failed(_) => failed,
        }
    }

    /// Why it was not sent, or perhaps not; `None`: it was sent, or will be.
    pub fn class(self) -> Option<FailureClass> {
        match self {
            Self::Pending | Self::Sent => None,
            Self::Failed(class) => Some(class),
        }
    }

    /// Its name in a store: `pending`, `sent`, or the failure's class.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Sent => "sent",
            Self::Failed(class) => class.as_str(),
        }
    }

    /// That of the name in a store. A class that is not known, as of a later version, is [`FailureClass::Internal`].
    pub fn of_name(name: &str) -> Self {
        match name {
            "pending" => Self::Pending,
            "sent" => Self::Sent,
            class => Self::Failed(FailureClass::parse(class).unwrap_or(FailureClass::Internal)),
        }
    }
}

/// One time that a backend was asked to send a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Try {
    /// The backend: `nexmo.NexmoBackend`.
    pub backend: String,
    /// The class of the failure, [`FailureClass::as_str`]; `None`: it took the message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// The provider's code for the failure, or the host's own; at most [`Self::MAX_CODE`] characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// How long it took.
    pub duration_ms: u64,
}

impl Try {
    /// The most characters of a code. A library chooses it.
    pub const MAX_CODE: usize = 64;

    /// One with this outcome.
    pub fn of(backend: &str, outcome: &Outcome, took: Duration) -> Self {
        let failure = outcome.as_ref().err();
        Self {
            backend: backend.to_owned(),
            class: failure.map(|failure| failure.class.as_str().to_owned()),
            code: failure.map(|failure| failure.code.chars().take(Self::MAX_CODE).collect()),
            duration_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

/// The provider took the SMS.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Receipt {
    /// The provider's message id, as it may be shown.
    pub message_id: Option<String>,
    /// The same as the provider gave it, by which its delivery receipt will name it; `None`: that may be shown.
    pub exact_id: Option<String>,
}

impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receipt")
            .field("message_id", &self.message_id)
            .finish_non_exhaustive()
    }
}

/// What kind of failure it was: the next step depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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

    /// Whether the provider as a whole is at fault, or the account there, and not this message: what a breaker counts, if
    /// the failure arose there. A refusal that the backend does not know is not: whoever may choose the number could bring
    /// it about.
    pub fn blames_provider(self) -> bool {
        matches!(
            self,
            Self::Config | Self::AuthFailed | Self::NoCredit | Self::Transient | Self::OutcomeUnknown
        )
    }
}

/// Where a failure arose, as far as this process can know: what a breaker may hold against the provider depends on it.
/// No library says it; the host does, of what it saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// At the provider: it answered so, or did not answer. Also what nothing else is known of.
    #[default]
    Provider,
    /// In the library: it panicked, crashed its process, hung without a request under way, or answered nonsense.
    Library,
    /// In this process or on its machine: the queue was too slow, no worker process could be had, the system ended one, or the
    /// request of the library was not made.
    Host,
}

impl Origin {
    /// Its stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Provider => "provider",
            Self::Library => "library",
            Self::Host => "host",
        }
    }
}

/// What an outcome says about the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// It answered, be it with a refusal of this one message.
    Up,
    /// It is down, or refuses everything.
    Down,
    /// Nothing: the message never came so far, or the library lost it.
    Nothing,
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
    /// Where it arose.
    pub origin: Origin,
}

impl SendFailure {
    /// A failure of the provider, unless [`Self::arisen_in`] says otherwise.
    pub fn new(class: FailureClass, code: &str, message: impl Into<String>) -> Self {
        Self {
            class,
            code: code.to_owned(),
            message: message.into(),
            http_status: None,
            retry_after: None,
            origin: Origin::default(),
        }
    }

    /// The same failure, which arose there.
    #[must_use]
    pub fn arisen_in(self, origin: Origin) -> Self {
        Self { origin, ..self }
    }

    /// What it says about the provider.
    pub fn sign(&self) -> Sign {
        match self.origin {
            Origin::Library | Origin::Host => Sign::Nothing,
            Origin::Provider if self.class.blames_provider() => Sign::Down,
            Origin::Provider => Sign::Up,
        }
    }

    /// Whether it was not sent for a reason of this process or its machine, so that the same message can be sent when that is
    /// over.
    pub fn is_untried(&self) -> bool {
        self.origin == Origin::Host && self.class != FailureClass::OutcomeUnknown
    }
}

/// What became of one message.
pub type Outcome = Result<Receipt, SendFailure>;

#[cfg(test)]
mod tests {
    use super::*;

    /// Every class of failure, from everywhere that it may come from.
    #[test]
    fn only_what_arose_at_the_provider_says_something_about_it() {
        use FailureClass as F;
        let down = [
            F::Config,
            F::AuthFailed,
            F::NoCredit,
            F::Transient,
            F::OutcomeUnknown,
        ];
        for (class, name) in FailureClass::ALL {
            let failure = SendFailure::new(class, "code", "message");
            let expected = if down.contains(&class) {
                Sign::Down
            } else {
                Sign::Up
            };
            assert_eq!(failure.sign(), expected, "{name}");
            for origin in [Origin::Library, Origin::Host] {
                let failure = failure.clone().arisen_in(origin);
                assert_eq!(failure.sign(), Sign::Nothing, "{name} in {}", origin.as_str());
            }
        }
    }

    #[test]
    fn every_class_has_a_name_of_its_own() {
        for (class, name) in FailureClass::ALL {
            assert_eq!(FailureClass::parse(name), Some(class));
            assert_eq!(class.as_str(), name);
        }
    }
}
