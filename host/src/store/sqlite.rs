//! The embedded engine, with the rule of this program for its files.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use phone_verify_plugin_host::files::{self, Fault};
use phone_verify_store_sqlite::files::{Files, Refusal, Subject};
pub use phone_verify_store_sqlite::{BackupError, Contents, OpenError, Sqlite, Taken};

use super::{Keyring, StoreObserver};

/// The rule of `files`, for the engine.
pub struct JudgedFiles;

impl Files for JudgedFiles {
    fn judge(&self, path: &Path, subject: Subject) -> Result<(PathBuf, bool), Refusal> {
        files::judge(path, kind(subject)).map_err(refusal)
    }

    fn open(&self, path: &Path, subject: Subject) -> Result<File, Refusal> {
        files::open(path, kind(subject)).map_err(refusal)
    }

    fn told(&self, error: &io::Error, else_do: &str) -> String {
        files::told(error, else_do)
    }

    fn may_pass(&self, error: &io::Error) -> bool {
        files::may_pass(error)
    }
}

fn kind(subject: Subject) -> files::Subject {
    match subject {
        Subject::Database => files::Subject::Database,
        Subject::Backup => files::Subject::Backup,
    }
}

fn refusal(fault: Fault) -> Refusal {
    Refusal {
        sentence: fault.to_string(),
        may_pass: fault.may_pass(),
        cause: fault.into_io().ok(),
    }
}

/// Opens the database at `path`, makes it where there is none, and brings its schema up to date.
pub fn open(
    path: &Path,
    keyring: Arc<Keyring>,
    observer: Arc<dyn StoreObserver>,
) -> Result<Sqlite, OpenError> {
    Sqlite::open(path, keyring, &JudgedFiles, observer)
}
