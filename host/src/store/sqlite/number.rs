//! What is remembered of a number, in one row: the SMS to it, the wrong codes for it, and the last code that was made for
//! it, from which it is known whether the number was verified before.
//!
//! Invariant: the row is written when a code is made, not when it comes back. Rows of numbers lie all over the file, and
//! so a check that succeeds writes none.

use rusqlite::{Connection, OptionalExtension};
use serde::{Deserialize, Serialize};

use super::{Fault, counter::Kept, time, writer::Transaction};
use crate::{
    clock::UnixMillis,
    model::{guard::day_of, limits::Log},
    store::{Counted, CounterKey, NewVerification, OutboxMessage},
};

#[derive(Default, Serialize, Deserialize)]
pub(super) struct Number {
    pub(super) sent: Log,
    pub(super) failed_checks: Log,
    memory: Memory,
}

/// From what it is known whether the number was verified.
#[derive(Clone, Copy, Default, Serialize, Deserialize)]
struct Memory {
    /// The verification that the last code was made for.
    last_code: Option<[u8; 16]>,
    /// The last day that a code before that one came back on, by its number since 1970; 0: none did. The first day stands for
    /// one that is not known, as what was written before days were.
    verified_on: u64,
    ends_at_ms: u64,
}

impl Memory {
    fn of(number: &Number, now: UnixMillis) -> Self {
        if number.memory.ends_at_ms > now.0 {
            number.memory
        } else {
            Self::default()
        }
    }

    fn is_verified(self, connection: &Connection) -> Result<bool, Fault> {
        match self.last_code {
            Some(id) if self.verified_on == 0 => Ok(came_back_on(connection, id)?.is_some()),
            _ => Ok(self.verified_on != 0),
        }
    }

    /// The last day that any of the codes came back on, the last one among them.
    fn last_verified_on(self, connection: &Connection) -> Result<u64, Fault> {
        let of_last = match self.last_code {
            Some(id) => came_back_on(connection, id)?,
            None => None,
        };
        Ok(self.verified_on.max(of_last.unwrap_or(0)))
    }
}

impl Kept for Number {
    fn ends(&self) -> Option<UnixMillis> {
        let memory = UnixMillis(self.memory.ends_at_ms);
        let memory = (memory > UnixMillis(0)).then_some(memory);
        [self.sent.ends(), self.failed_checks.ends(), memory]
            .into_iter()
            .flatten()
            .max()
    }
}

/// The day on which a code came back; `None`: it did not, or is not stored any more.
fn came_back_on(connection: &Connection, code_of: [u8; 16]) -> Result<Option<u64>, Fault> {
    let used = connection
        .prepare_cached("SELECT code_used_at FROM verification WHERE id = ?1")?
        .query_row([code_of], |row| row.get::<_, Option<i64>>(0))
        .optional()?;
    Ok(used.flatten().map(|used| day_of(time(used)).max(1)))
}

/// Whether one of the codes came back that were made for the number as long as it is remembered.
pub(super) fn was_verified(
    transaction: &Transaction<'_>,
    key: CounterKey,
    now: UnixMillis,
) -> Result<bool, Fault> {
    let numbers = &transaction.counters.numbers;
    let memory = numbers.look(transaction, key, |number| Memory::of(number, now))?;
    memory.is_verified(transaction)
}

/// Whether one of the codes before the last one came back on the same day: then the number is counted already among those
/// that are verified that day. Asked when the last one comes back.
pub(super) fn was_verified_today(
    transaction: &Transaction<'_>,
    key: CounterKey,
    now: UnixMillis,
) -> Result<bool, Fault> {
    let numbers = &transaction.counters.numbers;
    let verified_on = numbers.look(transaction, key, |number| Memory::of(number, now).verified_on)?;
    Ok(verified_on >= day_of(now))
}

/// A code of its own is made for the verification. Where neither a limit nor the guard looks at the number, nothing is
/// remembered.
pub(super) fn remember(transaction: &Transaction<'_>, new: &NewVerification) -> Result<(), Fault> {
    let Some(key) = key_of(&new.message) else {
        return Ok(());
    };
    let numbers = &transaction.counters.numbers;
    let before = numbers.look(transaction, key, |number| Memory::of(number, new.now))?;
    let memory = Memory {
        verified_on: before.last_verified_on(transaction)?,
        last_code: Some(new.id.0),
        ends_at_ms: new.now.plus(new.remembered_for).0,
    };
    numbers.change(transaction, key, |number| number.memory = memory)
}

/// Where its number is remembered; `None`: neither a limit nor the guard looks at it.
pub(super) fn key_of(message: &OutboxMessage) -> Option<CounterKey> {
    let counted = message
        .counters
        .iter()
        .find(|counter| counter.counted == Counted::Number);
    let guarded = || message.guard.as_ref().map(|guarded| guarded.keys.number);
    counted.map(|counter| counter.key).or_else(guarded)
}

/// Forgets whether the number was verified. What limits count stays, and ends by itself. Returns whether there was anything
/// to forget.
pub(super) fn forget(transaction: &Transaction<'_>, key: CounterKey) -> Result<bool, Fault> {
    let numbers = &transaction.counters.numbers;
    if numbers.look(transaction, key, |number| number.memory.last_code.is_none())? {
        return Ok(false);
    }
    numbers.change(transaction, key, |number| number.memory = Memory::default())?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_before_days_were_is_read() {
        for verified in [false, true] {
            let before = (
                Log::default(),
                Log::default(),
                (Some([7_u8; 16]), verified, 9_u64),
            );
            let bytes = postcard::to_stdvec(&before).unwrap();
            let Memory {
                last_code,
                verified_on,
                ends_at_ms,
            } = postcard::from_bytes::<Number>(&bytes).unwrap().memory;
            assert_eq!(
                (last_code, verified_on != 0, ends_at_ms),
                (Some([7; 16]), verified, 9)
            );
        }
    }
}
