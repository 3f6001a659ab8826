//! What is remembered of a number, in one row: the SMS to it, the wrong codes for it, and the last code that was made for
//! it, from which it is known whether the number was verified before.
//!
//! Invariant: the row is written when a code is made, not when it comes back. Rows of numbers lie all over the file, and
//! so a check that succeeds writes none.

use rusqlite::{Connection, OptionalExtension};
use serde::{Deserialize, Serialize};

use super::{Fault, counter::Kept, writer::Transaction};
use crate::{
    clock::UnixMillis,
    model::limits::Log,
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
    /// Whether a code before that one came back.
    verified: bool,
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
            Some(id) if !self.verified => came_back(connection, id),
            _ => Ok(self.verified),
        }
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

fn came_back(connection: &Connection, code_of: [u8; 16]) -> Result<bool, Fault> {
    let used = connection
        .prepare_cached("SELECT code_used_at IS NOT NULL FROM verification WHERE id = ?1")?
        .query_row([code_of], |row| row.get(0))
        .optional()?;
    Ok(used.unwrap_or(false))
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

/// A code of its own is made for the verification. Where neither a limit nor the guard looks at the number, nothing is
/// remembered.
pub(super) fn remember(transaction: &Transaction<'_>, new: &NewVerification) -> Result<(), Fault> {
    let Some(key) = key_of(&new.message) else {
        return Ok(());
    };
    let memory = Memory {
        verified: was_verified(transaction, key, new.now)?,
        last_code: Some(new.id.0),
        ends_at_ms: new.now.plus(new.remembered_for).0,
    };
    let numbers = &transaction.counters.numbers;
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
