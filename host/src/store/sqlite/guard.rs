//! The pumping guard's part of a transaction. It counts codes that did not come back in logs like those of the limits.

use rusqlite::{Connection, OptionalExtension, Row, params};
use serde_json::json;

use super::{
    Fault, counter, number,
    retention::{first_id_at, time_of},
    writer::Transaction,
};
use crate::{
    clock::UnixMillis,
    model::{
        FailureClass, Limit, Region,
        guard::{Action, Budgets, Conversion, Decision, Reason},
    },
    store::{Blocked, CounterKey, GuardKeys, Guarded, OutboxMessage, keyring::Digest},
};

/// The codes that a conversion is computed from, the latest ones.
const MAX_CODES: u32 = 10_000;

/// Judges a message, records the decision if anything spoke against it, and counts it if it may go.
pub(super) fn admit(
    transaction: &Transaction<'_>,
    message: &OutboxMessage,
    number: &Digest,
) -> Result<Option<Blocked>, Fault> {
    let Some(guarded) = &message.guard else {
        return Ok(None);
    };
    let (counters, keys, now) = (&transaction.counters, &guarded.keys, message.counted_at);
    let found = reasons(transaction, guarded, now)?;
    if !found.is_empty() {
        let verified_before = number::was_verified(transaction, keys.number, now)?;
        let is_blocked = guarded.enforce && !verified_before;
        record(transaction, message, number, &found, is_blocked, verified_before)?;
        // What never ends is told rather than a wait, and of two waits the longer.
        let worst = found
            .into_iter()
            .max_by_key(|found| (found.until.is_none(), found.until));
        if let Some(blocked) = worst.filter(|_| is_blocked) {
            // The address stays charged, so that asking has a bound. The number does not: its budget is its owner's.
            counter::take_back(transaction, &message.counters, FailureClass::Transient, now)?;
            return Ok(Some(blocked));
        }
    }
    for key in [keys.prefix, keys.country] {
        counters.logs.change(transaction, key, |log| log.add(1, now))?;
    }
    if let Some(address) = keys.address
        && !counters.countries.look(transaction, address, |countries| {
            countries.has(keys.country_code, now)
        })?
    {
        counters.countries.change(transaction, address, |countries| {
            countries.add(keys.country_code, now);
        })?;
    }
    Ok(None)
}

/// All that speaks against a message.
fn reasons(transaction: &Transaction<'_>, guarded: &Guarded, now: UnixMillis) -> Result<Vec<Blocked>, Fault> {
    let (counters, keys, budgets) = (&transaction.counters, &guarded.keys, &guarded.budgets);
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
        let reached = counters
            .logs
            .look(transaction, key, |log| log.refusal(limits, 1, now));
        reached.map(|reached| reached.map(|reached| reached.until))
    };
    full(
        Reason::PrefixUnverified,
        full_until(keys.prefix, &budgets.of_prefix())?,
    );
    // What the settings allow every country is enough for most, without a look at its history.
    if full_until(keys.country, &budgets.of_country(0))?.is_some() {
        let best_day = counters
            .histories
            .look(transaction, keys.history, |history| history.best_day(now))?;
        full(
            Reason::CountryUnverified,
            full_until(keys.country, &budgets.of_country(best_day))?,
        );
    }
    if let Some(address) = keys.address {
        let max = budgets.countries_per_address;
        let until = counters.countries.look(transaction, address, |countries| {
            countries.refusal(keys.country_code, max, now)
        })?;
        full(Reason::AddressCountries, until);
    }
    Ok(found)
}

/// Whether codes for the country of a message come back, as far as the guard knows: on its best day lately some did, and
/// what is out now is little beside them. So strangers who have codes sent to a country use up its good name.
pub(super) fn codes_come_back(
    transaction: &Transaction<'_>,
    message: &OutboxMessage,
    now: UnixMillis,
) -> Result<bool, Fault> {
    let Some(guarded) = &message.guard else {
        return Ok(false);
    };
    let (counters, keys) = (&transaction.counters, &guarded.keys);
    let best_day = counters
        .histories
        .look(transaction, keys.history, |history| history.best_day(now))?;
    let Some(limits) = Budgets::of_trusted_country(best_day) else {
        return Ok(false);
    };
    let too_many = counters
        .logs
        .look(transaction, keys.country, |log| log.refusal(&limits, 1, now))?;
    Ok(too_many.is_none())
}

