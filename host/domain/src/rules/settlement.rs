//! What is recorded of a message when it is settled, and what is taken back.
//!
//! Invariant: nothing is taken back of a message that a provider may have.

use crate::model::{Delivery, FailureClass};

/// What is recorded of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settlement {
    /// What became of it.
    pub delivery: Delivery,
    /// Why it certainly was not sent: then what was counted for it is taken back, the same request may be made again,
    /// and a session that has no other message ends.
    pub not_sent: Option<FailureClass>,
}

/// Settles a message. `outcome`: what the one process that tried it last was answered; `leases`: how many processes had
/// it so far, `None` when that is not known any more.
pub fn decide(outcome: Result<(), FailureClass>, leases: Option<u32>) -> Settlement {
    match outcome {
        Ok(()) => Settlement {
            delivery: Delivery::Sent,
            not_sent: None,
        },
        // The process that had it before may have sent it and died before it could record that, whatever became of the
        // second try.
        Err(class) if class != FailureClass::OutcomeUnknown && leases == Some(1) => Settlement {
            delivery: Delivery::Failed(class),
            not_sent: Some(class),
        },
        Err(_) => Settlement {
            delivery: Delivery::Failed(FailureClass::OutcomeUnknown),
            not_sent: None,
        },
    }
}

/// The code that a session shares with others, or has alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SharedCode {
    /// How many sessions have a place among those that share it.
    pub sessions: u32,
    /// Whether it may still be sent, and is pending for its number.
    pub is_pending: bool,
}

/// A session whose only message certainly was not sent gives up its place: its token was given to nobody. Once no other
/// has the code, the next registration makes its own.
pub fn give_up(code: SharedCode) -> SharedCode {
    let sessions = code.sessions.saturating_sub(1);
    SharedCode {
        sessions,
        is_pending: code.is_pending && sessions > 0,
    }
}

/// Whether a code that gave way to another comes back once that one certainly was not sent: not if the other was used,
/// or gave way to yet another. Both are digests.
pub fn comes_back(gave_way_to: &[u8], current: Option<&[u8]>) -> bool {
    current == Some(gave_way_to)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CERTAIN: FailureClass = FailureClass::DestinationBlocked;

    #[test]
    fn a_message_that_was_refused_at_its_only_try_was_not_sent() {
        let settled = decide(Err(CERTAIN), Some(1));
        assert_eq!(settled.delivery, Delivery::Failed(CERTAIN));
        assert_eq!(settled.not_sent, Some(CERTAIN));
    }

    #[test]
    fn whatever_a_provider_may_have_is_never_taken_back() {
        let unknown = Delivery::Failed(FailureClass::OutcomeUnknown);
        for (outcome, leases, delivery) in [
            (Ok(()), Some(1), Delivery::Sent),
            (Ok(()), Some(2), Delivery::Sent),
            (Err(FailureClass::OutcomeUnknown), Some(1), unknown),
            (Err(CERTAIN), Some(2), unknown),
            (Err(CERTAIN), None, unknown),
        ] {
            let settled = decide(outcome, leases);
            assert_eq!(
                (settled.delivery, settled.not_sent),
                (delivery, None),
                "{outcome:?} {leases:?}"
            );
        }
    }

    #[test]
    fn a_code_is_pending_as_long_as_somebody_has_it() {
        let shared = SharedCode {
            sessions: 2,
            is_pending: true,
        };
        let left = give_up(shared);
        assert_eq!(
            left,
            SharedCode {
                sessions: 1,
                is_pending: true
            }
        );
        let nobody = SharedCode {
            sessions: 0,
            is_pending: false,
        };
        assert_eq!(give_up(left), nobody);
        assert_eq!(give_up(nobody), nobody);
    }

    #[test]
    fn a_code_comes_back_unless_the_one_after_it_is_gone() {
        assert!(comes_back(b"new", Some(b"new")));
        assert!(!comes_back(b"new", Some(b"newer")));
        assert!(!comes_back(b"new", None));
    }
}
