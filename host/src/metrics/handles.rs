//! The counters of each part of the program. A part calls the method of what happened; which metrics that changes is
//! decided here.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use super::series::{Counter, DELIVERY, Histogram, SIZE, Series};
use crate::{
    fleet::Member,
    model::{Delivery, DeliveryReport, FailureClass, Outcome, PhoneNumber, Region, ReportedMessage, Verdict},
    store::{ReportOutcome, StoreObserver},
};

/// Counts requests by route. The label is the pattern of a route, so a client cannot create new labels.
#[derive(Debug, Default)]
pub struct HttpMetrics {
    pub(super) routes: Series<String, Route>,
}

/// The metrics of one route.
#[derive(Debug, Default)]
pub(super) struct Route {
    /// Answers, by method, status and machine code.
    pub(super) answers: Series<(&'static str, u16, &'static str), Counter>,
    /// Durations, by method.
    pub(super) durations: Series<&'static str, Histogram>,
}

impl HttpMetrics {
    /// Counts an answered request. `route` is the pattern that matched, not the path; `code` is the machine code of an
    /// error, or empty.
    pub fn answered(&self, method: &str, route: &str, status: u16, code: &'static str, took: Duration) {
        let method = known_method(method);
        self.routes.with(route, |route| {
            route.answers.with(&(method, status, code), Counter::inc);
            route.durations.with(&method, |duration| duration.took(took));
        });
    }
}

/// The method as it is counted and logged; a method that is not known becomes `other`. Clients can invent methods:
/// without end, or with a phone number in them.
pub fn known_method(method: &str) -> &'static str {
    ["GET", "POST", "DELETE", "HEAD", "OPTIONS", "PUT", "PATCH"]
        .into_iter()
        .find(|known| *known == method)
        .unwrap_or("other")
}

/// A backend of the fleet: its name in the settings, and what it is.
pub(super) type Labels = (Arc<str>, Arc<str>);

fn labels(member: &Member) -> Labels {
    (Arc::clone(member.name()), Arc::clone(member.backend()))
}

/// Counts messages of verifications on their way through the dispatcher.
#[derive(Debug, Default)]
pub struct MessageMetrics {
    /// How messages ended: by backend, by `sent` or the class of the failure, and by where a failure arose.
    pub(super) outcomes: Series<(Labels, &'static str, &'static str), Counter>,
    /// How long each try took, by backend.
    pub(super) tries: Series<Labels, Histogram>,
    pub(super) begun: Counter,
    pub(super) ended: Counter,
    /// Codes that were not sent back before they expired.
    pub(super) expired: Counter,
}

impl MessageMetrics {
    /// Counts a message as being sent, until the returned value is dropped.
    pub fn begin(self: &Arc<Self>) -> UnderWay {
        self.begun.inc();
        UnderWay(Arc::clone(self))
    }

    /// Counts one call of a backend. A message may take several.
    pub fn tried(&self, member: &Member, took: Duration) {
        self.tries.with(&labels(member), |tries| tries.took(took));
    }

    /// Counts the final outcome of a message. `member`: who was asked last.
    pub fn settled(&self, member: &Member, outcome: &Outcome) {
        let (class, origin) = match outcome {
            Ok(_) => ("sent", ""),
            Err(failure) => (failure.class.as_str(), failure.origin.as_str()),
        };
        self.outcomes.with(&(labels(member), class, origin), Counter::inc);
    }

    /// Counts codes that were deleted because they expired.
    pub fn expired(&self, codes: u64) {
        self.expired.add(codes);
    }
}

/// A message that is being sent. Dropping it ends that, on every path, so the gauge cannot drift.
pub struct UnderWay(Arc<MessageMetrics>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.ended.inc();
    }
}

/// Counts what providers report about messages.
#[derive(Debug, Default)]
pub struct ReceiptMetrics {
    /// Requests of providers: by backend, and by what became of them.
    pub(super) requests: Series<(Arc<str>, &'static str), Counter>,
    /// Reports: by backend, by the state that they give, and by what became of them.
    pub(super) reports: Series<(Arc<str>, &'static str, &'static str), Counter>,
    /// How long messages took to arrive: by backend and country.
    pub(super) arrivals: Series<(Arc<str>, Option<Region>), Arrival>,
    /// Reports that were kept, and whose message was never known.
    pub(super) given_up: Counter,
}

/// How long messages took to arrive.
#[derive(Debug)]
pub(super) struct Arrival(pub(super) Histogram);

impl Default for Arrival {
    fn default() -> Self {
        Self(Histogram::new(&DELIVERY))
    }
}

impl ReceiptMetrics {
    /// Counts a request of a provider: `taken`, `refused` by the library, `failed` or `out_of_bounds` in it, or sent to a
    /// `wrong_address`.
    pub fn asked(&self, backend: &Arc<str>, outcome: &'static str) {
        self.requests.with(&(Arc::clone(backend), outcome), Counter::inc);
    }

