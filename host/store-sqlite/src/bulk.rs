//! Bulk jobs.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, params};

use super::{Fault, millis, time};
use crate::{
    clock::UnixMillis,
    model::{Outcome, PhoneNumber},
    rules::bulk::{self, Held, Lease, State},
    store::{BulkBatch, BulkFailure, BulkLease, BulkProgress, JobId, Keyring, RunId, StoreError},
};

/// A job with all that is sealed of it.
pub(super) struct Rows {
    job: JobId,
    message: Vec<u8>,
    numbers: Vec<Vec<u8>>,
}

impl Rows {
    pub(super) fn prepare(
        job: JobId,
        numbers: &[PhoneNumber],
        message: &str,
        keyring: &Keyring,
    ) -> Result<Self, StoreError> {
        let seal = |text: &str| keyring.seal(text, &job.0);
        Ok(Self {
            job,
            message: seal(message)?,
            numbers: numbers
                .iter()
                .map(|number| seal(number.e164()))
                .collect::<Result<_, _>>()?,
        })
    }
}

pub(super) fn begin(connection: &Connection, rows: &Rows, now: UnixMillis) -> Result<bool, Fault> {
    let new = connection
        .prepare_cached("INSERT OR IGNORE INTO bulk_job (id, sealed, created_at) VALUES (?1, ?2, ?3)")?
        .execute(params![rows.job.0, rows.message, millis(now)])?;
    if new == 0 {
        return Ok(false);
    }
    let mut insert =
        connection.prepare_cached("INSERT INTO bulk_item (job, item, sealed) VALUES (?1, ?2, ?3)")?;
    for (item, number) in (0_i64..).zip(&rows.numbers) {
        insert.execute(params![rows.job.0, item, number])?;
    }
    Ok(true)
}

fn open_number(sealed: &[u8], job: JobId, keyring: &Keyring) -> Result<PhoneNumber, Fault> {
    keyring
        .open_sealed(sealed, &job.0)
        .and_then(|number| PhoneNumber::stored(&number))
        .ok_or_else(|| Fault::corrupt("a number of a bulk job cannot be opened with the keys given"))
}

/// What a dead run had under way may or may not have been sent.
fn give_up_leased(connection: &Connection, job: JobId) -> Result<(), Fault> {
    let state = State::given_up();
    let (name, code) = columns(&state);
    connection
        .prepare_cached(
            "UPDATE bulk_item SET state = ?2, failure_code = ?3 WHERE job = ?1 AND state = 'leased'",
        )?
        .execute(params![job.0, name, code])?;
    Ok(())
}

/// A state as it is stored: a word or the class of a failure, and the code of that.
fn columns(state: &State) -> (&str, Option<&str>) {
    match state {
        State::Waiting => ("waiting", None),
        State::Leased => ("leased", None),
        State::Sent => ("sent", None),
        State::Failed { class, code } => (class, Some(code)),
    }
}

fn state(name: String, code: Option<String>) -> State {
    match name.as_str() {
        "waiting" => State::Waiting,
        "leased" => State::Leased,
        "sent" => State::Sent,
        _ => State::Failed {
            class: name,
            code: code.unwrap_or_default(),
        },
    }
}