fn record(
    transaction: &Transaction<'_>,
    message: &OutboxMessage,
    number: &Digest,
    found: &[Blocked],
    is_blocked: bool,
    verified_before: bool,
) -> Result<(), Fault> {
    let country = message.number.country();
    let reasons: Vec<_> = found.iter().map(|found| found.reason.code()).collect();
    let decided = reasons.iter().map(|reason| (*reason, is_blocked));
    transaction.decisions.borrow_mut().extend(decided);
    transaction
        .prepare_cached(
            "INSERT INTO decision (id, number, number_masked, country, blocked, verified_before, reasons)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(params![
            message.id.0,
            number,
            message.number.masked(),
            country.map(Region::code).unwrap_or_default(),
            is_blocked,
            verified_before,
            json!(reasons).to_string()
        ])?;
    Ok(())
}

/// Takes back a code that was not sent or came back, with all messages that carried it, counted from then on.
pub(super) fn take_back(
    transaction: &Transaction<'_>,
    keys: &GuardKeys,
    messages: u64,
    counted_from: UnixMillis,
) -> Result<(), Fault> {
    for key in [keys.prefix, keys.country] {
        transaction.counters.logs.change(transaction, key, |log| {
            log.take_back(messages, counted_from);
        })?;
    }
    Ok(())
}

/// A code came back.
pub(super) fn verified(
    transaction: &Transaction<'_>,
    keys: &GuardKeys,
    now: UnixMillis,
) -> Result<(), Fault> {
    let counters = &transaction.counters;
    // One number is one sign that people use the service there, or whoever has one could raise a country's budget by it.
    if !number::was_verified_today(transaction, keys.number, now)? {
        counters
            .histories
            .change(transaction, keys.history, |history| history.add(now))?;
    }
    let Some(address) = keys.address else {
        return Ok(());
    };
    let is_news = counters.countries.look(transaction, address, |countries| {
        countries.has_unverified(keys.country_code)
    })?;
    if is_news {
        counters.countries.change(transaction, address, |countries| {
            countries.verify(keys.country_code);
        })?;
    }
    Ok(())
}

/// The latest decisions, the latest one first.
pub(super) fn decisions(connection: &Connection, limit: u32) -> Result<Vec<Decision>, Fault> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {DECISION} FROM decision ORDER BY id DESC LIMIT ?1"
    ))?;
    let mut rows = statement.query([limit])?;
    let mut decisions = Vec::new();
    while let Some(row) = rows.next()? {
        decisions.push(read_decision(row)?);
    }
    Ok(decisions)
}

/// The one about a message.
pub(super) fn decision(connection: &Connection, id: [u8; 16]) -> Result<Option<Decision>, Fault> {
    let mut statement =
        connection.prepare_cached(&format!("SELECT {DECISION} FROM decision WHERE id = ?1"))?;
    let mut rows = statement.query([id])?;
    rows.next()?.map(read_decision).transpose()
}

const DECISION: &str = "id, number_masked, country, blocked, verified_before, reasons";

fn read_decision(row: &Row<'_>) -> Result<Decision, Fault> {
    let id: [u8; 16] = row.get(0)?;
    let reasons: String = row.get(5)?;
    Ok(Decision {
        at: time_of(&id),
        number: row.get(1)?,
        country: row.get(2)?,
        action: if row.get(3)? {
            Action::Blocked
        } else {
            Action::Allowed
        },
        verified_before: row.get(4)?,
        reasons: serde_json::from_str(&reasons)
            .map_err(|_| Fault::corrupt("a decision without readable reasons"))?,
    })
}

/// Of the codes that were made in a time, without those that certainly were not sent: how many, and how many came back.
pub(super) fn conversion(
    connection: &Connection,
    from: UnixMillis,
    to: UnixMillis,
) -> Result<Conversion, Fault> {
    let found = connection
        .prepare_cached(
            "SELECT count(*), count(code_used_at) FROM (
                 SELECT code_used_at FROM verification
                 WHERE id >= ?1 AND id < ?2 AND code_of IS NULL AND guarded AND ended IS NOT 'not_sent'
                 ORDER BY id DESC LIMIT ?3)",
        )?
        .query_row(params![first_id_at(from), first_id_at(to), MAX_CODES], |row| {
            Ok(Conversion {
                sent: row.get::<_, u32>(0)?.into(),
                verified: row.get::<_, u32>(1)?.into(),
            })
        })
        .optional()?;
    Ok(found.unwrap_or(Conversion { sent: 0, verified: 0 }))
}
