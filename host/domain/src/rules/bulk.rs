//! A bulk job: which run may have it, and what becomes of its numbers.
//!
//! Invariant: one run at a time has a job, and a number that a run may have sent to is not sent to again.

use crate::{
    clock::UnixMillis,
    model::{FailureClass, Outcome},
};

/// The code of a number whose run ended before it was settled.
pub const INTERRUPTED: &str = "interrupted";

/// The run that has a job.
#[derive(Clone, Copy, Debug)]
pub struct Held {
    /// Whether it is the one that asks.
    pub is_own: bool,
    /// Unless it is renewed.
    pub until: UnixMillis,
}

/// Whether a run may have a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lease {
    /// It may.
    Taken {
        /// Whether the numbers that the run before had under way are given up first.
        gives_up: bool,
    },
    /// Another run has it.
    HeldByAnother {
        /// Until then, if it does not renew its lease.
        until: UnixMillis,
    },
}

/// Decides it.
pub fn lease(held: Option<Held>, now: UnixMillis) -> Lease {
    match held {
        Some(held) if !held.is_own && held.until >= now => Lease::HeldByAnother { until: held.until },
        held => Lease::Taken {
            gives_up: held.is_some_and(|held| !held.is_own),
        },
    }
}

/// Where a number of a job stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// No run tried it.
    Waiting,
    /// A run has it.
    Leased,
    /// The provider took it.
    Sent,
    /// It was not, or perhaps not, sent.
    Failed {
        /// The failure class.
        class: String,
        /// The provider's code or the host's own.
        code: String,
    },
}

impl State {
    /// What a run says of a number. `None`: it certainly was not tried, and waits again.
    pub fn of(outcome: Option<&Outcome>) -> Self {
        match outcome {
            None => Self::Waiting,
            Some(Ok(_)) => Self::Sent,
            Some(Err(failure)) => Self::Failed {
                class: failure.class.as_str().to_owned(),
                code: failure.code.clone(),
            },
        }
    }

    /// What becomes of a number whose run ended before it was settled: whether the SMS left cannot be known.
    pub fn given_up() -> Self {
        Self::Failed {
            class: FailureClass::OutcomeUnknown.as_str().to_owned(),
            code: INTERRUPTED.to_owned(),
        }
    }

    /// Whether a run may still say what became of it: one that lost its lease may learn it later.
    pub fn may_be_settled(&self) -> bool {
        match self {
            Self::Leased => true,
            Self::Failed { code, .. } => code == INTERRUPTED,
            Self::Waiting | Self::Sent => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Receipt, SendFailure};

    const NOW: UnixMillis = UnixMillis(1000);

    #[test]
    fn one_run_at_a_time_has_a_job() {
        let held = |is_own, until| {
            let until = UnixMillis(until);
            lease(Some(Held { is_own, until }), NOW)
        };
        assert_eq!(lease(None, NOW), Lease::Taken { gives_up: false });
        assert_eq!(held(true, 0), Lease::Taken { gives_up: false });
        assert_eq!(held(false, 1000), Lease::HeldByAnother { until: NOW });
        assert_eq!(held(false, 999), Lease::Taken { gives_up: true });
    }

    #[test]
    fn a_number_that_was_given_up_may_still_be_settled_and_no_other_twice() {
        let sent = Ok(Receipt::default());
        let refused = Err(SendFailure::new(
            FailureClass::InvalidNumber,
            "21211",
            "no number",
        ));
        assert!(State::Leased.may_be_settled() && State::given_up().may_be_settled());
        for settled in [Some(&sent), Some(&refused), None] {
            let state = State::of(settled);
            assert!(!state.may_be_settled(), "{state:?}");
        }
    }
}
