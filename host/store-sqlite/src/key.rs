//! Which of the server's keys the database is written with, and since when. Each process that makes codes says so now
//! and then. So a process that lacks a key that another one uses knows that it does, and all count under the same one.
//!
//! Invariant: the order in which keys were first used is the same for all processes on one database, whatever the order
//! in which each of them names its keys.

use rusqlite::{Connection, OptionalExtension, params};

use super::{Fault, millis};
use crate::{
    clock::UnixMillis,
    rules::{
        counter::of_server_key,
        key_use::{self, KeyUse, Known},
    },
    store::Keyring,
};

fn rows(connection: &Connection) -> Result<Vec<KeyUse>, Fault> {
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
                Some(UnixMillis(u64::from_be_bytes(bytes)))
            };
            Ok(KeyUse {
                id,
                since: time(0).unwrap_or(UnixMillis(0)),
                used: time(8).unwrap_or(UnixMillis(0)),
            })
        })
        .collect()
}

/// What it says to a process with these keys, the current one first.
pub(super) fn review(connection: &Connection, held: &[u32], now: UnixMillis) -> Result<Known, Fault> {
    Ok(key_use::review(&rows(connection)?, held, now))
}

/// Says that the key of that id is used.
pub(super) fn note(connection: &Connection, id: u32, now: UnixMillis) -> Result<(), Fault> {
    connection.execute("INSERT OR IGNORE INTO key (id) VALUES (?1)", [id])?;
    let known = rows(connection)?.into_iter().find(|key| key.id == id);
    let known = known.ok_or_else(|| Fault::corrupt("a key that cannot be noted"))?;
    let KeyUse { since, used, .. } = known.noted(now);
    let log = [since.0.to_be_bytes(), used.0.to_be_bytes()].concat();
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
