//! An engine for tests of rules: it has all its counters in the cache.

use std::{cell::RefCell, collections::HashMap, convert::Infallible};

use super::{
    cache::{CounterCache, CounterRow, Counters},
    counter::CounterKey,
};
use crate::clock::UnixMillis;

/// The engine, which holds nothing at first.
#[derive(Default)]
pub(super) struct InMemory {
    counters: CounterCache,
    codes_used_at: RefCell<HashMap<[u8; 16], UnixMillis>>,
}

impl InMemory {
    /// The code of a verification comes back.
    pub(super) fn comes_back(&self, verification: [u8; 16], now: UnixMillis) {
        self.codes_used_at.borrow_mut().insert(verification, now);
    }
}

impl Counters for InMemory {
    type Error = Infallible;

    fn cache(&self) -> &CounterCache {
        &self.counters
    }

    fn read<T: CounterRow>(&self, _: CounterKey) -> Result<T, Infallible> {
        Ok(T::default())
    }

    fn code_used_at(&self, verification: [u8; 16]) -> Result<Option<UnixMillis>, Infallible> {
        Ok(self.codes_used_at.borrow().get(&verification).copied())
    }
}
