//! Messages and their delivery. Failures are classified by what the host can do about them, independent of the
//! provider.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use super::{Cost, Region, Reported, VerificationId};
use crate::{
    clock::{Clock, UnixMillis},
    entropy::{Entropy, NoEntropy},
};

/// Identifies a message, also to a provider that drops duplicates. It has the form of a [`VerificationId`]: time and
/// random bits. The first message of a verification has the same id as the verification.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MessageId(pub [u8; 16]);

impl MessageId {
    /// A new id.
    pub fn generate(clock: &Clock, entropy: &Entropy) -> Result<Self, NoEntropy> {
        VerificationId::generate(clock, entropy).map(Self::of_first)
    }

    /// The id of the first message of this verification.
    pub fn of_first(VerificationId(id): VerificationId) -> Self {
        Self(id)
    }

    /// When the message began, by the service time.
    pub fn began_at(self) -> UnixMillis {
        let mut millis = [0; 8];
        millis[2..].copy_from_slice(&self.0[..6]);
        UnixMillis(u64::from_be_bytes(millis))
    }
}

/// The form in logs and in the API: 32 hexadecimal digits.
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

/// What is known about a message. It has neither the number nor the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its id.
    pub id: MessageId,
    /// Its delivery state.
    pub delivery: Delivery,
    /// The backend that was asked last. `None`: none was asked yet, or it is unknown.
    pub backend: Option<String>,
    /// The provider's message id, in a form that may be shown.
    pub provider_id: Option<String>,
    /// Every attempt to send it, recorded by the process that settled it.
    pub tries: Vec<Try>,
    /// What the provider reported since it accepted the message. `None`: nothing.
    pub reported: Option<Reported>,
}

impl Message {
    /// Why it was not sent or not delivered, as far as that is known.
    pub fn class(&self) -> Option<FailureClass> {
        let reported = self.reported.as_ref().and_then(|reported| reported.class);
        self.delivery.class().or(reported)
    }

    /// The state of one of its tries, as users see it: that of the message for the one that the provider accepted.
    pub fn state_of(&self, tried: &Try) -> &'static str {
        match &tried.class {
            None => self.delivery.state(),
            Some(class) => Delivery::of_name(class).state(),
        }
    }
}

/// The delivery state of an SMS, as far as it is known.
///
/// The dispatcher settles a pending message as sent or failed. From sent on, reports of the provider move it:
/// [`rules::receipt`](crate::rules::receipt) says in which order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// It waits for the answer of the provider.
    Pending,
    /// The provider accepted it.
    Sent,
    /// The provider accepted it, and reports that it does not know what became of it.
    Unconfirmed,
    /// The provider accepted it, and reports that it did not arrive.
    Undelivered,
    /// The provider reports that it arrived.
    Delivered,
    /// It was not sent, or it is unknown whether it was.
    Failed(FailureClass),
}

impl Message {
    /// The backend that was asked last, by its name in the settings; `None`: none was, or it is not recorded.
    pub fn sent_by(&self) -> Option<&str> {
        self.tries.last().map(|made| &*made.member)
    }
}

impl Delivery {
    /// The states that users see.
    pub const STATES: [&str; 6] = ["queued", "sent", "delivered", "undelivered", "failed", "unknown"];

    /// The state that users see, one of [`Self::STATES`].
    pub fn state(self) -> &'static str {
        let [queued, sent, delivered, undelivered, failed, unknown] = Self::STATES;
        match self {
            Self::Pending => queued,
            Self::Sent => sent,
            Self::Delivered => delivered,
            Self::Undelivered => undelivered,
            Self::Unconfirmed | Self::Failed(FailureClass::OutcomeUnknown) => unknown,
            Self::Failed(_) => failed,
        }
    }

    /// Whether the provider accepted the message, whatever it reported since.
    pub fn was_accepted(self) -> bool {
        match self {
            Self::Sent | Self::Unconfirmed | Self::Undelivered | Self::Delivered => true,
            Self::Pending | Self::Failed(_) => false,
        }
    }

    /// The reason why it was not sent. `None`: it was sent, or is pending.
    pub fn class(self) -> Option<FailureClass> {
        match self {
            Self::Failed(class) => Some(class),
            _ => None,
        }
    }

    /// The name that a store uses: `pending`, `sent`, that of a reported state, or the failure's class.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Sent => "sent",
            Self::Unconfirmed => "unconfirmed",
            Self::Undelivered => "undelivered",
            Self::Delivered => "delivered",
            Self::Failed(class) => class.as_str(),
        }
    }

    /// Reads the name in a store. An unknown class, which a later version may have written, becomes
    /// [`FailureClass::Internal`].
    pub fn of_name(name: &str) -> Self {
        match name {
            "pending" => Self::Pending,
            "sent" => Self::Sent,
            "unconfirmed" => Self::Unconfirmed,
            "undelivered" => Self::Undelivered,
            "delivered" => Self::Delivered,
            class => Self::Failed(FailureClass::parse(class).unwrap_or(FailureClass::Internal)),
        }
    }
}

