//! Forgets what is no longer needed, in steps that leave room for others. What that is, is decided in
//! `rules::retention`.

use rusqlite::{Connection, OptionalExtension, params};

use super::{Fault, millis};
use crate::{
    clock::UnixMillis,
    rules::retention::{Sweep, first_id_at},
    store::CounterKey,
};

/// Rows in one step.
const STEP: u32 = 1000;
/// Rows that are deleted in one step: the pages of their indexes are all over the file.
const DELETED_IN_A_STEP: u32 = 250;
/// How many times as long as a step nothing is deleted after it. Without, a daemon with a million old records answers a
/// tenth of the requests that it could, for as long as it takes to delete them.
pub(super) const REST: u32 = 9;

pub(super) fn expire_codes(connection: &Connection, sweep: Sweep) -> Result<u64, Fault> {
    connection
        .prepare_cached(
            "UPDATE verification SET code_sealed = NULL WHERE id IN
                 (SELECT verification FROM pending WHERE expires_at < ?1 LIMIT ?2)",
        )?
        .execute(params![millis(sweep.codes_before), STEP])?;
    let forgotten = connection
        .prepare_cached(
            "DELETE FROM pending WHERE (number, bound) IN
                 (SELECT number, bound FROM pending WHERE expires_at < ?1 LIMIT ?2)",
        )?
        .execute(params![millis(sweep.codes_before), STEP])?;
    Ok(forgotten as u64)
}

/// Comes before every counter.
pub(super) const FIRST_COUNTER: CounterKey = CounterKey([0; 17]);

/// Deletes counters that have ended among the next ones from `from`. Returns where to go on: each is looked at in its
/// turn, so that counting need not keep them in the order of their end.
pub(super) fn end_counters(
    connection: &Connection,
    from: CounterKey,
    sweep: Sweep,
) -> Result<CounterKey, Fault> {
    let next = connection
        .prepare_cached("SELECT key FROM counter WHERE key >= ?1 ORDER BY key LIMIT 1 OFFSET ?2")?
        .query_row(params![from.0, STEP], |row| row.get(0))
        .optional()?;
    connection
        .prepare_cached("DELETE FROM counter WHERE key >= ?1 AND (?2 IS NULL OR key < ?2) AND ends_at <= ?3")?
        .execute(params![from.0, next, millis(sweep.counters_until)])?;
    Ok(next.map_or(FIRST_COUNTER, CounterKey))
}

pub(super) fn count_before(connection: &Connection, before: UnixMillis) -> Result<u64, Fault> {
    let verifications: i64 = connection
        .prepare_cached("SELECT count(*) FROM verification WHERE id < ?1")?
        .query_row([first_id_at(before)], |row| row.get(0))?;
    let texts: i64 = connection
        .prepare_cached("SELECT count(*) FROM text WHERE id < ?1")?
        .query_row([first_id_at(before)], |row| row.get(0))?;
    let jobs: i64 = connection
        .prepare_cached("SELECT count(*) FROM bulk_job WHERE created_at < ?1")?
        .query_row([millis(before)], |row| row.get(0))?;
    let decisions: i64 = connection
        .prepare_cached("SELECT count(*) FROM decision WHERE id < ?1")?
        .query_row([first_id_at(before)], |row| row.get(0))?;
    Ok(u64::try_from(verifications + texts + jobs + decisions).unwrap_or(0))
}

/// What one step did.
pub(super) struct Step {
    pub(super) deleted: u64,
    pub(super) all_done: bool,
}

pub(super) fn delete_before(connection: &Connection, before: UnixMillis) -> Result<Step, Fault> {
    let first_kept = first_id_at(before);
    // What refers to a verification goes before it.
    for (table, key) in [
        ("pending", "number, bound"),
        ("message", "verification"),
        ("request", "key"),
    ] {
        let referring = connection
            .prepare_cached(&format!(
                "DELETE FROM {table} WHERE ({key}) IN (SELECT {key} FROM {table} WHERE verification < ?1 LIMIT ?2)"
            ))?
            .execute(params![first_kept, DELETED_IN_A_STEP])?;
        if referring > 0 {
            return Ok(Step {
                deleted: 0,
                all_done: false,
            });
        }
    }
    let delete_ids = |table: &str| {
        connection
            .prepare_cached(&format!(
                "DELETE FROM {table} WHERE id IN (SELECT id FROM {table} WHERE id < ?1 LIMIT ?2)"
            ))?
            .execute(params![first_kept, DELETED_IN_A_STEP])
    };
    let (verifications, decisions) = (delete_ids("verification")?, delete_ids("decision")?);
    let texts = delete_ids("text")?;
    let items = connection
        .prepare_cached(
            "DELETE FROM bulk_item WHERE (job, item) IN
                 (SELECT job, item FROM bulk_item JOIN bulk_job ON id = job WHERE created_at < ?1 LIMIT ?2)",
        )?
        .execute(params![millis(before), DELETED_IN_A_STEP])?;
    let jobs = connection
        .prepare_cached(
            "DELETE FROM bulk_job WHERE created_at < ?1 AND NOT EXISTS (SELECT 1 FROM bulk_item WHERE job = id)",
        )?
        .execute([millis(before)])?;
    Ok(Step {
        deleted: (verifications + texts + jobs + decisions) as u64,
        all_done: verifications + texts + items + decisions == 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::retention::sweep as sweep_at;

    #[test]
    fn every_counter_is_looked_at_in_its_turn() {
        let connection = Connection::open_in_memory().unwrap();
        connection
            .execute_batch(include_str!("../migrations/sqlite/0001_initial.sql"))
            .unwrap();
        // Every second one has ended at 100.
        let counters = 2 * STEP + STEP / 2;
        connection
            .execute(
                "INSERT INTO counter (key, log, ends_at)
                 WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
                 SELECT unhex(printf('%034x', i)), x'', 100 + i % 2 FROM n",
                [counters],
            )
            .unwrap();
        let left = || -> u32 {
            connection
                .query_row("SELECT count(*) FROM counter", [], |row| row.get(0))
                .unwrap()
        };
        let sweep = |now| {
            let mut from = FIRST_COUNTER;
            let mut steps = 0;
            loop {
                from = end_counters(&connection, from, sweep_at(UnixMillis(now))).unwrap();
                steps += 1;
                if from == FIRST_COUNTER {
                    return steps;
                }
            }
        };
        assert_eq!((sweep(99), left()), (3, counters));
        assert_eq!((sweep(100), left()), (3, counters / 2));
        assert_eq!(sweep(101), 2);
        assert_eq!(left(), 0);
    }
}
