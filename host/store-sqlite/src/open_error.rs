//! Why a database cannot be opened, in words for whoever can do something about it.

use std::path::Path;

use rusqlite::{ErrorCode, ffi};

use crate::files::{Files, Refusal};

const NO_LOCKS: &str = "its file system cannot lock files or share memory, as NFS and others over a network; put it on a \
                        local disk";

pub(super) const CHECK_FOLDER: &str =
    "its folder must exist, and this user must have the right to write there";

/// Why a database cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// No such folder, no right to it, not a database, …
    #[error("the database {path} cannot be opened: {cause}; {hint}")]
    Unusable {
        /// The file.
        path: String,
        /// `SQLite`'s words.
        cause: String,
        /// What to do.
        hint: &'static str,
        /// Whether it may be otherwise a while later, without a change by anybody.
        may_pass: bool,
    },
    /// Somebody else could have written it, or it is no file.
    #[error("the database cannot be opened: {0}")]
    Refused(#[from] Refusal),
    /// Its folder, or it, cannot be searched or read.
    #[error("the database {path} cannot be opened: {told}")]
    Unreachable {
        /// The file.
        path: String,
        /// The operating system's words, and what to do.
        told: String,
        /// Whether it may be otherwise a while later, without a change by anybody.
        may_pass: bool,
    },
    /// Another program's.
    #[error("the database {path} was made by another program; name another file in [store] url")]
    Foreign {
        /// The file.
        path: String,
    },
    /// Written with other keys.
    #[error(
        "the database {path} was written with keys that are not among those given; bring back the right ones, or name another file in [store] url"
    )]
    OtherKeys {
        /// The file.
        path: String,
    },
    /// Copied without its log.
    #[error(
        "the database {path} is empty, for it was copied while it was in use, without its log {path}-wal; copy both while \
         phone-verify is stopped, or with: phone-verify backup COPY"
    )]
    WithoutLog {
        /// The file.
        path: String,
    },
    /// To be brought up to date, while a process of an earlier version has it.
    #[error(
        "the database {path} is in use by a phone-verify of an earlier version, which could not go on once it is brought up \
         to date; stop that one first"
    )]
    InUseByEarlier {
        /// The file.
        path: String,
    },
    /// Written by a later version of this program.
    #[error(
        "the database {path} has schema version {found}, and this program knows up to {known}; run a newer phone-verify, or name another file in [store] url"
    )]
    TooNew {
        /// The file.
        path: String,
        /// What it has.
        found: i64,
        /// What this program knows.
        known: i64,
    },
}

impl OpenError {
    /// Whether it may be otherwise a while later, without a change by anybody.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Unusable { may_pass, .. } | Self::Unreachable { may_pass, .. } => *may_pass,
            Self::Refused(refusal) => refusal.may_pass,
            Self::InUseByEarlier { .. } => true,
            Self::Foreign { .. } | Self::OtherKeys { .. } | Self::WithoutLog { .. } | Self::TooNew { .. } => {
                false
            }
        }
    }
}

pub(super) fn unreachable(path: &Path, cause: &std::io::Error, files: &dyn Files) -> OpenError {
    OpenError::Unreachable {
        path: path.display().to_string(),
        told: files.told(cause, CHECK_FOLDER),
        may_pass: files.may_pass(cause),
    }
}

pub(super) fn unusable(path: &Path, error: &rusqlite::Error) -> OpenError {
    let (hint, may_pass) = cure(error);
    OpenError::Unusable {
        path: path.display().to_string(),
        cause: error.to_string(),
        hint,
        may_pass,
    }
}

/// What to do about an error, and whether it may pass by itself.
pub(super) fn cure(error: &rusqlite::Error) -> (&'static str, bool) {
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => ("name another file in [store] url", false),
        Some(ErrorCode::DatabaseCorrupt) => ("it is damaged: bring back a copy of it", false),
        Some(ErrorCode::ReadOnly) => ("give this user the right to write it and its folder", false),
        Some(ErrorCode::PermissionDenied) => (CHECK_FOLDER, false),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => (
            "another process keeps it locked; if it does not bring the database up to date, which takes minutes, end it",
            true,
        ),
        Some(ErrorCode::DiskFull) => ("make room on its disk", true),
        Some(ErrorCode::FileLockingProtocolFailed) => (NO_LOCKS, true),
        _ if is_of_locking(error) => (NO_LOCKS, true),
        Some(ErrorCode::SystemIoFailure) => ("look into the kernel's log for what ails its disk", true),
        Some(ErrorCode::OutOfMemory) => ("give it more memory", true),
        _ => (CHECK_FOLDER, true),
    }
}

/// Whether its file system cannot lock files or share memory.
fn is_of_locking(error: &rusqlite::Error) -> bool {
    const OF_LOCKING: [i32; 7] = [
        ffi::SQLITE_IOERR_LOCK,
        ffi::SQLITE_IOERR_RDLOCK,
        ffi::SQLITE_IOERR_UNLOCK,
        ffi::SQLITE_IOERR_CHECKRESERVEDLOCK,
        ffi::SQLITE_IOERR_SHMLOCK,
        ffi::SQLITE_IOERR_SHMMAP,
        ffi::SQLITE_IOERR_SHMOPEN,
    ];
    error
        .sqlite_error()
        .is_some_and(|error| OF_LOCKING.contains(&error.extended_code))
}

/// Whether another process keeps the database locked.
pub(super) fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
    )
}
