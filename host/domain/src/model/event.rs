//! Events: what happened to verifications and messages, in the order in which it happened.
//!
//! Invariant: an event never has a code, a text or a session token in it.

use super::{Delivery, FailureClass, MessageId, PhoneNumber, VerificationId};
use crate::clock::UnixMillis;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// A verification was begun.
    VerificationStarted,
    /// The right code came back.
    VerificationVerified,
    /// All attempts were used up by wrong codes.
    VerificationFailed,
    /// The caller ended it.
    VerificationCancelled,
    /// A message was begun: with the code of a verification, or a text.
    MessageQueued,
    /// The provider took it.
    MessageSent,
    /// The provider reports that it arrived.
    MessageDelivered,
    /// The provider reports that it did not arrive.
    MessageUndelivered,
    /// It certainly was not sent.
    MessageFailed,
    /// It may have been sent, or the provider does not know what became of it.
    MessageUnknown,
}

impl EventKind {
    /// All kinds with their stable names.
    pub const ALL: [(Self, &'static str); 10] = [
        (Self::VerificationStarted, "verification.started"),
        (Self::VerificationVerified, "verification.verified"),
        (Self::VerificationFailed, "verification.failed"),
        (Self::VerificationCancelled, "verification.cancelled"),
        (Self::MessageQueued, "message.queued"),
        (Self::MessageSent, "message.sent"),
        (Self::MessageDelivered, "message.delivered"),
        (Self::MessageUndelivered, "message.undelivered"),
        (Self::MessageFailed, "message.failed"),
        (Self::MessageUnknown, "message.unknown"),
    ];

    /// Its stable name.
    pub fn as_str(self) -> &'static str {
        let found = Self::ALL.iter().find(|(kind, _)| *kind == self);
        found.map_or("", |(_, name)| name)
    }

    /// The kind of that name.
    pub fn parse(name: &str) -> Option<Self> {
        let found = Self::ALL.iter().find(|(_, known)| *known == name);
        found.map(|(kind, _)| *kind)
    }

    /// That a message came into this state.
    pub fn of_message(delivery: Delivery) -> Self {
        match delivery {
            Delivery::Pending => Self::MessageQueued,
            Delivery::Sent => Self::MessageSent,
            Delivery::Delivered => Self::MessageDelivered,
            Delivery::Undelivered => Self::MessageUndelivered,
            Delivery::Unconfirmed | Delivery::Failed(FailureClass::OutcomeUnknown) => Self::MessageUnknown,
            Delivery::Failed(_) => Self::MessageFailed,
        }
    }
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its place among all events; it only grows, and places may be left out.
    pub place: u64,
    /// What happened.
    pub kind: EventKind,
    /// When.
    pub at: UnixMillis,
    /// To which verification. `None`: to a text.
    pub verification: Option<VerificationId>,
    /// To which message. `None`: to the verification as a whole.
    pub message: Option<MessageId>,
    /// The number. `None`: it is not known any more.
    pub number: Option<PhoneNumber>,
    /// How a message went.
    pub details: EventDetails,
}

/// How a message went, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventDetails {
    /// The backend that it was sent with.
    pub backend: Option<String>,
    /// Why it was not sent or not delivered.
    pub class: Option<FailureClass>,
    /// The provider's code for that, or the host's own.
    pub code: Option<String>,
}

impl Event {
    /// Names it: the same whenever and wherever it is told, so that a receiver can drop it if it comes again. A message
    /// and a verification come into each state once.
    pub fn id(&self) -> String {
        let subject = match (self.message, self.verification) {
            (Some(message), _) => message.to_string(),
            (None, Some(verification)) => verification.to_string(),
            (None, None) => self.place.to_string(),
        };
        format!("evt_{subject}_{}", self.kind.as_str().replace('.', "_"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_name_of_its_own() {
        for (kind, name) in EventKind::ALL {
            assert_eq!((kind.as_str(), EventKind::parse(name)), (name, Some(kind)));
        }
        assert_eq!(EventKind::parse("verification.*"), None);
    }

    #[test]
    fn an_event_has_the_same_id_each_time_and_another_than_all_others() {
        let event = |kind, message| Event {
            place: 7,
            kind,
            at: UnixMillis(1),
            verification: Some(VerificationId([1; 16])),
            message,
            number: None,
            details: EventDetails::default(),
        };
        let first = MessageId([1; 16]);
        assert_eq!(
            event(EventKind::MessageSent, Some(first)).id(),
            "evt_01010101010101010101010101010101_message_sent"
        );
        let ids = [
            event(EventKind::VerificationStarted, None),
            event(EventKind::MessageQueued, Some(first)),
            event(EventKind::MessageQueued, Some(MessageId([2; 16]))),
            event(EventKind::MessageSent, Some(first)),
        ];
        let ids: std::collections::BTreeSet<_> = ids.iter().map(Event::id).collect();
        assert_eq!(ids.len(), 4);
    }
}
