//! Which of the server's keys the database is written with, and since when. Each process that makes codes says so now and
//! then. So a process that lacks a key that another one uses knows that it does, and all count under the same one.
//!
//! Invariant: the order in which keys were first used is the same for all processes on one database, whatever the order in
//! which each of them names its keys.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, params};

use super::{Fault, millis};
use crate::{clock::UnixMillis, rules::counter::of_server_key, store::Keyring};

/// How often a process says that it uses its current key.
const WORD_INTERVAL: Duration = Duration::from_secs(60 * 60);

/// How long after that a code can be good that was made with it: the longest life of a code, and an interval.
const WORD_LIFETIME: Duration = Duration::from_secs(25 * 60 * 60);

/// What the database says about the keys.
pub(super) struct Known {
    /// Whether it was written lately with a key that came after all that this process has.
    pub(super) lacks: bool,
    /// Whether it is to be said again that this process uses its current key.
    pub(super) is_stale: bool,
    /// The key that was there first, of those that this process has.
    pub(super) oldest: Option<u32>,
}

/// A key that the database was written with.
struct Row {
    id: u32,
    /// When it was first used, and when somebody last said so. Zero: before there was such a record.
    since: u64,
    used: u64,
}

fn rows(connection: &Connection) -> Result<Vec<Row>, Fault> {
    let ids: Vec<u32> = connection
        .prepare_cached("SELECT id FROM key")?
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    let mut word = connection.prepare_cached("SELECT log FROM counter WHERE key = ?1")?;
    ids.into_iter()
        .map(|id| {
            let log: Option<Vec<u8>> = word
                .query_row([of_server_key(id).0], |row| row.get(0))
                .optional()?;
            let time = |at: usize| {
                let bytes = log.as_ref()?.get(at..at + 8)?.try_into().ok()?;
                Some(u64::from_be_bytes(bytes))
            };
            Ok(Row {
                id,
                since: time(0).unwrap_or(0),
                used: time(8).unwrap_or(0),
            })
        })
        .collect()
}

/// What it says to a process with these keys, the current one first.
pub(super) fn review(
    connection: &Connection,
    held: &[u32],
    UnixMillis(now): UnixMillis,
) -> Result<Known, Fault> {
    let rows = rows(connection)?;
    let age = |row: &Row| Duration::from_millis(now.saturating_sub(row.used));
    let place = |row: &Row| held.iter().position(|id| *id == row.id);
    let newest = rows
        .iter()
        .filter(|row| place(row).is_some())
        .map(|row| row.since)
        .max();
    let lacks = rows.iter().any(|row| {
        let is_newer = newest.is_none_or(|newest| row.since > newest);
        place(row).is_none() && is_newer && age(row) < WORD_LIFETIME
    });
    let current = rows.iter().find(|row| held.first() == Some(&row.id));
    let is_stale = current.is_none_or(|row| row.since == 0 || age(row) >= WORD_INTERVAL);
    // Of those before there was a record, the one that is named last, as was the rule then.
    let first = rows
        .iter()
        .filter_map(|row| Some((row.since, usize::MAX - place(row)?, row.id)))
        .min();
    Ok(Known {
        lacks,
        is_stale,
        oldest: first.map(|(_, _, id)| id),
    })
}

/// Says that the key of that id is used.
pub(super) fn note(connection: &Connection, id: u32, now: UnixMillis) -> Result<(), Fault> {
    connection.execute("INSERT OR IGNORE INTO key (id) VALUES (?1)", [id])?;
    let known = rows(connection)?;
    let since = known.iter().find(|row| row.id == id).map_or(0, |row| row.since);
    let since = if since == 0 { now.0 } else { since };
    let log = [since.to_be_bytes(), now.0.to_be_bytes()].concat();
    // It never ends, for the order must outlast a key that rests.
    connection.execute(
        "INSERT INTO counter (key, log, ends_at) VALUES (?1, ?2, ?3)
         ON CONFLICT (key) DO UPDATE SET log = excluded.log",
        params![of_server_key(id).0, log, millis(UnixMillis(u64::MAX))],
    )?;
    Ok(())
}

/// Whether any of these keys is one that the database was written with.
pub(super) fn knows_any(connection: &Connection, keyring: &Keyring) -> Result<bool, Fault> {
    Ok(rows(connection)?.iter().any(|row| keyring.holds(row.id)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 60 * 60 * 1000;

    fn database() -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        connection
            .execute_batch(include_str!("../migrations/sqlite/0001_initial.sql"))
            .unwrap();
        connection
    }

    fn review(connection: &Connection, held: &[u32], now: u64) -> (bool, Option<u32>) {
        let known = super::review(connection, held, UnixMillis(now)).unwrap();
        (known.lacks, known.oldest)
    }

    #[test]
    fn a_key_that_came_later_is_missed_and_one_that_was_taken_out_is_not() {
        let database = database();
        let note = |id, now| note(&database, id, UnixMillis(now)).unwrap();
        note(1, HOUR);
        assert_eq!(review(&database, &[1], HOUR), (false, Some(1)));
        assert_eq!(
            review(&database, &[1, 2], HOUR),
            (false, Some(1)),
            "a new one that waits"
        );
        note(2, 5 * HOUR);
        assert_eq!(
            review(&database, &[2, 1], 5 * HOUR),
            (false, Some(1)),
            "counts as before"
        );
        assert_eq!(review(&database, &[1, 2], 5 * HOUR), (false, Some(1)));
        assert_eq!(review(&database, &[1], 5 * HOUR), (true, Some(1)));
        note(1, 6 * HOUR);
        assert_eq!(
            review(&database, &[1], 6 * HOUR),
            (true, Some(1)),
            "however late it is used"
        );
        assert_eq!(
            review(&database, &[2], 6 * HOUR),
            (false, Some(2)),
            "the old one is taken out"
        );
        assert_eq!(
            review(&database, &[1], 30 * HOUR),
            (false, Some(1)),
            "no code of it is good"
        );
    }

    #[test]
    fn what_is_used_is_said_again_after_an_hour() {
        let database = database();
        let is_stale = |now| super::review(&database, &[1], UnixMillis(now)).unwrap().is_stale;
        assert!(is_stale(HOUR));
        note(&database, 1, UnixMillis(HOUR)).unwrap();
        assert!(!is_stale(HOUR + HOUR / 2));
        assert!(is_stale(2 * HOUR));
    }

    #[test]
    fn keys_of_before_there_was_a_record_are_older_the_later_they_are_named() {
        let database = database();
        database.execute_batch("INSERT INTO key VALUES (1), (2)").unwrap();
        assert_eq!(review(&database, &[2, 1], HOUR), (false, Some(1)));
        note(&database, 2, UnixMillis(HOUR)).unwrap();
        assert_eq!(review(&database, &[2, 1], HOUR), (false, Some(1)));
    }
}
