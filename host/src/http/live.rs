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
    /// What should be looked at, although all is served.
    pub notes: Vec<String>,
    /// Whose national numbers are accepted.
    pub default_region: Option<Region>,
    /// Whether what a caller says besides a number may hold addresses on the web.
    pub context_allows_urls: bool,
    /// Who may use the native API. Empty: everybody.
    pub keys: Vec<ApiKey>,
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
