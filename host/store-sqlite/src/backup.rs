//! A copy of a database that is in use, and the way back.
//!
//! Invariants: a copy holds what was committed at one moment, whoever writes meanwhile; nothing is restored that was
//! not found whole and written with the keys at hand; and a database that another process has open is not changed.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{
    Connection, ErrorCode, OpenFlags,
    backup::{Backup, StepResult},
    config::DbConfig,
};

use super::{
    Sqlite, key, open, open_error,
    schema::{self, Schema},
};
use crate::{
    clock::UnixMillis,
    files::{Files, Refusal, Subject},
    store::Keyring,
};

/// How long the copying waits for another process that keeps the database locked.
const PATIENCE: Duration = Duration::from_secs(5);

/// All pages in one step: what others commit meanwhile would make a copy in several steps begin anew.
const ALL_PAGES: i32 = -1;

/// What is checked, for a sentence that names a file that a person knows.
#[derive(Clone, Copy)]
enum Checked<'a> {
    /// A backup, by its own name.
    Backup(&'a Path),
    /// A copy of this database, whose faults are those of the database.
    CopyOf(&'a Path),
}

/// What is wrong with it.
enum Flaw {
    /// It cannot be read as a database of ours.
    Broken(String),
    /// A later version wrote it.
    TooNew(i64),
    /// Its keys are others.
    OtherKeys,
}

impl Checked<'_> {
    fn path(&self) -> &Path {
        let (Self::Backup(path) | Self::CopyOf(path)) = self;
        path
    }

    fn unfit(self, flaw: Flaw) -> BackupError {
        let found = match &flaw {
            Flaw::Broken(found) => found.clone(),
            Flaw::TooNew(found) => {
                format!(
                    "it has schema version {found}, and this program knows up to {}",
                    schema::NEWEST
                )
            }
            Flaw::OtherKeys => "it was written with keys that are not among those given".to_owned(),
        };
        let (what, needed) = match (self, flaw) {
            (Self::Backup(_), Flaw::Broken(_)) => ("the backup", "take another backup"),
            (Self::Backup(_), Flaw::TooNew(_)) => ("the backup", "restore it with a newer phone-verify"),
            (Self::Backup(_), Flaw::OtherKeys) => (
                "the backup",
                "put those that belong to it where they are looked for: in the file of the same name with .key added, or, \
                 where the settings name keys, in [store] keys",
            ),
            (Self::CopyOf(_), Flaw::Broken(_)) => ("the database", "restore a backup of it"),
            (Self::CopyOf(_), Flaw::TooNew(_)) => ("the database", "back it up with a newer phone-verify"),
            (Self::CopyOf(_), Flaw::OtherKeys) => (
                "the database",
                "put those that belong to it where the settings say: [store] keys or key_file",
            ),
        };
        BackupError::Unfit {
            what,
            path: self.path().display().to_string(),
            found,
            needed,
        }
    }
}

/// Why there is no backup, or why none is restored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// It is not what `phone-verify backup` wrote, or not all of it.
    #[error("{what} {path} cannot be used: {found}; {needed}")]
    Unfit {
        /// The backup, or the database that one was to be made of.
        what: &'static str,
        /// The file.
        path: String,
        /// What is wrong with it.
        found: String,
        /// What to do.
        needed: &'static str,
    },
    /// Somebody else could have written it, or it is no file.
    #[error("the backup cannot be used: {0}")]
    Refused(#[from] Refusal),
    /// Another process has the database open.
    #[error(
        "the database {path} is in use; stop the daemon first (systemctl stop phone-verify), and let other commands end"
    )]
    InUse {
        /// The file.
        path: String,
    },
    /// Another program's database lies where ours is to be.
    #[error("the database {path} was made by another program; name another file in [store] url")]
    Foreign {
        /// The file.
        path: String,
    },
    /// No copy can be read from it, or written to it.
    #[error("{path} cannot be {done}: {cause}; {hint}")]
    Failed {
        /// The file.
        path: String,
        /// `read` or `written`.
        done: &'static str,
        /// `SQLite`'s words, or the system's.
        cause: String,
        /// What to do.
        hint: &'static str,
        /// Whether it may be otherwise a while later, without a change by anybody.
        may_pass: bool,
    },
}

impl BackupError {
    /// Whether it may be otherwise a while later, without a change by anybody.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Unfit { .. } | Self::Foreign { .. } => false,
            Self::Refused(refusal) => refusal.may_pass,
            Self::InUse { .. } => true,
            Self::Failed { may_pass, .. } => *may_pass,
        }
    }

    fn failed(path: &Path, done: &'static str, error: &rusqlite::Error) -> Self {
        let (hint, may_pass) = open_error::cure(error);
        Self::Failed {
            path: path.display().to_string(),
            done,
            cause: error.to_string(),
            hint,
            may_pass,
        }
    }
}

