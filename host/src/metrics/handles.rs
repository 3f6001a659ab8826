//! What each part of the program counts.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use super::series::{Counter, Histogram, SIZE, Series};
use crate::model::{FailureClass, Outcome, PhoneNumber, Region, Verdict};

/// Requests, by the routes that the router knows.
#[derive(Debug, Default)]
pub struct HttpMetrics {
    pub(super) routes: Series<String, Route>,
}

#[derive(Debug, Default)]
pub(super) struct Route {
    /// By method, status and machine code.
    pub(super) answers: Series<(&'static str, u16, &'static str), Counter>,
    /// By method.
    pub(super) durations: Series<&'static str, Histogram>,
}

impl HttpMetrics {
    /// A request was answered. `route`: the pattern that it matched; `code`: the machine code of an error, else empty.
    pub fn answered(&self, method: &str, route: &str, status: u16, code: &'static str, took: Duration) {
        let method = known_method(method);
        self.routes.with(route, |route| {
            route.answers.with(&(method, status, code), Counter::inc);
            route.durations.with(&method, |duration| duration.took(took));
        });
    }
}

/// A method as it is counted and logged. Clients may make methods up: of any number, and with a phone number in them.
pub fn known_method(method: &str) -> &'static str {
    ["GET", "POST", "DELETE", "HEAD", "OPTIONS", "PUT", "PATCH"]
        .into_iter()
        .find(|known| *known == method)
        .unwrap_or("other")
}

/// Messages of verifications, on their way through the dispatcher.
#[derive(Debug, Default)]
pub struct MessageMetrics {
    /// By backend, by `sent` or the class of the failure, and by where that arose.
    pub(super) outcomes: Series<(Arc<str>, &'static str, &'static str), Counter>,
    /// How long each try took, by backend.
    pub(super) tries: Series<Arc<str>, Histogram>,
    pub(super) begun: Counter,
    pub(super) ended: Counter,
    /// Codes that were not sent back in time.
    pub(super) expired: Counter,
}

impl MessageMetrics {
    /// A message has a slot, until what is returned is dropped.
    pub fn begin(self: &Arc<Self>) -> UnderWay {
        self.begun.inc();
        UnderWay(Arc::clone(self))
    }

    /// A backend was asked once.
    pub fn tried(&self, backend: &Arc<str>, took: Duration) {
        self.tries.with(backend, |tries| tries.took(took));
    }

    /// What became of a message in the end.
    pub fn settled(&self, backend: &Arc<str>, outcome: &Outcome) {
        let (class, origin) = match outcome {
            Ok(_) => ("sent", ""),
            Err(failure) => (failure.class.as_str(), failure.origin.as_str()),
        };
        self.outcomes
            .with(&(Arc::clone(backend), class, origin), Counter::inc);
    }

    /// So many codes were forgotten because they had expired.
    pub fn expired(&self, codes: u64) {
        self.expired.add(codes);
    }
}

/// A message that has a slot.
pub struct UnderWay(Arc<MessageMetrics>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.ended.inc();
    }
}

/// The life of verifications.
#[derive(Debug, Default)]
pub struct VerificationMetrics {
    pub(super) begun: Series<Option<Region>, Counter>,
    pub(super) verified: Series<Option<Region>, Counter>,
    /// By reason.
    pub(super) failed: Series<(&'static str, Option<Region>), Counter>,
    pub(super) checks: Series<&'static str, Counter>,
    /// By the limit's name.
    pub(super) limited: Series<&'static str, Counter>,
}

impl VerificationMetrics {
    /// A code was made durable for a number.
    pub fn begun(&self, number: &PhoneNumber) {
        self.begun.with(&number.country(), Counter::inc);
    }

    /// A verification that was begun ended since its SMS failed.
    pub fn not_sent(&self, number: &PhoneNumber, class: FailureClass) {
        let reason = match class {
            FailureClass::OutcomeUnknown => "sms_outcome_unknown",
            _ => "sms_not_sent",
        };
        self.failed.with(&(reason, number.country()), Counter::inc);
    }

    /// A code came back. `number`: whose, where that is known.
    pub fn checked(&self, number: Option<&PhoneNumber>, verdict: Verdict) {
        let name = match verdict {
            Verdict::Valid => "valid",
            Verdict::Invalid => "invalid",
            Verdict::Expired => "expired",
            Verdict::AlreadyVerified => "already_verified",
            Verdict::SessionTokenInvalid => "session_token_invalid",
            Verdict::TooManyAttempts => "too_many_attempts",
        };
        self.checks.with(&name, Counter::inc);
        if verdict == Verdict::Valid {
            self.verified
                .with(&number.and_then(PhoneNumber::country), Counter::inc);
        }
    }

    /// All attempts on a verification are used up by a wrong code.
    pub fn used_up(&self, number: &PhoneNumber) {
        self.failed
            .with(&("too_many_attempts", number.country()), Counter::inc);
    }

    /// A message was refused for a limit.
    pub fn limited(&self, limit: &'static str) {
        self.limited.with(&limit, Counter::inc);
    }
}

/// The thread that writes the database.
#[derive(Debug)]
pub struct StoreMetrics {
    /// How long a group took, from its begin until it was durable.
    pub(super) commits: Histogram,
    /// How many operations were in it.
    pub(super) operations: Histogram,
    pub(super) failed: Counter,
    /// By reason, and whether the message was refused.
    pub(super) decisions: Series<(&'static str, bool), Counter>,
    /// How long it took to move the log.
    pub(super) log_moves: Histogram,
    pub(super) log_bytes: AtomicU64,
}

impl Default for StoreMetrics {
    fn default() -> Self {
        Self {
            commits: Histogram::default(),
            operations: Histogram::new(&SIZE),
            failed: Counter::default(),
            decisions: Series::default(),
            log_moves: Histogram::default(),
            log_bytes: AtomicU64::default(),
        }
    }
}

impl StoreMetrics {
    /// A group of so many operations ended.
    pub fn committed(&self, operations: usize, took: Duration, is_durable: bool) {
        self.commits.took(took);
        self.operations.saw(operations as u64);
        if !is_durable {
            self.failed.inc();
        }
    }

    /// The guard found something against a message.
    pub fn decided(&self, reason: &'static str, is_blocked: bool) {
        self.decisions.with(&(reason, is_blocked), Counter::inc);
    }

    /// What was in the log was moved to the database file.
    pub fn log_moved(&self, took: Duration) {
        self.log_moves.took(took);
    }

    /// The log is so long now.
    pub fn log_is(&self, bytes: u64) {
        self.log_bytes.store(bytes, Ordering::Relaxed);
    }
}

/// Worker processes, by the library that they run.
#[derive(Debug, Default)]
pub struct WorkerMetrics {
    pub(super) started: Series<String, Counter>,
    /// By cause.
    pub(super) ended: Series<(String, &'static str), Counter>,
    /// By process id.
    pub(super) running: Mutex<BTreeMap<u32, String>>,
}

impl WorkerMetrics {
    /// A process was started.
    pub fn started(&self, library: &str, process: u32) {
        self.started.with(library, Counter::inc);
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.insert(process, library.to_owned());
    }

    /// It is gone; `cause`: one of a few words.
    pub fn ended(&self, library: &str, process: u32, cause: &'static str) {
        self.ended.with(&(library.to_owned(), cause), Counter::inc);
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.remove(&process);
    }
}
