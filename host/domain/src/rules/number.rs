//! What is remembered of a number: the SMS to it, the wrong codes for it, and the last code that was made for it, from
//! which it is known whether the number was verified before.
//!
//! Invariant: this is written when a code is made, not when the last one comes back. Rows of numbers lie all over a
//! database, so a check that succeeds mostly writes none.

use serde::{Deserialize, Serialize};

use super::cache::{CounterRow, Counters};
use crate::{
    clock::UnixMillis,
    model::{guard::day_of, limits::Log},
    rules::counter::CounterKey,
};

/// A number, as far as limits and guard look at it.
#[derive(Default, Serialize, Deserialize)]
pub struct Number {
    /// SMS to it.
    pub sent: Log,
    /// Wrong codes for it.
    pub(super) failed_checks: Log,
    memory: Memory,
}

/// From what it is known whether the number was verified.
#[derive(Clone, Copy, Default, Serialize, Deserialize)]
struct Memory {
    /// The verification that the last code was made for.
    last_code: Option<[u8; 16]>,
    /// The last day that a code but that one came back on, by its number since 1970; 0: none did. The first day stands
    /// for one that is not known, as what was written before days were.
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

    /// The day that the last code came back on.
    fn last_code_on<C: Counters>(self, counters: &C) -> Result<Option<u64>, C::Error> {
        let Some(last) = self.last_code else {
            return Ok(None);
        };
        let used_at = counters.code_used_at(last)?;
        Ok(used_at.map(|used_at| day_of(used_at).max(1)))
    }
}

impl CounterRow for Number {
    fn ends(&self) -> Option<UnixMillis> {
        let memory = UnixMillis(self.memory.ends_at_ms);
        let memory = (memory > UnixMillis(0)).then_some(memory);
        [self.sent.ends(), self.failed_checks.ends(), memory]
            .into_iter()
            .flatten()
            .max()
    }
}

fn memory<C: Counters>(counters: &C, key: CounterKey, now: UnixMillis) -> Result<Memory, C::Error> {
    let numbers = &counters.cache().numbers;
    numbers.look(counters, key, |number| Memory::of(number, now))
}

/// Whether one of the codes came back that were made for the number as long as it is remembered.
pub fn was_verified<C: Counters>(counters: &C, key: CounterKey, now: UnixMillis) -> Result<bool, C::Error> {
    let memory = memory(counters, key, now)?;
    Ok(memory.verified_on != 0 || memory.last_code_on(counters)?.is_some())
}

/// The code of a verification comes back. Returns whether another code of the number came back on the same day: then
/// the number is counted already among those that are verified that day.
///
/// Of the last code that was made, its verification tells that it came back, and nothing is written here; of one before
/// it, as when codes for several purposes are pending, only this row can.
pub fn comes_back<C: Counters>(
    counters: &C,
    key: CounterKey,
    verification: [u8; 16],
    now: UnixMillis,
) -> Result<bool, C::Error> {
    let (memory, today) = (memory(counters, key, now)?, day_of(now));
    let is_last = memory.last_code == Some(verification);
    let of_last = if is_last {
        None
    } else {
        memory.last_code_on(counters)?
    };
    let was_verified_today = memory.verified_on >= today || of_last.is_some_and(|day| day >= today);
    if !is_last && memory.last_code.is_some() && memory.verified_on < today {
        let numbers = &counters.cache().numbers;
        numbers.change(counters, key, |number| number.memory.verified_on = today)?;
    }
    Ok(was_verified_today)
}

/// A code of its own is made for a verification of the number, which is remembered until then.
pub fn remember<C: Counters>(
    counters: &C,
    key: CounterKey,
    verification: [u8; 16],
    now: UnixMillis,
    until: UnixMillis,
) -> Result<(), C::Error> {
    let before = memory(counters, key, now)?;
    let of_last = before.last_code_on(counters)?.unwrap_or(0);
    let memory = Memory {
        verified_on: before.verified_on.max(of_last),
        last_code: Some(verification),
        ends_at_ms: until.0,
    };
    let numbers = &counters.cache().numbers;
    numbers.change(counters, key, |number| number.memory = memory)
}

/// Forgets whether the number was verified. What limits count stays, and ends by itself. Returns whether there was
/// anything to forget.
pub fn forget<C: Counters>(counters: &C, key: CounterKey) -> Result<bool, C::Error> {
    let numbers = &counters.cache().numbers;
    if numbers.look(counters, key, |number| number.memory.last_code.is_none())? {
        return Ok(false);
    }
    numbers.change(counters, key, |number| number.memory = Memory::default())?;
    Ok(true)
}

/// Counts a wrong code for the number, whatever was counted before.
pub fn add_failed_check<C: Counters>(counters: &C, key: CounterKey, now: UnixMillis) -> Result<(), C::Error> {
    let numbers = &counters.cache().numbers;
    numbers.change(counters, key, |number| number.failed_checks.add(1, now))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::rules::{counter::Counted, in_memory::InMemory};

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    #[test]
    fn a_number_counts_once_a_day_whichever_of_its_codes_come_back() {
        let (key, now) = (Counted::Number.in_public("n"), UnixMillis(1_700_000_000_000));
        let [login, payout, later] = [[1; 16], [2; 16], [3; 16]];
        for order in [
            [login, payout, later],
            [later, login, payout],
            [payout, later, login],
        ] {
            let engine = InMemory::default();
            for code in [login, payout, later] {
                let Ok(()) = remember(&engine, key, code, now, now.plus(30 * DAY));
            }
            assert_eq!(was_verified(&engine, key, now), Ok(false));
            let mut was_counted = Vec::new();
            for code in order {
                engine.comes_back(code, now);
                was_counted.push(comes_back(&engine, key, code, now).unwrap());
                assert_eq!(was_verified(&engine, key, now), Ok(true));
            }
            assert_eq!(was_counted, [false, true, true], "{order:?}");
        }
    }

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
