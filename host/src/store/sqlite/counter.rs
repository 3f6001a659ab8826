//! Counters: what happened lately, read and written in the transaction of what is counted. Those of the whole service
//! and of a country are in every registration, so a transaction reads and writes each once for all of its group.

use std::{
    cell::RefCell,
    collections::{HashMap, hash_map::Entry},
};

use rusqlite::{Connection, OptionalExtension, params};
use serde::{Serialize, de::DeserializeOwned};

use super::{
    Fault, guard, millis,
    number::{self, Number},
    writer::Transaction,
};
use crate::{
    clock::UnixMillis,
    model::{
        FailureClass, Limit, LimitReached,
        guard::{Countries, History},
        limits::{Log, Share},
    },
    store::{CapLog, Counted, Counter, CounterKey, OutboxMessage},
};

/// What is kept under a key, for as long as anything in it counts.
pub(super) trait Kept: Default + Serialize + DeserializeOwned {
    /// When nothing in it counts any more; `None`: it is empty.
    fn ends(&self) -> Option<UnixMillis>;
}

impl Kept for Log {
    fn ends(&self) -> Option<UnixMillis> {
        Log::ends(self)
    }
}

impl Kept for History {
    fn ends(&self) -> Option<UnixMillis> {
        History::ends(self)
    }
}

impl Kept for Countries {
    fn ends(&self) -> Option<UnixMillis> {
        Countries::ends(self)
    }
}

/// What a transaction has in hand. A key is of one kind, since it begins with what is counted.
#[derive(Default)]
pub(super) struct Counters {
    pub(super) numbers: Hand<Number>,
    pub(super) logs: Hand<Log>,
    pub(super) histories: Hand<History>,
    pub(super) countries: Hand<Countries>,
}

impl Counters {
    /// Writes what was changed.
    pub(super) fn write(&self, connection: &Connection) -> rusqlite::Result<()> {
        self.numbers.write(connection)?;
        self.logs.write(connection)?;
        self.histories.write(connection)?;
        self.countries.write(connection)
    }

    /// Lets go of all, since what an operation did to them is undone.
    pub(super) fn forget(&self) {
        self.numbers.0.borrow_mut().clear();
        self.logs.0.borrow_mut().clear();
        self.histories.0.borrow_mut().clear();
        self.countries.0.borrow_mut().clear();
    }
}

impl Counters {
    /// Looks at what a limit is held against.
    fn look<R>(
        &self,
        connection: &Connection,
        counter: &Counter,
        look: impl FnOnce(&Log) -> R,
    ) -> Result<R, Fault> {
        let key = counter.key;
        match counter.counted {
            Counted::Number => self.numbers.look(connection, key, |number| look(&number.sent)),
            Counted::FailedChecks => self
                .numbers
                .look(connection, key, |number| look(&number.failed_checks)),
            _ => self.logs.look(connection, key, look),
        }
    }

    fn change(
        &self,
        connection: &Connection,
        counter: &Counter,
        change: impl FnOnce(&mut Log),
    ) -> Result<(), Fault> {
        let key = counter.key;
        match counter.counted {
            Counted::Number => self
                .numbers
                .change(connection, key, |number| change(&mut number.sent)),
            Counted::FailedChecks => self
                .numbers
                .change(connection, key, |number| change(&mut number.failed_checks)),
            _ => self.logs.change(connection, key, change),
        }
    }
}

/// All of one kind.
#[derive(Default)]
pub(super) struct Hand<T>(RefCell<HashMap<CounterKey, InHand<T>>>);

struct InHand<T> {
    kept: T,
    changed: bool,
}

impl<T: Kept> Hand<T> {
    fn with<R>(
        &self,
        connection: &Connection,
        key: CounterKey,
        use_it: impl FnOnce(&mut InHand<T>) -> R,
    ) -> Result<R, Fault> {
        match self.0.borrow_mut().entry(key) {
            Entry::Occupied(mut in_hand) => Ok(use_it(in_hand.get_mut())),
            Entry::Vacant(place) => {
                let kept = read(connection, key)?;
                Ok(use_it(place.insert(InHand { kept, changed: false })))
            }
        }
    }

    /// Looks at one.
    pub(super) fn look<R>(
        &self,
        connection: &Connection,
        key: CounterKey,
        look: impl FnOnce(&T) -> R,
    ) -> Result<R, Fault> {
        self.with(connection, key, |in_hand| look(&in_hand.kept))
    }

    /// Changes one.
    pub(super) fn change(
        &self,
        connection: &Connection,
        key: CounterKey,
        change: impl FnOnce(&mut T),
    ) -> Result<(), Fault> {
        self.with(connection, key, |in_hand| {
            change(&mut in_hand.kept);
            in_hand.changed = true;
        })
    }

    fn write(&self, connection: &Connection) -> rusqlite::Result<()> {
        for (key, in_hand) in self
            .0
            .borrow_mut()
            .iter_mut()
            .filter(|(_, in_hand)| in_hand.changed)
        {
            write(connection, *key, &in_hand.kept)?;
            in_hand.changed = false;
        }
        Ok(())
    }
}

