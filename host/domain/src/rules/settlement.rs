//! What is recorded of a message when it is settled, and what is taken back.
//!
//! Invariant: nothing is taken back of a message that a provider may have.

use crate::model::{Delivery, FailureClass};

/// What is recorded of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settlement {
    /// What became of it.
    pub delivery: Delivery,
    /// Why it certainly was not sent: then what was counted for it is taken back, the same request may be made again, and a
    /// session that has no other message ends.
    pub not_sent: Option<FailureClass>,
}

/// Settles a message. `outcome`: what the one process that tried it last was answered; `leases`: how many processes had it
/// so far, `None` when that is not known any more.
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
}
