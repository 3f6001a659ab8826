//! Whether another backend is tried after one that failed.
//!
//! Invariants: a message that may have been sent goes to no other backend, and neither does one whose recipient said that
//! no more are wanted. What is the number's fault stays its fault.

use crate::model::FailureClass;

/// What was tried of one message, as far as the next step depends on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Failover {
    /// Whether a backend refused the text before. A second one that refuses it is right.
    content_was_rejected: bool,
}

impl Failover {
    /// Whether the next backend is to be tried after a failure. `destination`: whether the route says so where a backend
    /// may not send to the number's network.
    pub fn goes_on(&mut self, class: FailureClass, destination: bool) -> bool {
        match class {
            FailureClass::OutcomeUnknown
            | FailureClass::OptedOut
            | FailureClass::InvalidNumber
            | FailureClass::UnreachableNumber => false,
            FailureClass::DestinationBlocked => destination,
            FailureClass::ContentRejected => !std::mem::replace(&mut self.content_was_rejected, true),
            FailureClass::Config
            | FailureClass::SenderRejected
            | FailureClass::AuthFailed
            | FailureClass::NoCredit
            | FailureClass::Throttled
            | FailureClass::Transient
            | FailureClass::Internal
            | FailureClass::Unsupported => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_goes_on_or_ends_there() {
        let ends = [
            FailureClass::OutcomeUnknown,
            FailureClass::OptedOut,
            FailureClass::InvalidNumber,
            FailureClass::UnreachableNumber,
        ];
        for (class, name) in FailureClass::ALL {
            for destination in [false, true] {
                let expected = match class {
                    FailureClass::DestinationBlocked => destination,
                    class => !ends.contains(&class),
                };
                let goes_on = Failover::default().goes_on(class, destination);
                assert_eq!(goes_on, expected, "{name}");
            }
        }
    }

    #[test]
    fn a_text_that_two_refuse_is_shown_to_no_third() {
        let mut failover = Failover::default();
        assert!(failover.goes_on(FailureClass::ContentRejected, true));
        assert!(failover.goes_on(FailureClass::Transient, true));
        assert!(!failover.goes_on(FailureClass::ContentRejected, true));
    }
}
