//! The domain service: registers numbers and judges the codes that come back. It owns the rules, and knows
//! neither HTTP nor the command line, neither a database nor a backend.
//!
//! Invariants: it never sends an SMS, but puts it into the store's outbox and waits for what becomes of it;
//! a registration is durable before its message can leave; what was begun is not left half done when the client
//! goes away.

mod administration;
#[cfg(test)]
mod against_reference;
mod authority;
mod caps;
mod check;
mod guard;
#[cfg(test)]
mod guard_stories;
#[cfg(test)]
mod key_stories;
mod lifecycle;
#[cfg(test)]
mod lifecycle_stories;
#[cfg(test)]
mod limit_stories;
mod limits;
mod outbox;
#[cfg(test)]
mod receipt_stories;
mod receipts;
mod register;
mod retention;
#[cfg(test)]
mod retention_stories;
#[cfg(test)]
mod stories;
#[cfg(test)]
mod stranger_stories;
#[cfg(test)]
mod test_number_stories;
mod text;
#[cfg(test)]
mod time_stories;

use std::{future::pending, panic::resume_unwind, sync::Arc, time::Duration};

use tokio::{sync::Notify, task::JoinError};

pub use administration::Administration;
pub use authority::{Authorities, AuthorityCall, BaseValidate, CodeAuthority, Responsible};
pub use caps::CapUse;
pub use check::{CheckError, CheckRequest};
pub use guard::{Guard, GuardMode};
pub use lifecycle::{Judged, ResendError};
pub use limits::{Paid, Prices, RateLimits, SegmentPrices};
pub use outbox::{NoPlace, Outbox};
pub use register::{RegisterError, RegisterRequest, Registered, ResendPolicy};

use crate::{
    clock::Clock,
    entropy::Entropy,
    metrics::{ReceiptMetrics, VerificationMetrics},
    model::{CodeFormat, Messages},
    rules::attempt::Terms,
    store::{CheckRules, Keyring, RequestKey, Store},
    trace::Trace,
};

/// How many verifications may share a code before the number's next one must wait for its end.
const MAX_SESSIONS_PER_CODE: u32 = 5;

/// The rules that the settings give.
#[derive(Clone, Debug)]
pub struct Policy {
    /// What codes look like.
    pub code_format: CodeFormat,
    /// How long a code is good.
    pub expiration: Duration,
    /// Whether a code is good for one use.
    pub only_once: bool,
    /// What a further SMS within a code's life carries.
    pub resend: ResendPolicy,
    /// How many wrong codes a code survives, at least 1.
    pub max_failed_attempts: u32,
    /// The texts.
    pub messages: Arc<Messages>,
    /// How many SMS may be asked for.
    pub limits: RateLimits,
    /// What speaks against an SMS, and what is done about it.
    pub guard: Guard,
    /// How long records are kept.
    pub record_retention: Duration,
    /// How long the audit log is kept.
    pub audit_retention: Duration,
}

/// The service. Cheap to clone.
#[derive(Clone)]
pub struct Verifier {
    policy: Policy,
    store: Arc<dyn Store>,
    keyring: Arc<Keyring>,
    authorities: Arc<dyn Authorities>,
    outbox: Arc<dyn Outbox>,
    clock: Clock,
    entropy: Entropy,
    metrics: Arc<VerificationMetrics>,
    receipts: Arc<ReceiptMetrics>,
    /// Told when a report is kept whose message is not known yet.
    early_report: Arc<Notify>,
    /// What the request that is served is known again by.
    request: Option<RequestKey>,
}

impl Verifier {
    /// Puts the service together. The dispatcher takes what goes into `outbox`.
    pub fn new(
        policy: Policy,
        store: Arc<dyn Store>,
        keyring: Arc<Keyring>,
        authorities: Arc<dyn Authorities>,
        outbox: Arc<dyn Outbox>,
        clock: Clock,
        entropy: Entropy,
    ) -> Self {
        Self {
            policy,
            store,
            keyring,
            authorities,
            outbox,
            clock,
            entropy,
            metrics: Arc::default(),
            receipts: Arc::default(),
            early_report: Arc::default(),
            request: None,
        }
    }

    /// What it counts, under all rules.
    pub fn metrics(&self) -> Arc<VerificationMetrics> {
        Arc::clone(&self.metrics)
    }

    /// The same service under other rules.
    #[must_use]
    pub fn under(&self, policy: Policy) -> Self {
        Self {
            policy,
            ..self.clone()
        }
    }

    /// The same service for a request that may come again: what is done under its key is done once. Without a key it is
    /// this one.
    #[must_use]
    pub fn once(&self, request: Option<RequestKey>) -> Self {
        Self {
            request,
            ..self.clone()
        }
    }

    fn check_rules(&self) -> CheckRules {
        CheckRules {
            terms: Terms {
                now: self.clock.now(),
                only_once: self.policy.only_once,
                max_failed_attempts: self.policy.max_failed_attempts,
                bound: None,
            },
            failed_checks: None,
            guard: None,
        }
    }
}

/// Runs to its end, also when whoever waits for it is dropped.
async fn to_its_end<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    let work = Trace::scope(Trace::current(), work);
    match tokio::spawn(work).await.map_err(JoinError::try_into_panic) {
        Ok(done) => done,
        Err(Ok(panic)) => resume_unwind(panic),
        // The runtime ends, and drops this too.
        Err(Err(_)) => pending().await,
    }
}