/// The limit that keeps a message waiting for longest, if any is reached.
pub(super) fn refusal(
    transaction: &Transaction<'_>,
    message: &OutboxMessage,
    now: UnixMillis,
) -> Result<Option<LimitReached>, Fault> {
    // Mostly there is room for everybody, and nobody need know more of the number.
    let open = refusal_within(Share::Open, transaction, &message.counters, now)?;
    let Some((reached, Counted::Country | Counted::Service | Counted::Spend)) = open else {
        return Ok(open.map(|(reached, _)| reached));
    };
    match share(transaction, message, now)? {
        Share::Open => Ok(Some(reached)),
        share => {
            let refusal = refusal_within(share, transaction, &message.counters, now)?;
            Ok(refusal.map(|(reached, _)| reached))
        }
    }
}

fn refusal_within(
    share: Share,
    transaction: &Transaction<'_>,
    counters: &[Counter],
    now: UnixMillis,
) -> Result<Option<(LimitReached, Counted)>, Fault> {
    let mut reached: Option<(LimitReached, Counted)> = None;
    for counter in counters {
        let refusal = transaction.counters.look(transaction, counter, |log| {
            log.refusal_within(share, &counter.limits, counter.amount, now)
        })?;
        reached = reached
            .into_iter()
            .chain(refusal.map(|refusal| (refusal, counter.counted)))
            .max_by_key(|(reached, _)| reached.until);
    }
    Ok(reached)
}

/// Which share of the caps a message may use.
fn share(transaction: &Transaction<'_>, message: &OutboxMessage, now: UnixMillis) -> Result<Share, Fault> {
    let Some(number) = number::key_of(message) else {
        // Nothing is remembered of any number, so that nobody could ever use what is reserved.
        return Ok(Share::Whole);
    };
    if number::was_verified(transaction, number, now)? {
        return Ok(Share::Whole);
    }
    Ok(if guard::codes_come_back(transaction, message, now)? {
        Share::Country
    } else {
        Share::Open
    })
}

/// Counts a message in all of its counters, or in none if a limit is reached: then the one that lasts longest.
pub(super) fn count(
    transaction: &Transaction<'_>,
    message: &OutboxMessage,
    now: UnixMillis,
) -> Result<Result<(), LimitReached>, Fault> {
    if let Some(reached) = refusal(transaction, message, now)? {
        return Ok(Err(reached));
    }
    for counter in message.counters.iter() {
        if counter.counted != Counted::FailedChecks {
            let count = |log: &mut Log| log.add(counter.amount, now);
            transaction.counters.change(transaction, counter, count)?;
        }
    }
    Ok(Ok(()))
}

/// From when on there is room for one more SMS to a number.
pub(super) fn room_at(
    connection: &Connection,
    key: CounterKey,
    limits: &[Limit],
    now: UnixMillis,
) -> Result<UnixMillis, Fault> {
    let reached = read::<Number>(connection, key)?.sent.refusal(limits, 1, now);
    Ok(reached.map_or(now, |reached| reached.until))
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
            let take_back = |log: &mut Log| log.take_back(counter.amount, counted_at);
            transaction.counters.change(transaction, counter, take_back)?;
        }
    }
    Ok(())
}

/// Counts a wrong code for a number, whatever there is.
pub(super) fn add_failed_check(
    transaction: &Transaction<'_>,
    number: CounterKey,
    now: UnixMillis,
) -> Result<(), Fault> {
    let numbers = &transaction.counters.numbers;
    numbers.change(transaction, number, |number| number.failed_checks.add(1, now))
}

/// What was counted lately of the whole service and of each country, by what was counted and the country's code.
pub(super) fn caps(connection: &Connection) -> Result<Vec<CapLog>, Fault> {
    let mut statement =
        connection.prepare_cached("SELECT key, log FROM counter WHERE key >= ?1 AND key < ?2")?;
    let mut caps = Vec::new();
    for counted in [Counted::Service, Counted::Spend, Counted::Country] {
        // A key is its tag and sixteen bytes: those of one tag lie together.
        let (first, beyond) = ([counted.tag()], [counted.tag() + 1]);
        let mut rows = statement.query([&first[..], &beyond[..]])?;
        while let Some(row) = rows.next()? {
            let key: [u8; 17] = row.get(0)?;
            let country = key[1..].iter().take_while(|byte| **byte != 0);
            let log: Vec<u8> = row.get(1)?;
            caps.push(CapLog {
                counted,
                country: country.map(|byte| char::from(*byte)).collect(),
                log: postcard::from_bytes(&log)
                    .map_err(|_| Fault::corrupt("a counter that cannot be read"))?,
            });
        }
    }
    Ok(caps)
}

fn read<T: Kept>(connection: &Connection, key: CounterKey) -> Result<T, Fault> {
    let kept = connection
        .prepare_cached("SELECT log FROM counter WHERE key = ?1")?
        .query_row([key.0], |row| {
            Ok(postcard::from_bytes(row.get_ref(0)?.as_blob()?))
        })
        .optional()?;
    kept.unwrap_or_else(|| Ok(T::default()))
        .map_err(|_| Fault::corrupt("a counter that cannot be read"))
}

fn write<T: Kept>(connection: &Connection, key: CounterKey, kept: &T) -> rusqlite::Result<()> {
    let Some(ends_at) = kept.ends() else {
        connection
            .prepare_cached("DELETE FROM counter WHERE key = ?1")?
            .execute([key.0])?;
        return Ok(());
    };
    let bytes = postcard::to_stdvec(kept).expect("a list of numbers can be written");
    connection
        .prepare_cached("INSERT OR REPLACE INTO counter (key, log, ends_at) VALUES (?1, ?2, ?3)")?
        .execute(params![key.0, bytes, millis(ends_at)])?;
    Ok(())
}
