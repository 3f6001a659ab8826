//! How full the log is, and how it is emptied, as `SQLite` says and does it.

use rusqlite::{Connection, ffi};

/// What is in the log. A frame is a page of 4 KiB with a header of 24 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Frames {
    /// All frames since the log last began anew.
    pub(crate) written: u32,
    /// How many of these are in the database file as well.
    pub(crate) moved: u32,
}

impl Frames {
    /// Only looks. Fails where nothing is known, for another connection is changing the log.
    pub(crate) fn of(connection: &Connection) -> rusqlite::Result<Self> {
        match checkpoint(connection, "PRAGMA wal_checkpoint(NOOP)")? {
            (_, true) => Err(rusqlite::Error::SqliteFailure(
                ffi::Error::new(ffi::SQLITE_BUSY),
                None,
            )),
            (frames, false) => Ok(frames),
        }
    }

    /// How many are in the log alone.
    pub(super) fn left(self) -> u32 {
        self.written.saturating_sub(self.moved)
    }

    /// How many bytes the log takes.
    pub(super) fn bytes(self) -> u64 {
        u64::from(self.written) * (4096 + 24)
    }
}

/// Moves what is in the log to the database file, as far as no reader needs the file as it is, and without waiting for
/// anybody or keeping anybody from writing. `None`: another connection is doing it.
pub(super) fn move_frames(connection: &Connection) -> rusqlite::Result<Option<Frames>> {
    let (frames, is_busy) = checkpoint(connection, "PRAGMA wal_checkpoint(PASSIVE)")?;
    Ok(Some(frames).filter(|_| !is_busy))
}

/// Moves all, waits for readers as long as the connection waits for locks, and has the next write begin the log anew.
/// Nobody writes meanwhile. `false`: a reader did not end, or another connection is moving the log.
pub(super) fn restart(connection: &Connection) -> rusqlite::Result<bool> {
    checkpoint(connection, "PRAGMA wal_checkpoint(RESTART)").map(|(_, is_busy)| !is_busy)
}

fn checkpoint(connection: &Connection, pragma: &str) -> rusqlite::Result<(Frames, bool)> {
    connection.prepare_cached(pragma)?.query_row([], |row| {
        // Both are -1 where there is no log.
        let count = |column| Ok::<_, rusqlite::Error>(u32::try_from(row.get::<_, i64>(column)?).unwrap_or(0));
        let frames = Frames {
            written: count(1)?,
            moved: count(2)?,
        };
        Ok((frames, row.get(0)?))
    })
}
