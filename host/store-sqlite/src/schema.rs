//! The schema of a database file: its versions, which one a file has, and how it comes to the newest.
//!
//! Invariant: a file has one version or the next, whole; a migration that is broken off leaves it as it was.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

use super::open_error::{OpenError, unusable};

/// In their order, each with the `user_version` that a file has afterwards. Frozen once released.
pub(super) const MIGRATIONS: [(i64, &str); 8] = [
    (1, include_str!("../migrations/sqlite/0001_initial.sql")),
    (2, include_str!("../migrations/sqlite/0002_processes.sql")),
    (
        WITH_MESSAGES,
        include_str!("../migrations/sqlite/0003_messages.sql"),
    ),
    (4, include_str!("../migrations/sqlite/0004_receipts.sql")),
    (5, include_str!("../migrations/sqlite/0005_owner.sql")),
    (6, include_str!("../migrations/sqlite/0006_client_refs.sql")),
    (7, include_str!("../migrations/sqlite/0007_texts.sql")),
    (8, include_str!("../migrations/sqlite/0008_events.sql")),
];

/// A program that knows only versions before this one cannot go on once a database has it.
pub(super) const WITH_MESSAGES: i64 = 3;

/// The schema version that this program writes.
pub(super) const NEWEST: i64 = MIGRATIONS[MIGRATIONS.len() - 1].0;

/// Marks a file as ours: "pver" in ASCII, in SQLite's `application_id`.
pub(super) const APPLICATION_ID: i64 = 0x7076_6572;

/// What is in a file.
pub(super) enum Schema {
    /// Nothing.
    None,
    /// Of this version.
    Ours(i64),
    /// Another program's.
    Foreign,
}

impl Schema {
    pub(super) fn of(connection: &Connection) -> rusqlite::Result<Self> {
        // One statement, so that another process which is making the schema shows all of it or nothing.
        let (application_id, version, tables): (i64, i64, i64) = connection.query_row(
            "SELECT (SELECT application_id FROM pragma_application_id),
                    (SELECT user_version FROM pragma_user_version),
                    (SELECT count(*) FROM sqlite_schema)",
            [],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
        )?;
        Ok(match application_id {
            APPLICATION_ID => Self::Ours(version),
            0 if version == 0 && tables == 0 => Self::None,
            _ => Self::Foreign,
        })
    }
}

/// Pages that are kept while a schema is brought up to date, which copies whole tables: up to 256 MiB.
const MIGRATING_CACHE: i64 = -256 * 1024;

/// Brings a file to the newest version, unless `judge` says under the lock what speaks against it.
pub(super) fn migrate(
    connection: &mut Connection,
    path: &Path,
    judge: impl FnOnce(&Connection) -> Result<(), OpenError>,
) -> Result<(), OpenError> {
    let unusable = |error| unusable(path, &error);
    if matches!(Schema::of(connection).map_err(unusable)?, Schema::Ours(NEWEST)) {
        return Ok(());
    }
    connection
        .pragma_update(None, "cache_size", MIGRATING_CACHE)
        .map_err(unusable)?;
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(unusable)?;
    // Another process may have been faster, or of an earlier version and begun meanwhile.
    judge(&transaction)?;
    let done = match Schema::of(&transaction).map_err(unusable)? {
        Schema::Ours(version) => version,
        Schema::None | Schema::Foreign => 0,
    };
    if (1..NEWEST).contains(&done) {
        tracing::warn!(
            "the database {} is brought from schema version {done} to {NEWEST}: with many records this takes minutes; to end \
             it meanwhile is to begin anew",
            path.display()
        );
    }
    let run = || {
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        for (number, migration) in MIGRATIONS.iter().filter(|(number, _)| *number > done) {
            transaction.execute_batch(migration)?;
            transaction.pragma_update(None, "user_version", number)?;
        }
        Ok(())
    };
    run().map_err(unusable)?;
    transaction.commit().map_err(unusable)?;
    if done > 0 {
        // The log has all of it once more.
        let moved = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        moved.map_err(unusable)?;
    }
    Ok(())
}