pub(super) fn lease(
    connection: &Connection,
    keyring: &Keyring,
    job: JobId,
    run: RunId,
    now: UnixMillis,
    lease: Duration,
    limit: u32,
) -> Result<BulkLease, Fault> {
    type Found = (Vec<u8>, Option<[u8; 16]>, Option<i64>);
    let found: Option<Found> = connection
        .prepare_cached("SELECT sealed, run, run_until FROM bulk_job WHERE id = ?1")?
        .query_row([job.0], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    let Some((sealed, holder, until)) = found else {
        return Ok(BulkLease::NothingWaits);
    };
    let held = holder.map(|holder| Held {
        is_own: holder == run.0,
        until: time(until.unwrap_or(0)),
    });
    match bulk::lease(held, now) {
        Lease::HeldByAnother { until } => return Ok(BulkLease::HeldByAnother { until }),
        Lease::Taken { gives_up: true } => give_up_leased(connection, job)?,
        Lease::Taken { gives_up: false } => {}
    }
    connection
        .prepare_cached("UPDATE bulk_job SET run = ?2, run_until = ?3 WHERE id = ?1")?
        .execute(params![job.0, run.0, millis(now.plus(lease))])?;
    let waiting = connection
        .prepare_cached(
            "SELECT item, sealed FROM bulk_item WHERE job = ?1 AND state = 'waiting' ORDER BY item LIMIT ?2",
        )?
        .query_map(params![job.0, limit], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?))
        })?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    if waiting.is_empty() {
        return Ok(BulkLease::NothingWaits);
    }
    let message = keyring
        .open_sealed(&sealed, &job.0)
        .ok_or_else(|| Fault::corrupt("the text of a bulk job cannot be opened with the keys given"))?;
    let mut items = Vec::with_capacity(waiting.len());
    let mut take =
        connection.prepare_cached("UPDATE bulk_item SET state = 'leased' WHERE job = ?1 AND item = ?2")?;
    for (item, sealed) in waiting {
        take.execute(params![job.0, item])?;
        items.push((
            u64::try_from(item).unwrap_or(0),
            open_number(&sealed, job, keyring)?,
        ));
    }
    Ok(BulkLease::Batch(BulkBatch { message, items }))
}

pub(super) fn renew(
    connection: &Connection,
    job: JobId,
    run: RunId,
    until: UnixMillis,
) -> Result<bool, Fault> {
    let renewed = connection
        .prepare_cached("UPDATE bulk_job SET run_until = ?3 WHERE id = ?1 AND run = ?2")?
        .execute(params![job.0, run.0, millis(until)])?;
    Ok(renewed > 0)
}

pub(super) fn settle(
    connection: &Connection,
    job: JobId,
    outcomes: &[(u64, Option<Outcome>)],
) -> Result<(), Fault> {
    let mut find = connection
        .prepare_cached("SELECT state, failure_code FROM bulk_item WHERE job = ?1 AND item = ?2")?;
    let mut update = connection
        .prepare_cached("UPDATE bulk_item SET state = ?3, failure_code = ?4 WHERE job = ?1 AND item = ?2")?;
    for (item, outcome) in outcomes {
        let item = i64::try_from(*item).unwrap_or(i64::MAX);
        let found = find
            .query_row(params![job.0, item], |row| Ok(state(row.get(0)?, row.get(1)?)))
            .optional()?;
        if found.is_some_and(|found| found.may_be_settled()) {
            let settled = State::of(outcome.as_ref());
            let (name, code) = columns(&settled);
            update.execute(params![job.0, item, name, code])?;
        }
    }
    Ok(())
}

pub(super) fn end_run(connection: &Connection, job: JobId, run: RunId) -> Result<(), Fault> {
    let ended = connection
        .prepare_cached("UPDATE bulk_job SET run = NULL, run_until = NULL WHERE id = ?1 AND run = ?2")?
        .execute(params![job.0, run.0])?;
    if ended > 0 {
        give_up_leased(connection, job)?;
    }
    Ok(())
}

pub(super) fn progress(connection: &Connection, job: JobId) -> Result<BulkProgress, Fault> {
    let mut statement =
        connection.prepare_cached("SELECT state, count(*) FROM bulk_item WHERE job = ?1 GROUP BY state")?;
    let mut rows = statement.query([job.0])?;
    let mut progress = BulkProgress::default();
    while let Some(row) = rows.next()? {
        let count = u64::try_from(row.get::<_, i64>(1)?).unwrap_or(0);
        progress.count(&state(row.get(0)?, None), count);
    }
    Ok(progress)
}

pub(super) fn failures(
    connection: &Connection,
    keyring: &Keyring,
    job: JobId,
) -> Result<Vec<BulkFailure>, Fault> {
    let mut statement = connection.prepare_cached(
        "SELECT sealed, state, coalesce(failure_code, '') FROM bulk_item
         WHERE job = ?1 AND state NOT IN ('sent', 'waiting', 'leased') ORDER BY item",
    )?;
    let mut rows = statement.query([job.0])?;
    let mut failures = Vec::new();
    while let Some(row) = rows.next()? {
        let number = open_number(row.get_ref(0)?.as_blob().unwrap_or_default(), job, keyring)?;
        failures.push(BulkFailure {
            number,
            class: row.get(1)?,
            code: row.get(2)?,
        });
    }
    Ok(failures)
}
