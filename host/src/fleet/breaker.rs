//! A circuit breaker for the provider: after some failures in a row that are the provider's fault, it opens, and
//! messages are refused at once for a while; then one is let through as a probe.
//!
//! Invariant: only what arose at the provider counts ([`Sign`]). What this process or a library did to a message
//! neither opens the breaker nor closes it.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::{
    clock::Clock,
    metrics::Counter,
    model::{FailureClass, Origin, Outcome, SendFailure, Sign},
};

/// The code of a message that the breaker refuses.
const OPEN: &str = "breaker_open";

/// Failures in a row that open the breaker.
const MAX_FAILURES: u32 = 5;
/// How long it stays open before one message is let through.
const PAUSE: Duration = Duration::from_secs(15);

/// The state of the breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    /// Closed: every message is let through.
    Closed,
    /// Open: no message is let through.
    Open,
    /// Half open: one message is let through, as a probe of whether the provider is back.
    Probing,
}

/// Counts the failures of one backend's provider.
pub struct Breaker {
    clock: Clock,
    counted: Mutex<Counted>,
    /// How often it and those before it opened.
    opened: Arc<Counter>,
}

#[derive(Default)]
struct Counted {
    failures: u32,
    /// The time on the clock's `elapsed` at which a probe is let through.
    open_until: Option<Duration>,
    probing: bool,
    /// Whether its backend left the fleet.
    retired: bool,
    messages: Counts,
}

/// A message that was let through; its outcome is to be recorded.
pub struct Admitted {
    is_probe: bool,
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
    /// A closed breaker.
    pub fn new(clock: Clock) -> Self {
        Self {
            clock,
            counted: Mutex::default(),
            opened: Arc::default(),
        }
    }

    /// A closed one for the backend that takes the place of this one's. What is still under way in this one's does not
    /// count for it; only how often it opened goes on.
    #[must_use]
    pub fn successor(&self) -> Self {
        Self {
            clock: self.clock.clone(),
            counted: Mutex::default(),
            opened: Arc::clone(&self.opened),
        }
    }

    /// Its backend left the fleet: what is still under way in it opens and closes nothing, and is not told.
    pub fn retire(&self) {
        self.counted().retired = true;
    }

    /// The messages so far, by outcome.
    pub fn counts(&self) -> Counts {
        self.counted().messages
    }

    /// How often it opened, with all that had its place before.
    pub fn opened(&self) -> u64 {
        self.opened.get()
    }

    /// Its state now.
    pub fn state(&self) -> BreakerState {
        let counted = self.counted();
        match counted.open_until {
            None => BreakerState::Closed,
            Some(until) if counted.probing || self.clock.elapsed() >= until => BreakerState::Probing,
            Some(_) => BreakerState::Open,
        }
    }

    /// Lets a message through, or refuses it with a failure that names the time of the next try.
    pub fn admit(&self) -> Result<Admitted, SendFailure> {
        let mut counted = self.counted();
        let mut admitted = Admitted { is_probe: false };
        let Some(until) = counted.open_until else {
            return Ok(admitted);
        };
        let now = self.clock.elapsed();
        if now >= until {
            counted.probing = true;
            // If the outcome of the probe is never recorded, another is let through after the same pause.
            counted.open_until = Some(now + PAUSE);
            admitted.is_probe = true;
            return Ok(admitted);
        }
        let mut refusal = SendFailure::new(
            FailureClass::Transient,
            OPEN,
            "the provider failed several times in a row and is left alone for a while",
        )
        .arisen_in(Origin::Host);
        refusal.retry_after = Some(until.saturating_sub(now));
        Err(refusal)
    }