    /// Counts what became of a report.
    pub fn reported(&self, backend: &Arc<str>, report: &DeliveryReport, outcome: &ReportOutcome) {
        let name = match outcome {
            ReportOutcome::Recorded(_) => "recorded",
            ReportOutcome::NothingNew => "nothing_new",
            ReportOutcome::Early => "early",
            ReportOutcome::Unknown => "unknown",
        };
        let labels = (Arc::clone(backend), report.state.as_str(), name);
        self.reports.with(&labels, Counter::inc);
        if let ReportOutcome::Recorded(message) = outcome {
            self.recorded(message);
        }
    }

    /// Counts a report that was kept until its message was known.
    pub fn recorded_later(&self, message: &ReportedMessage) {
        let labels = (
            Arc::from(message.backend.as_str()),
            message.delivery.state(),
            "recorded_later",
        );
        self.reports.with(&labels, Counter::inc);
        self.recorded(message);
    }

    /// Counts reports that were kept, and whose message was never known.
    pub fn given_up(&self, reports: u64) {
        self.given_up.add(reports);
    }

    fn recorded(&self, message: &ReportedMessage) {
        if message.is_new_state && message.delivery == Delivery::Delivered {
            let took = message.id.began_at().until(message.reported.received_at);
            let labels = (Arc::from(message.backend.as_str()), message.country);
            let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
            self.arrivals.with(&labels, |arrival| arrival.0.saw(millis));
        }
    }
}

/// Counts how verifications begin and end.
#[derive(Debug, Default)]
pub struct VerificationMetrics {
    /// By country.
    pub(super) begun: Series<Option<Region>, Counter>,
    pub(super) verified: Series<Option<Region>, Counter>,
    /// By reason and country.
    pub(super) failed: Series<(&'static str, Option<Region>), Counter>,
    pub(super) checks: Series<&'static str, Counter>,
    /// By the name of the limit.
    pub(super) limited: Series<&'static str, Counter>,
}

impl VerificationMetrics {
    /// Counts a verification whose code was stored durably.
    pub fn begun(&self, number: &PhoneNumber) {
        self.begun.with(&number.country(), Counter::inc);
    }

    /// Counts a verification that ended because its SMS was not sent.
    pub fn not_sent(&self, number: &PhoneNumber, class: FailureClass) {
        let reason = match class {
            FailureClass::OutcomeUnknown => "sms_outcome_unknown",
            _ => "sms_not_sent",
        };
        self.failed.with(&(reason, number.country()), Counter::inc);
    }

    /// Counts a code that a client sent. `number` is the one that it belongs to, if that is known.
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

    /// Counts a verification whose last attempt was used up by a wrong code.
    pub fn used_up(&self, number: &PhoneNumber) {
        self.failed
            .with(&("too_many_attempts", number.country()), Counter::inc);
    }

    /// Counts a message that was refused because a limit was reached.
    pub fn limited(&self, limit: &'static str) {
        self.limited.with(&limit, Counter::inc);
    }
}

/// Counts the work of the thread that writes the database.
#[derive(Debug)]
pub struct StoreMetrics {
    /// How long a group of writes took, from its begin until it was durable.
    pub(super) commits: Histogram,
    /// How many operations were in a group.
    pub(super) operations: Histogram,
    pub(super) failed: Counter,
    /// What the guard found, by reason and by whether the message was refused.
    pub(super) decisions: Series<(&'static str, bool), Counter>,
    /// How long it took to move the database's write-ahead log into its file.
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

impl StoreObserver for StoreMetrics {
    fn committed(&self, operations: usize, took: Duration, is_durable: bool) {
        self.commits.took(took);
        self.operations.saw(operations as u64);
        if !is_durable {
            self.failed.inc();
        }
    }

    fn decided(&self, reason: &'static str, is_blocked: bool) {
        self.decisions.with(&(reason, is_blocked), Counter::inc);
    }

    fn log_moved(&self, took: Duration) {
        self.log_moves.took(took);
    }

    fn log_is(&self, bytes: u64) {
        self.log_bytes.store(bytes, Ordering::Relaxed);
    }
}
