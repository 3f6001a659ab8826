//! The counters that decisions read and change.
//!
//! The counters of the whole service and of a country are in every registration, so an engine reads and writes each
//! once for a whole group of operations: the group's decisions share one [`CounterCache`].
//!
//! Invariant: a counter that is not in the cache is read from the engine before it is used, never taken as empty.

use std::{
    cell::RefCell,
    collections::{HashMap, hash_map::Entry},
};

use serde::{Serialize, de::DeserializeOwned};

use super::number::Number;
use crate::{
    clock::UnixMillis,
    model::{
        guard::{Countries, History},
        limits::Log,
    },
    rules::counter::{Counted, Counter, CounterKey},
};

/// What is stored under a key, for as long as anything in it counts.
pub trait CounterRow: Default + Serialize + DeserializeOwned {
    /// When nothing in it counts any more; `None`: it is empty.
    fn ends(&self) -> Option<UnixMillis>;
}

impl CounterRow for Log {
    fn ends(&self) -> Option<UnixMillis> {
        Log::ends(self)
    }
}

impl CounterRow for History {
    fn ends(&self) -> Option<UnixMillis> {
        History::ends(self)
    }
}

impl CounterRow for Countries {
    fn ends(&self) -> Option<UnixMillis> {
        Countries::ends(self)
    }
}

/// What decisions ask of an engine: to be implemented by what an operation of it runs in.
pub trait Counters {
    /// Why the engine could not answer.
    type Error;

    /// The counters that were read so far.
    fn cache(&self) -> &CounterCache;

    /// Reads the counter of that key; one that is not stored is empty.
    fn read<T: CounterRow>(&self, key: CounterKey) -> Result<T, Self::Error>;

    /// When the code of a verification came back; `None`: it did not, or is not stored any more.
    fn code_used_at(&self, verification: [u8; 16]) -> Result<Option<UnixMillis>, Self::Error>;
}

/// The counters that were read and changed, by kind. A key is of one kind, since it begins with what is counted.
#[derive(Default)]
pub struct CounterCache {
    /// What is remembered of numbers.
    pub numbers: Cached<Number>,
    /// What limits, caps and budgets count.
    pub logs: Cached<Log>,
    /// Verified numbers of countries, by day.
    pub histories: Cached<History>,
    /// Countries of client addresses.
    pub countries: Cached<Countries>,
}

impl CounterCache {
    /// Drops everything: the operation that changed it is undone.
    pub fn clear(&self) {
        self.numbers.0.borrow_mut().clear();
        self.logs.0.borrow_mut().clear();
        self.histories.0.borrow_mut().clear();
        self.countries.0.borrow_mut().clear();
    }
}

/// Looks at what a limit is held against.
pub(super) fn look_at<C: Counters, R>(
    counters: &C,
    counter: &Counter,
    look: impl FnOnce(&Log) -> R,
) -> Result<R, C::Error> {
    let (cache, key) = (counters.cache(), counter.key);
    match counter.counted {
        Counted::Number => cache.numbers.look(counters, key, |number| look(&number.sent)),
        Counted::FailedChecks => cache
            .numbers
            .look(counters, key, |number| look(&number.failed_checks)),
        _ => cache.logs.look(counters, key, look),
    }
}

/// Changes what a limit is held against.
pub(super) fn change_at<C: Counters>(
    counters: &C,
    counter: &Counter,
    change: impl FnOnce(&mut Log),
) -> Result<(), C::Error> {
    let (cache, key) = (counters.cache(), counter.key);
    match counter.counted {
        Counted::Number => cache
            .numbers
            .change(counters, key, |number| change(&mut number.sent)),
        Counted::FailedChecks => cache
            .numbers
            .change(counters, key, |number| change(&mut number.failed_checks)),
        _ => cache.logs.change(counters, key, change),
    }
}

/// All counters of one kind.
#[derive(Default)]
pub struct Cached<T>(RefCell<HashMap<CounterKey, Entered<T>>>);

struct Entered<T> {
    row: T,
    is_changed: bool,
}

impl<T: CounterRow> Cached<T> {
    fn with<C: Counters, R>(
        &self,
        counters: &C,
        key: CounterKey,
        use_it: impl FnOnce(&mut Entered<T>) -> R,
    ) -> Result<R, C::Error> {
        match self.0.borrow_mut().entry(key) {
            Entry::Occupied(mut entered) => Ok(use_it(entered.get_mut())),
            Entry::Vacant(vacant) => {
                let row = counters.read(key)?;
                let is_changed = false;
                Ok(use_it(vacant.insert(Entered { row, is_changed })))
            }
        }
    }

    /// Looks at one.
    pub(super) fn look<C: Counters, R>(
        &self,
        counters: &C,
        key: CounterKey,
        look: impl FnOnce(&T) -> R,
    ) -> Result<R, C::Error> {
        self.with(counters, key, |entered| look(&entered.row))
    }

    /// Changes one.
    pub(super) fn change<C: Counters>(
        &self,
        counters: &C,
        key: CounterKey,
        change: impl FnOnce(&mut T),
    ) -> Result<(), C::Error> {
        self.with(counters, key, |entered| {
            change(&mut entered.row);
            entered.is_changed = true;
        })
    }

    /// Stores what was changed since the last time.
    pub fn store_changes<E>(&self, mut store: impl FnMut(CounterKey, &T) -> Result<(), E>) -> Result<(), E> {
        let mut rows = self.0.borrow_mut();
        for (key, entered) in rows.iter_mut().filter(|(_, entered)| entered.is_changed) {
            store(*key, &entered.row)?;
            entered.is_changed = false;
        }
        Ok(())
    }
}