    /// What became of a message that was let through.
    pub fn record(&self, admitted: &Admitted, outcome: &Outcome) {
        let mut counted = self.counted();
        if counted.retired {
            return;
        }
        if admitted.is_probe {
            counted.probing = false;
        }
        let messages = &mut counted.messages;
        match outcome {
            Ok(_) => messages.sent += 1,
            Err(failure) if failure.class == FailureClass::OutcomeUnknown => messages.unknown += 1,
            Err(_) => messages.failed += 1,
        }
        let sign = outcome.as_ref().map_or_else(SendFailure::sign, |_| Sign::Up);
        match (sign, outcome) {
            (Sign::Down, Err(failure)) => {
                counted.failures += 1;
                if counted.failures >= MAX_FAILURES {
                    if counted.open_until.is_none() {
                        self.opened.inc();
                        tracing::warn!(
                            failures = counted.failures,
                            class = failure.class.as_str(),
                            code = failure.code,
                            "breaker opened: the provider failed that often in a row, so that messages are refused for {} s; \
                             codes that were sent can still be checked",
                            PAUSE.as_secs()
                        );
                    }
                    counted.open_until = Some(self.clock.elapsed() + PAUSE);
                }
            }
            (Sign::Nothing, _) => {
                // The probe did not reach the provider: the next message is one at once.
                if admitted.is_probe && counted.open_until.is_some() {
                    counted.open_until = Some(self.clock.elapsed());
                }
            }
            (Sign::Up | Sign::Down, _) => {
                if counted.open_until.is_some() {
                    tracing::info!("breaker closed: the provider is back");
                }
                counted.failures = 0;
                counted.open_until = None;
            }
        }
    }

    fn counted(&self) -> MutexGuard<'_, Counted> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
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

    fn send(breaker: &Breaker, outcome: &Outcome) {
        let admitted = breaker.admit().unwrap();
        breaker.record(&admitted, outcome);
    }

    #[test]
    fn a_provider_that_fails_in_a_row_is_left_alone_and_then_tried_once() {
        let clock = Clock::manual(UnixMillis(0));
        let breaker = Breaker::new(clock.clone());
        for _ in 0..MAX_FAILURES {
            send(&breaker, &failed());
        }
        assert_eq!(breaker.state(), BreakerState::Open);
        let refusal = breaker.admit().err().unwrap();
        assert_eq!(refusal.retry_after, Some(PAUSE));
        clock.advance(PAUSE);
        let probe = breaker.admit().unwrap();
        assert!(breaker.admit().is_err(), "one probe at a time");
        breaker.record(&probe, &failed());
        assert_eq!(breaker.state(), BreakerState::Open);
        clock.advance(PAUSE);
        send(&breaker, &Ok(Receipt::default()));
        assert_eq!(breaker.state(), BreakerState::Closed);
        let counts = Counts {
            sent: 1,
            failed: u64::from(MAX_FAILURES) + 1,
            unknown: 0,
        };
        assert_eq!(breaker.counts(), counts);
        let next = breaker.successor();
        assert_eq!(
            (next.counts(), next.opened()),
            (Counts::default(), breaker.opened())
        );
    }

    #[test]
    fn a_bad_number_is_not_the_providers_fault() {
        let breaker = Breaker::new(Clock::manual(UnixMillis(0)));
        for _ in 0..100 {
            send(
                &breaker,
                &Err(SendFailure::new(FailureClass::InvalidNumber, "nexmo_3", "")),
            );
        }
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    /// Whatever its class, it neither counts as a failure nor as a success.
    #[test]
    fn what_this_process_or_a_library_did_says_nothing_about_the_provider() {
        for origin in [Origin::Library, Origin::Host] {
            for (class, name) in FailureClass::ALL {
                let ours: Outcome = Err(SendFailure::new(class, "P704", "").arisen_in(origin));
                let clock = Clock::manual(UnixMillis(0));
                let breaker = Breaker::new(clock.clone());
                for _ in 0..100 {
                    send(&breaker, &ours);
                }
                assert_eq!(breaker.state(), BreakerState::Closed, "{name}");
                for _ in 1..MAX_FAILURES {
                    send(&breaker, &failed());
                }
                send(&breaker, &ours);
                send(&breaker, &failed());
                assert_eq!(breaker.state(), BreakerState::Open, "{name}");
                clock.advance(PAUSE);
                send(&breaker, &ours);
                assert_eq!(breaker.state(), BreakerState::Probing, "{name}");
                send(&breaker, &Ok(Receipt::default()));
                assert_eq!(breaker.state(), BreakerState::Closed, "{name}");
            }
        }
    }

    #[test]
    fn what_is_under_way_in_the_backend_before_does_not_count_for_the_next() {
        let before = Breaker::new(Clock::manual(UnixMillis(0)));
        let under_way: Vec<Admitted> = (0..MAX_FAILURES).map(|_| before.admit().unwrap()).collect();
        let next = before.successor();
        before.retire();
        for admitted in &under_way {
            before.record(admitted, &failed());
        }
        assert_eq!(
            (before.state(), next.state()),
            (BreakerState::Closed, BreakerState::Closed)
        );
        assert_eq!((next.counts(), next.opened()), (Counts::default(), 0));
    }
}
