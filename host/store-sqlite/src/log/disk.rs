//! What is done when the disk could not flush what was moved from the log.
//!
//! Invariant: nothing is done with the database after a flush of it failed. The system may count pages as written that
//! are not, so that the next flush succeeds; and the engine may count them as moved. So the log would begin anew, and
//! the only good copy of these pages would be gone. The process ends instead. The next one reads the whole log again,
//! and moves all of it again.

use std::{fmt::Display, io, panic::catch_unwind, path::PathBuf, sync::Arc};

use rusqlite::ffi;

/// How the process ends, told why.
pub(super) type End = Arc<dyn Fn(&str) + Send + Sync>;

/// Judges what is said of the file of a database.
#[derive(Clone)]
pub(crate) struct Disk {
    database: PathBuf,
    end: End,
}

impl Disk {
    pub(crate) fn of(database: PathBuf) -> Self {
        Self::with(database, Arc::new(|why| end_process(why)))
    }

    pub(super) fn with(database: PathBuf, end: End) -> Self {
        Self { database, end }
    }

    /// Ends the process if the engine moved the log, or a part of it, and could not flush it.
    pub(crate) fn judge<T>(&self, moved: rusqlite::Result<T>) -> rusqlite::Result<T> {
        if let Err(error) = &moved
            && error.sqlite_error().map(|error| error.extended_code) == Some(ffi::SQLITE_IOERR_FSYNC)
        {
            self.end(error);
        }
        moved
    }

    /// Ends the process if a flush failed, unless the file system knows no flush: the engine's own tells that.
    pub(super) fn judge_flush(&self, flushed: io::Result<()>) {
        match flushed {
            Err(error)
                if !matches!(
                    error.kind(),
                    io::ErrorKind::Unsupported | io::ErrorKind::InvalidInput
                ) =>
            {
                self.end(&error);
            }
            _ => {}
        }
    }

    fn end(&self, cause: &dyn Display) {
        (self.end)(&format!(
            "the disk could not write the database {}: {cause}; the process ends, since what it holds of the file can no \
             longer be trusted; the next start reads it from the log",
            self.database.display()
        ));
    }
}

/// Ends the process. What the program does with a panic says why: it logs it, or prints it.
fn end_process(why: &str) -> ! {
    let _ = catch_unwind(|| panic!("{why}"));
    std::process::abort()
}
