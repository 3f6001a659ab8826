//! One backend of the fleet, under the name that the settings give it.
//!
//! Invariant: nothing of a member changes while it serves but what it counts. Another library, other options or other
//! bounds make another member, its successor; so a call has one member from begin to end.

use std::{sync::Arc, time::Duration};

use tokio_util::task::{TaskTracker, task_tracker::TaskTrackerToken};

use super::{BackendFacts, Bounds, Breaker, Lane, Sender, status::title};
use crate::{
    clock::Clock,
    verifier::{CodeAuthority, SegmentPrices},
};

/// How long a member whose successor is there may take over the calls that it has, before that is logged.
const DRAIN_LIMIT: Duration = Duration::from_secs(30);

/// What a member is made of, from whatever kind of backend.
pub struct Parts {
    /// What it is.
    pub facts: BackendFacts,
    /// Sends.
    pub sender: Arc<dyn Sender>,
    /// Makes, words and judges codes, as far as the backend does that itself.
    pub authority: Arc<dyn CodeAuthority>,
    /// The calls in it that hold foreign code: each has a token of this, and the member is dropped after the last.
    pub calls: TaskTracker,
}

impl Parts {
    /// Of a backend that has no foreign code.
    pub fn of<T: Sender + CodeAuthority + 'static>(facts: BackendFacts, backend: &Arc<T>) -> Self {
        Self {
            facts,
            sender: Arc::clone(backend) as Arc<dyn Sender>,
            authority: Arc::clone(backend) as Arc<dyn CodeAuthority>,
            calls: TaskTracker::new(),
        }
    }
}

/// One backend of the fleet.
pub struct Member {
    name: Arc<str>,
    facts: Arc<BackendFacts>,
    sender: Arc<dyn Sender>,
    authority: Arc<dyn CodeAuthority>,
    lane: Arc<Lane>,
    prices: SegmentPrices,
    breaker: Breaker,
    calls: TaskTracker,
}

impl Member {
    /// `before`: who had the name until now. Its lane goes on if the bounds are the same; its breaker does not, for
    /// what it knows is of another library or other credentials.
    pub fn new(name: &str, parts: Parts, bounds: Bounds, before: Option<&Self>, clock: &Clock) -> Self {
        let lane = before.map(Self::lane).filter(|lane| lane.bounds() == bounds);
        Self {
            name: name.into(),
            facts: Arc::new(parts.facts),
            sender: parts.sender,
            authority: parts.authority,
            lane: lane.map_or_else(|| Arc::new(Lane::new(bounds)), Arc::clone),
            breaker: match before {
                Some(before) => before.breaker.successor(),
                None => Breaker::new(clock.clone()),
            },
            prices: SegmentPrices::default(),
            calls: parts.calls,
        }
    }

    /// The same, whose SMS cost this.
    #[must_use]
    pub fn at_prices(self, prices: SegmentPrices) -> Self {
        Self { prices, ..self }
    }

    /// By the settings.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// What it is.
    pub fn facts(&self) -> &Arc<BackendFacts> {
        &self.facts
    }

    /// What its messages are recorded and counted under: `nexmo.NexmoBackend`.
    pub fn backend(&self) -> &Arc<str> {
        &self.facts.backend
    }

    /// Sends through it.
    pub fn sender(&self) -> &dyn Sender {
        &*self.sender
    }

    /// What it decides about codes.
    pub fn authority(&self) -> &Arc<dyn CodeAuthority> {
        &self.authority
    }

    /// Its bounds.
    pub fn lane(&self) -> &Arc<Lane> {
        &self.lane
    }

    /// What its SMS cost.
    pub fn prices(&self) -> &SegmentPrices {
        &self.prices
    }

    /// As messages to an operator name it.
    pub fn title(&self) -> String {
        title(&self.name, &self.facts.backend)
    }

    /// Spares its provider.
    pub fn breaker(&self) -> &Breaker {
        &self.breaker
    }

    /// Has the member, for as long as it is held, count as one that a call is in.
    pub fn hold(&self) -> TaskTrackerToken {
        self.calls.token()
    }

    /// Waits for the calls in it, and drops it. What is not ended by the limit ends by its own deadline.
    pub(super) async fn drain(self: Arc<Self>) {
        self.calls.close();
        let drained = tokio::time::timeout(DRAIN_LIMIT, self.calls.wait()).await;
        let (backend, version) = (self.title(), &*self.facts.version);
        if drained.is_ok() {
            tracing::debug!(%backend, version, "the backend before is drained");
        } else {
            let calls = self.calls.len();
            tracing::warn!(%backend, version, calls, "the backend before still has calls");
            self.calls.wait().await;
        }
    }
}
