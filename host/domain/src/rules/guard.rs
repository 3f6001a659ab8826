//! The guard against SMS pumping: it counts codes that did not come back, and judges messages by them.
//!
//! Invariant: a number that was verified before is never refused.

use super::{cache::Counters, number};
use crate::{
    clock::UnixMillis,
    model::{
        Limit,
        guard::{Budgets, Reason},
        limits::Log,
    },
    rules::{
        counter::CounterKey,
        guarded::{Blocked, GuardKeys, Guarded},
    },
};

/// What the guard found against a message: to be recorded.
#[derive(Debug)]
pub struct Finding {
    /// Every reason.
    pub reasons: Vec<Reason>,
    /// Whether the number was verified before.
    pub verified_before: bool,
}

/// Judges a message; `None`: nothing speaks against it. With what was found comes the reason that it is refused for,
/// unless it may go all the same.
pub(super) fn judge<C: Counters>(
    counters: &C,
    guarded: &Guarded,
    now: UnixMillis,
) -> Result<Option<(Finding, Option<Blocked>)>, C::Error> {
    let found = reasons(counters, guarded, now)?;
    if found.is_empty() {
        return Ok(None);
    }
    let verified_before = number::was_verified(counters, guarded.keys.number, now)?;
    let reasons = found.iter().map(|found| found.reason).collect();
    // A refusal that never ends is answered rather than a wait, and of two waits the longer.
    let worst = found
        .into_iter()
        .max_by_key(|found| (found.until.is_none(), found.until));
    let blocked = worst.filter(|_| guarded.enforce && !verified_before);
    let finding = Finding {
        reasons,
        verified_before,
    };
    Ok(Some((finding, blocked)))
}

/// Counts a message that goes, as one whose code has not come back.
pub(super) fn count<C: Counters>(counters: &C, keys: &GuardKeys, now: UnixMillis) -> Result<(), C::Error> {
    let cache = counters.cache();
    for key in [keys.prefix, keys.country] {
        cache.logs.change(counters, key, |log| log.add(1, now))?;
    }
    if let Some(address) = keys.address
        && !cache.countries.look(counters, address, |countries| {
            countries.has(keys.country_code, now)
        })?
    {
        cache.countries.change(counters, address, |countries| {
            countries.add(keys.country_code, now);
        })?;
    }
    Ok(())
}

/// All that speaks against a message.
fn reasons<C: Counters>(counters: &C, guarded: &Guarded, now: UnixMillis) -> Result<Vec<Blocked>, C::Error> {
    let (cache, keys, budgets) = (counters.cache(), &guarded.keys, &guarded.budgets);
    let mut found: Vec<_> = guarded
        .reasons
        .iter()
        .map(|reason| Blocked {
            reason: *reason,
            until: None,
        })
        .collect();
    let mut full = |reason, until: Option<UnixMillis>| {
        found.extend(until.map(|until| Blocked {
            reason,
            until: Some(until),
        }));
    };
    let full_until = |key: CounterKey, limits: &[Limit]| {
        let reached = cache.logs.look(counters, key, |log| log.refusal(limits, 1, now));
        reached.map(|reached| reached.map(|reached| reached.until))
    };
    full(
        Reason::PrefixUnverified,
        full_until(keys.prefix, &budgets.of_prefix())?,
    );
    // What the settings allow every country is enough for most, without a look at its history.
    if full_until(keys.country, &budgets.of_country(0))?.is_some() {
        let best_day = best_day(counters, keys, now)?;
        full(
            Reason::CountryUnverified,
            full_until(keys.country, &budgets.of_country(best_day))?,
        );
    }
    if let Some(address) = keys.address {
        let max = budgets.countries_per_address;
        let until = cache.countries.look(counters, address, |countries| {
            countries.refusal(keys.country_code, max, now)
        })?;
        full(Reason::AddressCountries, until);
    }
    Ok(found)
}

fn best_day<C: Counters>(counters: &C, keys: &GuardKeys, now: UnixMillis) -> Result<u64, C::Error> {
    let histories = &counters.cache().histories;
    histories.look(counters, keys.history, |history| history.best_day(now))
}

/// Whether codes for a country come back: on its best day lately some did, and few are out now compared with them. So
/// strangers who have codes sent to a country use up its good name.
pub(super) fn codes_come_back<C: Counters>(
    counters: &C,
    keys: &GuardKeys,
    now: UnixMillis,
) -> Result<bool, C::Error> {
    let Some(limits) = Budgets::of_trusted_country(best_day(counters, keys, now)?) else {
        return Ok(false);
    };
    let logs = &counters.cache().logs;
    let too_many = logs.look(counters, keys.country, |log| log.refusal(&limits, 1, now))?;
    Ok(too_many.is_none())
}

/// Takes back a code that was not sent or came back, with all messages that carried it, counted from then on.
pub fn take_back<C: Counters>(
    counters: &C,
    keys: &GuardKeys,
    messages: u64,
    counted_from: UnixMillis,
) -> Result<(), C::Error> {
    for key in [keys.prefix, keys.country] {
        let take_back = |log: &mut Log| log.take_back(messages, counted_from);
        counters.cache().logs.change(counters, key, take_back)?;
    }
    Ok(())
}

/// Counts that a code came back. `was_verified_today`: what [`number::comes_back`] says.
pub fn count_verified<C: Counters>(
    counters: &C,
    keys: &GuardKeys,
    was_verified_today: bool,
    now: UnixMillis,
) -> Result<(), C::Error> {
    let cache = counters.cache();
    // One number is one sign that people use the service there, or its owner alone could raise a country's budget by
    // it.
    if !was_verified_today {
        cache
            .histories
            .change(counters, keys.history, |history| history.add(now))?;
    }
    let Some(address) = keys.address else {
        return Ok(());
    };
    let is_news = cache.countries.look(counters, address, |countries| {
        countries.has_unverified(keys.country_code)
    })?;
    if is_news {
        cache.countries.change(counters, address, |countries| {
            countries.verify(keys.country_code);
        })?;
    }
    Ok(())
}