/// A message whose record a report changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportedMessage {
    /// Its id.
    pub id: MessageId,
    /// The verification that it belongs to.
    pub verification: VerificationId,
    /// The backend that it was sent with.
    pub backend: String,
    /// The country that it was sent to. `None`: the number has none, or it was sent by an earlier version.
    pub country: Option<Region>,
    /// Its state now.
    pub delivery: Delivery,
    /// Whether the report changed the state, and not only what is known beside it.
    pub is_new_state: bool,
    /// All that is known from reports.
    pub reported: Reported,
}

/// One attempt to send a message through a backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Try {
    /// The backend's name in the settings. Not stored where it is the one of `BACKEND`.
    #[serde(default = "of_backend", skip_serializing_if = "is_of_backend")]
    pub member: String,
    /// The backend: `nexmo.NexmoBackend`.
    pub backend: String,
    /// The class of the failure, [`FailureClass::as_str`]. `None`: the provider accepted the message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// The provider's code for the failure, or the host's own, cut to [`Self::MAX_CODE`] characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
}

impl Try {
    /// The most characters of a code. The bound is needed because a library chooses the code.
    pub const MAX_CODE: usize = 64;

    /// The record of an attempt with this outcome.
    pub fn of(backend: &str, outcome: &Outcome, took: Duration) -> Self {
        let failure = outcome.as_ref().err();
        Self {
            member: of_backend(),
            backend: backend.to_owned(),
            class: failure.map(|failure| failure.class.as_str().to_owned()),
            code: failure.map(|failure| failure.code.chars().take(Self::MAX_CODE).collect()),
            duration_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        }
    }

    /// The same, through the backend of this name.
    #[must_use]
    pub fn through(self, member: &str) -> Self {
        Self {
            member: member.to_owned(),
            ..self
        }
    }
}

/// The name of the backend that `BACKEND` gives.
const OF_BACKEND: &str = "default";

fn of_backend() -> String {
    OF_BACKEND.to_owned()
}

fn is_of_backend(name: &str) -> bool {
    name == OF_BACKEND
}

/// The result of an accepted SMS.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Receipt {
    /// The provider's message id, in a form that may be shown.
    pub message_id: Option<String>,
    /// The provider's message id as given, which delivery receipts refer to. `None`: it equals `message_id`.
    pub exact_id: Option<String>,
    /// In how many segments it is sent. `None`: the provider does not say.
    pub segments: Option<u32>,
    /// What it costs, all segments together. `None`: the provider does not say.
    pub cost: Option<Cost>,
}

impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receipt")
            .field("message_id", &self.message_id)
            .finish_non_exhaustive()
    }
}

/// The class of a failure, which decides the next step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailureClass {
    /// An option of the backend is wrong.
    Config,
    /// Not a valid number for SMS.
    InvalidNumber,
    /// A valid number that cannot receive SMS.
    UnreachableNumber,
    /// The owner opted out, or the number is blocked. No other backend is tried.
    OptedOut,
    /// The account is not allowed to send to this destination.
    DestinationBlocked,
    /// The provider refused the text.
    ContentRejected,
    /// The provider refused the sender id.
    SenderRejected,
    /// The provider refused the credentials.
    AuthFailed,
    /// The account has no credit.
    NoCredit,
    /// Too many requests.
    Throttled,
    /// A temporary failure, and nothing was sent.
    Transient,
    /// The SMS may or may not have been sent. It is not sent again.
    OutcomeUnknown,
    /// A bug in the backend.
    Internal,
    /// The backend does not offer this.
    Unsupported,
}

impl FailureClass {
    /// All classes with their stable names.
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

