//! Bulk jobs.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, params};

use super::{Fault, millis};
use crate::{
    clock::UnixMillis,
    model::{FailureClass, Outcome, PhoneNumber},
    store::{BulkBatch, BulkFailure, BulkProgress, JobId, Keyring, StoreError},
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
        .and_then(|number| PhoneNumber::parse(&number, None).ok())
        .ok_or_else(|| Fault::corrupt("a number of a bulk job cannot be opened with the keys given"))
}

pub(super) fn lease(
    connection: &Connection,
    keyring: &Keyring,
    job: JobId,
    now: UnixMillis,
    lease: Duration,
    limit: u32,
) -> Result<Option<BulkBatch>, Fault> {
    connection
        .prepare_cached(
            "UPDATE bulk_item SET state = ?3, failure_code = 'interrupted', leased_until = NULL
             WHERE job = ?1 AND state = 'leased' AND leased_until < ?2",
        )?
        .execute(params![job.0, millis(now), FailureClass::OutcomeUnknown.as_str()])?;
    let sealed: Option<Vec<u8>> = connection
        .prepare_cached("SELECT sealed FROM bulk_job WHERE id = ?1")?
        .query_row([job.0], |row| row.get(0))
        .optional()?;
    let Some(sealed) = sealed else { return Ok(None) };
    let waiting = connection
        .prepare_cached(
            "SELECT item, sealed FROM bulk_item WHERE job = ?1 AND state = 'waiting' ORDER BY item LIMIT ?2",
        )?
        .query_map(params![job.0, limit], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?))
        })?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    if waiting.is_empty() {
        return Ok(None);
    }
    let message = keyring
        .open_sealed(&sealed, &job.0)
        .ok_or_else(|| Fault::corrupt("the text of a bulk job cannot be opened with the keys given"))?;
    let mut items = Vec::with_capacity(waiting.len());
    let mut take = connection.prepare_cached(
        "UPDATE bulk_item SET state = 'leased', leased_until = ?3 WHERE job = ?1 AND item = ?2",
    )?;
    for (item, sealed) in waiting {
        take.execute(params![job.0, item, millis(now.plus(lease))])?;
        items.push((
            u64::try_from(item).unwrap_or(0),
            open_number(&sealed, job, keyring)?,
        ));
    }
    Ok(Some(BulkBatch { message, items }))
}

pub(super) fn settle(connection: &Connection, job: JobId, outcomes: &[(u64, Outcome)]) -> Result<(), Fault> {
    let mut statement = connection.prepare_cached(
        "UPDATE bulk_item SET state = ?3, failure_code = ?4, leased_until = NULL
         WHERE job = ?1 AND item = ?2 AND state = 'leased'",
    )?;
    for (item, outcome) in outcomes {
        let (state, code) = match outcome {
            Ok(_) => ("sent", None),
            Err(failure) => (failure.class.as_str(), Some(&failure.code)),
        };
        statement.execute(params![
            job.0,
            i64::try_from(*item).unwrap_or(i64::MAX),
            state,
            code
        ])?;
    }
    Ok(())
}

pub(super) fn release(connection: &Connection, job: JobId, items: &[u64]) -> Result<(), Fault> {
    let mut statement = connection.prepare_cached(
        "UPDATE bulk_item SET state = 'waiting', leased_until = NULL
         WHERE job = ?1 AND item = ?2 AND state = 'leased'",
    )?;
    for item in items {
        statement.execute(params![job.0, i64::try_from(*item).unwrap_or(i64::MAX)])?;
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
        progress.total += count;
        match row.get_ref(0)?.as_str().unwrap_or_default() {
            "sent" => progress.sent += count,
            "waiting" | "leased" => progress.waiting += count,
            state if state == FailureClass::OutcomeUnknown.as_str() => progress.unknown += count,
            _ => progress.failed += count,
        }
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
