//! What a reload exchanges, as a whole.
//!
//! Invariant: a request is answered by one generation of the rules from begin to end.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::{
    model::{ApiKey, Region},
    verifier::Verifier,
};

/// One generation of the rules.
#[derive(Clone)]
pub struct Generation {
    /// The rules.
    pub verifier: Verifier,
    /// What sends.
    pub backend: Loaded,
    /// For the readiness probe: what should be looked at, although all is served.
    pub notes: Vec<String>,
    /// Whose national numbers are accepted.
    pub default_region: Option<Region>,
    /// Whether what a caller says besides a number may hold addresses on the web.
    pub context_allows_urls: bool,
    /// Who may use the native API. Empty: everybody.
    pub keys: Vec<ApiKey>,
}

/// The backend that serves, for whoever looks after it.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// `nexmo.NexmoBackend`.
    pub name: String,
    /// The version of its library.
    pub version: String,
    /// The version of the ABI that its library was built against: `1.0`.
    pub abi: String,
    /// The hash of its library, in lower-case hex.
    pub sha256: String,
    /// Who signed its library, by the name in the settings, where signatures count.
    pub signed_by: Option<String>,
    /// Where its library runs: `inline` or `worker`.
    pub isolation: String,
    /// Whether it is for tests and tutorials.
    pub sandbox: bool,
    /// What the sandbox of its worker process cannot keep it from on this system, in one sentence.
    pub weakness: Option<String>,
}

/// The generation that serves.
pub struct Live(ArcSwap<Generation>);

impl Live {
    /// With a first one.
    pub fn new(first: Generation) -> Self {
        Self(ArcSwap::from_pointee(first))
    }

    /// The one that serves now.
    pub fn get(&self) -> Arc<Generation> {
        self.0.load_full()
    }

    /// Requests from now on are served by this one.
    pub fn set(&self, next: Generation) {
        self.0.store(Arc::new(next));
    }
}