    /// Whether the same SMS may be tried again: certainly nothing was sent, and another attempt may succeed.
    pub fn may_be_retried(self) -> bool {
        matches!(self, Self::Throttled | Self::Transient)
    }

    /// Whether the reason is the number, so that another attempt would fail too.
    pub fn blames_number(self) -> bool {
        matches!(
            self,
            Self::InvalidNumber | Self::UnreachableNumber | Self::OptedOut | Self::DestinationBlocked
        )
    }

    /// Whether the reason is the account at the provider or how it is set up, whatever the message is.
    pub fn blames_account(self) -> bool {
        matches!(self, Self::Config | Self::AuthFailed | Self::NoCredit)
    }

    /// Whether the reason is the provider as a whole or the account there, rather than this message. A circuit breaker
    /// counts these, if the failure arose at the provider. An unclassified refusal is not one of them: a client that
    /// chooses the number could provoke it, and so switch off the service for all.
    pub fn blames_provider(self) -> bool {
        matches!(
            self,
            Self::Config | Self::AuthFailed | Self::NoCredit | Self::Transient | Self::OutcomeUnknown
        )
    }
}

/// Where a failure arose, as far as this process knows. Circuit breakers count only failures of the provider. The host
/// determines it; libraries cannot report it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// At the provider: it answered with a failure, or did not answer. Also the default for unknown origins.
    #[default]
    Provider,
    /// In the library: it panicked, crashed its process, hung without an open request, or returned an invalid answer.
    Library,
    /// In this process or on its machine: the message waited too long in the queue, no worker process could be started,
    /// the system ended one, or the host did not send the library's request.
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
    /// The provider works: it answered, possibly with a refusal of this message.
    Up,
    /// The provider is down, or refuses everything.
    Down,
    /// Nothing: the message did not reach the provider, or the library lost it.
    Nothing,
}

/// The reason why an SMS was not sent, or perhaps not sent. Its message is for the operator's log and never for the
/// client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct SendFailure {
    /// The class, which decides the next step.
    pub class: FailureClass,
    /// The provider's code or the host's own: `nexmo_9`, `plugin_panic`, `deadline`.
    pub code: String,
    /// One sentence, without secrets and numbers.
    pub message: String,
    /// The provider's HTTP status.
    pub http_status: Option<u16>,
    /// The wait that the provider asks for.
    pub retry_after: Option<Duration>,
    /// Where it arose.
    pub origin: Origin,
}

impl SendFailure {
    /// A failure of the provider. [`Self::arisen_in`] changes the origin.
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

    /// The same failure with this origin.
    #[must_use]
    pub fn arisen_in(self, origin: Origin) -> Self {
        Self { origin, ..self }
    }

    /// What the failure says about the provider.
    pub fn sign(&self) -> Sign {
        match self.origin {
            Origin::Library | Origin::Host => Sign::Nothing,
            Origin::Provider if self.class.blames_provider() => Sign::Down,
            Origin::Provider => Sign::Up,
        }
    }

    /// Whether the SMS was not sent for a reason on this machine, so that the same message can be sent later.
    pub fn is_untried(&self) -> bool {
        self.origin == Origin::Host && self.class != FailureClass::OutcomeUnknown
    }
}

/// The outcome of one attempt to send a message.
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
    fn a_store_reads_the_state_that_it_wrote_and_users_see_one_of_the_states() {
        let failures = FailureClass::ALL.map(|(class, _)| Delivery::Failed(class));
        let reported = [
            Delivery::Pending,
            Delivery::Sent,
            Delivery::Unconfirmed,
            Delivery::Undelivered,
            Delivery::Delivered,
        ];
        for delivery in reported.into_iter().chain(failures) {
            assert_eq!(Delivery::of_name(delivery.as_str()), delivery);
            assert!(Delivery::STATES.contains(&delivery.state()));
        }
    }

    #[test]
    fn a_message_says_when_it_began() {
        let clock = Clock::manual(UnixMillis(1_700_000_000_123));
        let id = MessageId::generate(&clock, &Entropy::seeded(1)).unwrap();
        assert_eq!(id.began_at(), UnixMillis(1_700_000_000_123));
    }

    #[test]
    fn every_class_has_a_name_of_its_own() {
        for (class, name) in FailureClass::ALL {
            assert_eq!(FailureClass::parse(name), Some(class));
            assert_eq!(class.as_str(), name);
        }
    }
}
