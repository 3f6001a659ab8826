//! Counters: a log each, read and written in the transaction of what is counted. Those of the whole service are in
//! every registration, so a transaction reads and writes a log once for all of its group.

use std::{
    cell::RefCell,
    collections::{HashMap, hash_map::Entry},
};

use rusqlite::{Connection, OptionalExtension, params};

use super::{Fault, millis, writer::Transaction};
use crate::{
    clock::UnixMillis,
    model::{FailureClass, LimitReached, limits::Log},
    store::{Counted, Counter, CounterKey},
};

/// The logs that a transaction has in hand.
#[derive(Default)]
pub(super) struct Counters(RefCell<HashMap<CounterKey, InHand>>);

#[derive(Default)]
struct InHand {
    log: Log,
    changed: bool,
}

impl Counters {
    fn with<T>(
        &self,
        connection: &Connection,
        key: CounterKey,
        use_it: impl FnOnce(&mut InHand) -> T,
    ) -> Result<T, Fault> {
        match self.0.borrow_mut().entry(key) {
            Entry::Occupied(mut in_hand) => Ok(use_it(in_hand.get_mut())),
            Entry::Vacant(place) => {
                let log = read(connection, key)?;
                Ok(use_it(place.insert(InHand { log, changed: false })))
            }
        }
    }

    fn change(
        &self,
        connection: &Connection,
        key: CounterKey,
        change: impl FnOnce(&mut Log),
    ) -> Result<(), Fault> {
        self.with(connection, key, |in_hand| {
            change(&mut in_hand.log);
            in_hand.changed = true;
        })
    }

    /// Writes what was changed.
    pub(super) fn write(&self, connection: &Connection) -> rusqlite::Result<()> {
        for (key, in_hand) in self
            .0
            .borrow_mut()
            .iter_mut()
            .filter(|(_, in_hand)| in_hand.changed)
        {
            write(connection, *key, &in_hand.log)?;
            in_hand.changed = false;
        }
        Ok(())
    }

    /// Lets go of all, since what an operation did to them is undone.
    pub(super) fn forget(&self) {
        self.0.borrow_mut().clear();
    }
}

/// Counts a registration in all of its counters, or in none if a limit is reached: then the one that lasts longest.
pub(super) fn count(
    transaction: &Transaction<'_>,
    counters: &[Counter],
    now: UnixMillis,
) -> Result<Result<(), LimitReached>, Fault> {
    let in_hand = &transaction.counters;
    let mut reached: Option<LimitReached> = None;
    for counter in counters {
        let refusal = in_hand.with(transaction, counter.key, |in_hand| {
            in_hand.log.refusal(&counter.limits, counter.amount, now)
        })?;
        reached = reached
            .into_iter()
            .chain(refusal)
            .max_by_key(|reached| reached.until);
    }
    if let Some(reached) = reached {
        return Ok(Err(reached));
    }
    for counter in counters {
        if counter.counted != Counted::FailedChecks {
            in_hand.change(transaction, counter.key, |log| log.add(counter.amount, now))?;
        }
    }
    Ok(Ok(()))
}

/// Takes back what was counted for a message that certainly was not sent.
pub(super) fn take_back(
    transaction: &Transaction<'_>,
    counters: &[Counter],
    failure: FailureClass,
    counted_at: UnixMillis,
) -> Result<(), Fault> {
    for counter in counters {
        if counter.counted.is_taken_back_after(failure) {
            transaction.counters.change(transaction, counter.key, |log| {
                log.take_back(counter.amount, counted_at);
            })?;
        }
    }
    Ok(())
}

/// Counts one more, whatever there is.
pub(super) fn add_one(transaction: &Transaction<'_>, key: CounterKey, now: UnixMillis) -> Result<(), Fault> {
    transaction
        .counters
        .change(transaction, key, |log| log.add(1, now))
}

fn read(connection: &Connection, key: CounterKey) -> Result<Log, Fault> {
    let log = connection
        .prepare_cached("SELECT log FROM counter WHERE key = ?1")?
        .query_row([key.0], |row| {
            Ok(postcard::from_bytes(row.get_ref(0)?.as_blob()?))
        })
        .optional()?;
    log.unwrap_or_else(|| Ok(Log::default()))
        .map_err(|_| Fault::corrupt("a counter that is no log"))
}

fn write(connection: &Connection, key: CounterKey, log: &Log) -> rusqlite::Result<()> {
    let Some(ends_at) = log.ends() else {
        connection
            .prepare_cached("DELETE FROM counter WHERE key = ?1")?
            .execute([key.0])?;
        return Ok(());
    };
    let bytes = postcard::to_stdvec(log).expect("a list of numbers can be written");
    connection
        .prepare_cached("INSERT OR REPLACE INTO counter (key, log, ends_at) VALUES (?1, ?2, ?3)")?
        .execute(params![key.0, bytes, millis(ends_at)])?;
    Ok(())
}
