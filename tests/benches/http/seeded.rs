//! Databases that hold many verifications already.

use std::{
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crate::server::{LIMITS, Server};

/// In milliseconds since the epoch.
const LONG_FROM_NOW: i64 = 9_000_000_000_000;

/// The next round finds the file as this one did.
pub(crate) fn forget_the_round(database: &Path, rows: u32) {
    let connection = rusqlite::Connection::open(database).expect("the file is there");
    connection
        .execute_batch(&format!(
            "DELETE FROM counter WHERE ends_at <> {LONG_FROM_NOW}; DELETE FROM pending; DELETE FROM {};
             DELETE FROM verification WHERE id > (SELECT id FROM verification ORDER BY id LIMIT 1 OFFSET {});
             PRAGMA wal_checkpoint(TRUNCATE);",
            if keeps_messages(&connection) {
                "message WHERE verification NOT IN (SELECT id FROM verification)"
            } else {
                "outbox"
            },
            rows - 1
        ))
        .expect("the round is forgotten");
}

/// Whether a message has a row as long as its verification has one; a program of before may have made the file.
fn keeps_messages(connection: &rusqlite::Connection) -> bool {
    let find = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'message')";
    connection
        .query_row(find, [], |row| row.get(0))
        .expect("the file can be read")
}

/// A database that holds so many finished verifications, made once.
pub(crate) fn seed(program: &Path, directory: &Path, name: &str, rows: u32) -> PathBuf {
    let database = directory.join(name);
    drop(Server::daemon(program, directory, &database, LIMITS));
    let connection = rusqlite::Connection::open(&database).expect("the daemon made the database");
    let weeks_ago = SystemTime::now() - Duration::from_secs(14 * 24 * 60 * 60);
    let first = weeks_ago
        .duration_since(UNIX_EPOCH)
        .expect("it is later than 1970")
        .as_millis();
    let first = i64::try_from(first).expect("milliseconds of this age");
    let made = connection
        .execute(
            // Side by side as they were made, younger than what is deleted; everything else as the daemon leaves it.
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
             INSERT INTO verification
                 (id, number, key_id, code, code_used_at, attempts_left, created_at, expires_at, verified_at)
             SELECT CAST(unhex(printf('%012x', ?2 + i)) || randomblob(10) AS BLOB), randomblob(32), 1, randomblob(32),
                 ?2 + i, 5, ?2 + i, ?2 + 600000 + i, ?2 + i
             FROM n",
            (rows, first),
        )
        .expect("the rows fit the schema");
    assert_eq!(made, rows as usize);
    if keeps_messages(&connection) {
        connection
            .execute(
                "INSERT INTO message (verification, n, id, state, tries)
                 SELECT id, 0, id, 'sent', '[{\"backend\":\"noop.NoopBackend\",\"duration_ms\":30}]' FROM verification",
                [],
            )
            .expect("the rows fit the schema");
    }
    let remembered = connection
        .execute(
            // As many numbers of which it is remembered that they were verified.
            "INSERT INTO counter (key, log, ends_at)
             WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
             SELECT CAST(unhex('6e') || randomblob(16) AS BLOB) AS key, randomblob(35), ?2 FROM n ORDER BY key",
            (rows, LONG_FROM_NOW),
        )
        .expect("the rows fit the schema");
    assert_eq!(remembered, rows as usize);
    database
}