/// What is in a copy.
#[derive(Clone, Copy, Debug)]
pub struct Contents {
    /// The version of its schema.
    pub schema: i64,
    /// How many verifications it holds.
    pub verifications: u64,
}

impl Sqlite {
    /// Copies the database at `path`, whoever uses it, into the new file `copy`, and checks the copy. It is one file,
    /// and can be used as a database at once. `named` is what the copy will be called once it is whole, for a sentence.
    ///
    /// `keyring` reads the keys that belong to it, and is called once the copy is made: keys that came meanwhile are in
    /// it.
    pub fn back_up<E: From<BackupError>>(
        path: &Path,
        copy: &Path,
        named: &Path,
        keyring: impl FnOnce() -> Result<Keyring, E>,
        now: UnixMillis,
    ) -> Result<Contents, E> {
        copy_into(path, copy, named)?;
        let keyring = keyring()?;
        let connection = read_only(copy).map_err(|error| BackupError::failed(named, "read", &error))?;
        Ok(check(Checked::CopyOf(path), &connection, &keyring, now)?)
    }

    /// Whether the file is a whole database of a version that is known, with these keys, and all of it in this one
    /// file.
    pub fn check_backup(
        path: &Path,
        keyring: &Keyring,
        now: UnixMillis,
        files: &dyn Files,
    ) -> Result<Contents, BackupError> {
        let unfit = |found: &str, needed| BackupError::Unfit {
            what: "the backup",
            path: path.display().to_string(),
            found: found.to_owned(),
            needed,
        };
        let (_, is_there) = files.judge(path, Subject::Backup)?;
        if !is_there {
            return Err(unfit(
                "it is not there",
                "name the file that phone-verify backup wrote",
            ));
        }
        if open::header_says_it_has_a_log(path, Subject::Backup, files)? {
            return Err(unfit(
                "it was copied while it was in use, and what its log holds is missing",
                "make backups with phone-verify backup, or start phone-verify on a copy of the file together with its log, \
                 stop it, and restore that",
            ));
        }
        let connection = read_only(path).map_err(|error| BackupError::failed(path, "read", &error))?;
        check(Checked::Backup(path), &connection, keyring, now)
    }

    /// Takes the database at `path` for this process alone, so that it can be exchanged. `None`: there is none, or none
    /// that `SQLite` can read, which is then to be moved away.
    pub fn take(path: &Path) -> Result<Option<Taken>, BackupError> {
        let failed = |error: &rusqlite::Error| {
            if open_error::is_busy(error) {
                let path = path.display().to_string();
                return BackupError::InUse { path };
            }
            BackupError::failed(path, "opened", error)
        };
        match path.metadata() {
            Ok(file) if file.len() > 0 => {}
            _ => return Ok(None),
        }
        let connection = match lock(path) {
            Ok(connection) => connection,
            Err(error)
                if matches!(
                    error.sqlite_error_code(),
                    Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt)
                ) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(failed(&error)),
        };
        let schema = Schema::of(&connection).map_err(|error| failed(&error))?;
        if matches!(schema, Schema::Foreign) {
            return Err(BackupError::Foreign {
                path: path.display().to_string(),
            });
        }
        Ok(Some(Taken {
            connection,
            path: path.to_owned(),
        }))
    }

    /// Makes an empty database where none is, for this process alone.
    pub fn make(path: &Path) -> Result<Taken, BackupError> {
        open::make_private(path);
        let connection = lock(path).map_err(|error| BackupError::failed(path, "written", &error))?;
        Ok(Taken {
            connection,
            path: path.to_owned(),
        })
    }

    /// Moves a file that cannot be read as a database out of the way, with what `SQLite` keeps beside it.
    pub fn move_away(path: &Path, to: &Path) -> std::io::Result<()> {
        for companion in open::COMPANIONS {
            match fs::rename(open::beside(path, companion), open::beside(to, companion)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        fs::rename(path, to)
    }
}

/// A database that no other process can open.
pub struct Taken {
    connection: Connection,
    path: PathBuf,
}

impl Taken {
    /// Whether there is anything in it.
    pub fn is_empty(&self) -> bool {
        matches!(
            self.connection
                .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)),
            Ok(0_i64)
        )
    }

    /// Copies it into the new file `copy`, which will be called `named`.
    pub fn copy(&self, copy: &Path, named: &Path) -> Result<(), BackupError> {
        transfer(&self.connection, &self.path, copy, named)
    }

    /// Puts what is in a backup that was found good into its place, all of it or nothing.
    pub fn replace(mut self, backup: &Path) -> Result<(), BackupError> {
        let from = read_only(backup).map_err(|error| BackupError::failed(backup, "read", &error))?;
        step(&from, &mut self.connection).map_err(|error| BackupError::failed(&self.path, "written", &error))
    }
}

