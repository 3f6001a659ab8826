//! Who did what. Rows are added, never changed, and deleted when they are older than the log is kept; the schema
//! refuses anything else.

use rusqlite::{Connection, params};

use super::{Fault, millis, time};
use crate::{clock::UnixMillis, store::AuditEntry};

/// Rows that are deleted in one step.
const STEP: u32 = 250;

pub(super) fn record(connection: &Connection, entry: &AuditEntry) -> Result<(), Fault> {
    connection
        .prepare_cached("INSERT INTO audit (at, actor, action, subject) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![
            millis(entry.at),
            entry.actor,
            entry.action,
            entry.subject
        ])?;
    Ok(())
}

/// The latest ones, in their order.
pub(super) fn latest(connection: &Connection, limit: u32) -> Result<Vec<AuditEntry>, Fault> {
    let mut statement = connection.prepare_cached(
        "SELECT at, actor, action, subject FROM
             (SELECT * FROM audit ORDER BY id DESC LIMIT ?1) ORDER BY id",
    )?;
    let entries = statement.query_map([limit], |row| {
        Ok(AuditEntry {
            at: time(row.get(0)?),
            actor: row.get(1)?,
            action: row.get(2)?,
            subject: row.get(3)?,
        })
    })?;
    Ok(entries.collect::<rusqlite::Result<_>>()?)
}

/// How many entries of the oldest are from before a time.
pub(super) fn count_before(connection: &Connection, before: UnixMillis) -> Result<u64, Fault> {
    let count: i64 = connection
        .prepare_cached("SELECT count(*) FROM audit WHERE at < ?1")?
        .query_row([millis(before)], |row| row.get(0))?;
    Ok(u64::try_from(count).unwrap_or(0))
}

/// Deletes some of the entries from before a time. Returns how many; 0: there are none.
pub(super) fn delete_before(connection: &Connection, before: UnixMillis) -> Result<u64, Fault> {
    // The trigger lets nothing else go.
    connection
        .prepare_cached("UPDATE audit_kept SET since = ?1 WHERE since < ?1")?
        .execute([millis(before)])?;
    let deleted = connection
        .prepare_cached("DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE at < ?1 LIMIT ?2)")?
        .execute(params![millis(before), STEP])?;
    Ok(deleted as u64)
}
