//! Spares a backend that is out of order, and those who wait for it: after some failures in a row that are
//! the backend's fault, messages are refused at once for a while; then one is let through to see.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use crate::{
    clock::Clock,
    model::{FailureClass, Outcome, SendFailure},
};

/// The code of a refusal.
const OPEN: &str = "breaker_open";

/// Failures in a row that open the breaker.
const MAX_FAILURES: u32 = 5;
/// How long it stays open before one message is let through.
const PAUSE: Duration = Duration::from_secs(15);

/// Whether messages are let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    /// All are.
    Closed,
    /// None is.
    Open,
    /// One is, to see whether the backend is back.
    Probing,
}

/// Counts the failures of one backend.
pub struct Breaker {
    clock: Clock,
    counted: Mutex<Counted>,
}

#[derive(Default)]
struct Counted {
    failures: u32,
    /// On the clock's `elapsed`.
    open_until: Option<Duration>,
    probing: bool,
    messages: Counts,
}

/// Messages that a backend was given, by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// The provider took them.
    pub sent: u64,
    /// They certainly were not sent.
    pub failed: u64,
    /// They may have been sent.
    pub unknown: u64,
}

impl Breaker {
    /// Closed.
    pub fn new(clock: Clock) -> Self {
        Self {
            clock,
            counted: Mutex::default(),
        }
    }

    /// Forgets what it counted: there is another backend.
    pub fn reset(&self) {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        *counted = Counted::default();
    }

    /// What became of the messages so far.
    pub fn counts(&self) -> Counts {
        let counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        counted.messages
    }

    /// Where it stands.
    pub fn state(&self) -> BreakerState {
        let counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        match counted.open_until {
            None => BreakerState::Closed,
            Some(until) if counted.probing || self.clock.elapsed() >= until => BreakerState::Probing,
            Some(_) => BreakerState::Open,
        }
    }

    /// Lets a message through, or refuses it.
    pub(super) fn admit(&self) -> Result<(), SendFailure> {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(until) = counted.open_until else {
            return Ok(());
        };
        let now = self.clock.elapsed();
        if now >= until {
            counted.probing = true;
            // Should the probe never be recorded, another is let through after the same pause.
            counted.open_until = Some(now + PAUSE);
            return Ok(());
        }
        let mut refusal = SendFailure::new(
            FailureClass::Transient,
            OPEN,
            "the backend failed several times in a row and is left alone for a while",
        );
        refusal.retry_after = Some(until.saturating_sub(now));
        Err(refusal)
    }

    pub(super) fn record(&self, outcome: &Outcome) {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        counted.probing = false;
        let messages = &mut counted.messages;
        match outcome {
            Ok(_) => messages.sent += 1,
            Err(failure) if failure.class == FailureClass::OutcomeUnknown => messages.unknown += 1,
            Err(_) => messages.failed += 1,
        }
        match outcome {
            Err(failure) if failure.class.blames_backend() => {
                counted.failures += 1;
                if counted.failures >= MAX_FAILURES {
                    if counted.open_until.is_none() {
                        tracing::warn!(failures = counted.failures, code = failure.code, "breaker opened");
                    }
                    counted.open_until = Some(self.clock.elapsed() + PAUSE);
                }
            }
            _ => {
                if counted.open_until.is_some() {
                    tracing::info!("breaker closed: the backend is back");
                }
                counted.failures = 0;
                counted.open_until = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{clock::UnixMillis, model::Receipt};

    fn failed() -> Outcome {
        Err(SendFailure::new(
            FailureClass::AuthFailed,
            "nexmo_4",
            "wrong credentials",
        ))
    }

    #[test]
    fn a_backend_that_fails_in_a_row_is_left_alone_and_then_tried_once() {
        let clock = Clock::manual(UnixMillis(0));
        let breaker = Breaker::new(clock.clone());
        for _ in 0..MAX_FAILURES {
            assert!(breaker.admit().is_ok());
            breaker.record(&failed());
        }
        assert_eq!(breaker.state(), BreakerState::Open);
        assert_eq!(breaker.admit().unwrap_err().retry_after, Some(PAUSE));
        clock.advance(PAUSE);
        assert!(breaker.admit().is_ok());
        assert!(breaker.admit().is_err(), "one probe at a time");
        breaker.record(&failed());
        assert_eq!(breaker.state(), BreakerState::Open);
        clock.advance(PAUSE);
        assert!(breaker.admit().is_ok());
        breaker.record(&Ok(Receipt::default()));
        assert_eq!(breaker.state(), BreakerState::Closed);
        let counts = Counts {
            sent: 1,
            failed: u64::from(MAX_FAILURES) + 1,
            unknown: 0,
        };
        assert_eq!(breaker.counts(), counts);
        breaker.reset();
        assert_eq!(breaker.counts(), Counts::default());
    }

    #[test]
    fn a_bad_number_is_not_the_backends_fault() {
        let breaker = Breaker::new(Clock::manual(UnixMillis(0)));
        for _ in 0..100 {
            breaker.record(&Err(SendFailure::new(FailureClass::InvalidNumber, "nexmo_3", "")));
        }
        assert_eq!(breaker.state(), BreakerState::Closed);
    }
}