fn copy_into(path: &Path, copy: &Path, named: &Path) -> Result<(), BackupError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let open = || {
        let from = Connection::open_with_flags(path, flags)?;
        from.busy_timeout(PATIENCE)?;
        // The log that a crash left stays beside the file, which says that it has one.
        from.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        Ok(from)
    };
    let from = open().map_err(|error: rusqlite::Error| BackupError::failed(path, "read", &error))?;
    transfer(&from, path, copy, named)
}

fn transfer(from: &Connection, path: &Path, copy: &Path, named: &Path) -> Result<(), BackupError> {
    // A fault of the source is seen before anything is written.
    from.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))
        .map_err(|error| BackupError::failed(path, "read", &error))?;
    open::make_private(copy);
    let write = || {
        let mut to = Connection::open(copy)?;
        step(from, &mut to)?;
        // One file is all there is, and it does not say that it has a log.
        to.query_row("PRAGMA journal_mode = DELETE", [], |_| Ok(()))
    };
    write().map_err(|error| BackupError::failed(named, "written", &error))
}

fn step(from: &Connection, to: &mut Connection) -> rusqlite::Result<()> {
    let backup = Backup::new(from, to)?;
    match backup.step(ALL_PAGES)? {
        StepResult::Done => Ok(()),
        _ => Err(rusqlite::Error::SqliteFailure(
            rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY),
            None,
        )),
    }
}

fn read_only(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(path, flags)
}

/// A connection that is the only one there is until it is closed, to a file without a log.
fn lock(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(Duration::ZERO)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.query_row("PRAGMA locking_mode = EXCLUSIVE", [], |_| Ok(()))?;
    // Every process that uses the database keeps a lock that this needs.
    connection.query_row("PRAGMA journal_mode = DELETE", [], |_| Ok(()))?;
    connection.execute_batch("BEGIN EXCLUSIVE; COMMIT")?;
    Ok(connection)
}

/// Whether a file is whole, ours, and written with these keys.
fn check(
    checked: Checked<'_>,
    connection: &Connection,
    keyring: &Keyring,
    now: UnixMillis,
) -> Result<Contents, BackupError> {
    let unfit = |found: String| checked.unfit(Flaw::Broken(found));
    let broken = |error: rusqlite::Error| match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => unfit("it is no database".to_owned()),
        Some(ErrorCode::DatabaseCorrupt) => unfit(format!("it is damaged: {error}")),
        _ => BackupError::failed(checked.path(), "read", &error),
    };
    let schema = match Schema::of(connection).map_err(broken)? {
        Schema::Ours(found) if found > schema::NEWEST => return Err(checked.unfit(Flaw::TooNew(found))),
        Schema::Ours(found) => found,
        Schema::None => return Err(unfit("it holds nothing".to_owned())),
        Schema::Foreign => return Err(unfit("it was made by another program".to_owned())),
    };
    let whole: String = connection
        .query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))
        .map_err(broken)?;
    if whole != "ok" {
        return Err(unfit(format!("it is damaged: {}", whole.replace('\n', " "))));
    }
    let keys = key::review(connection, &keyring.ids(), now).map_err(|fault| match fault {
        super::Fault::Driver(error) => broken(error),
        super::Fault::Store(error) => unfit(error.to_string()),
    })?;
    if !open::is_written_with(connection, keyring).map_err(broken)? || keys.lacks {
        return Err(checked.unfit(Flaw::OtherKeys));
    }
    let verifications: i64 = connection
        .query_row("SELECT count(*) FROM verification", [], |row| row.get(0))
        .map_err(broken)?;
    Ok(Contents {
        schema,
        verifications: u64::try_from(verifications).unwrap_or(0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{entropy::Entropy, files::AnyFile};

    #[test]
    fn a_backup_after_a_crash_leaves_the_log_beside_the_database() {
        let folder = tempfile::tempdir().unwrap();
        let [path, crashed, copy] =
            ["phone-verify.db", "crashed.db", "copy.db"].map(|name| folder.path().join(name));
        let keys = Keyring::ephemeral(Entropy::system()).unwrap();
        let in_use = open::prepare(&path, &keys, &AnyFile).unwrap();
        for companion in ["", "-wal"] {
            fs::copy(open::beside(&path, companion), open::beside(&crashed, companion)).unwrap();
        }
        drop(in_use);
        let log = fs::read(open::beside(&crashed, "-wal")).unwrap();
        Sqlite::back_up::<BackupError>(&crashed, &copy, &copy, || Ok(keys), UnixMillis(0)).unwrap();
        assert_eq!(fs::read(open::beside(&crashed, "-wal")).unwrap(), log);
    }
}
