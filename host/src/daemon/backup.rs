//! A backup, and the way back: a copy of the database in one file, and beside it, under the same name with `.key`
//! added, the keys that belong to it. Where the settings hold the keys, they are not copied: a secret that was kept off
//! the disk stays off.
//!
//! Invariants: a backup is there under its name only when it is whole; no file is overwritten by one; and what a
//! restore replaces is kept, as a backup that can be restored.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use phone_verify_plugin_host::files::{self, Fault, Subject, folder_of};
use tempfile::{TempDir, TempPath};
use zeroize::Zeroizing;

use super::{Problem, keyring, missing_folders, must_exist};
use crate::{
    clock::Clock,
    entropy::Entropy,
    settings::{Keys, Settings},
    store::{
        Keyring,
        key_file::{self, KeyFileError},
        sqlite::{BackupError, Contents, JudgedFiles, Sqlite, Taken},
    },
};

/// Of the folder that a copy is made in, beside where it is to be.
const UNFINISHED: &str = ".phone-verify-backup-";

const CHECK_FOLDER: &str =
    "its folder must exist, and the user that runs phone-verify must have the right to write there";

impl From<BackupError> for Problem {
    fn from(error: BackupError) -> Self {
        Self {
            sentence: error.to_string(),
            may_pass: error.may_pass(),
        }
    }
}

/// A backup that was made.
pub struct BackedUp {
    /// What is in it.
    pub contents: Contents,
    /// How long its file is.
    pub bytes: u64,
    /// Where its keys are; `None`: in the settings.
    pub keys: Option<PathBuf>,
}

/// A database that was restored.
pub struct Restored {
    /// What is in it.
    pub contents: Contents,
    /// Where that is which was there before, if anything was.
    pub before: Option<PathBuf>,
}

/// Copies database and keys into `file` and the file of its keys, whoever uses them meanwhile, and checks the copy.
pub fn back_up(
    settings: &Settings,
    file: &Path,
    clock: &Clock,
    entropy: &Entropy,
) -> Result<BackedUp, Problem> {
    let database = &settings.store.database;
    must_exist(settings)?;
    Sqlite::judge(database, &JudgedFiles)?;
    let target = Target::of(file, Subject::Backup)?;
    let keys_target = match &settings.store.keys {
        Keys::File(keys) => Some((keys, Target::of(&keys_of(file), Subject::KeyFile)?)),
        Keys::Given(_) => None,
    };
    let mut copied_keys = Zeroizing::new(Vec::new());
    let contents = Sqlite::back_up(
        database,
        &target.unfinished(),
        file,
        || -> Result<Keyring, Problem> {
            if let Some((keys, _)) = &keys_target {
                copied_keys = read_keys(keys)?;
            }
            keyring(&settings.store.keys, entropy)
        },
        clock.now(),
    )?;
    let keys = match keys_target {
        Some((_, keys_target)) => {
            keys_target.write(&copied_keys)?;
            Some(keys_target.finish()?)
        }
        None => None,
    };
    let bytes = target.unfinished().metadata().map_or(0, |copy| copy.len());
    if let Err(problem) = target.finish() {
        // Without its database it is of no use, and in the way of the next try.
        if let Some(keys) = keys {
            let _ = fs::remove_file(keys);
        }
        return Err(problem);
    }
    Ok(BackedUp {
        contents,
        bytes,
        keys,
    })
}

/// Puts a backup into the place of database and keys, which no other process may use.
pub fn restore(
    settings: &Settings,
    file: &Path,
    clock: &Clock,
    entropy: &Entropy,
) -> Result<Restored, Problem> {
    let missing = missing_folders(settings);
    if let Some(problem) = missing.into_iter().next() {
        return Err(problem);
    }
    let database = &settings.store.database;
    if is_same(file, database) {
        return Err(Problem::lasting(format!(
            "{} is the database itself; name a file that phone-verify backup wrote",
            file.display()
        )));
    }
    let (backed_up, keys) = match &settings.store.keys {
        Keys::File(keys) => {
            let kept = keys_of(file);
            let backed_up = key_file::read(&kept).map_err(|error| without_keys(file, &kept, error))?;
            let backed_up = Keyring::of(&backed_up, entropy.clone())
                .ok_or_else(|| Problem::lasting(format!("{} holds no key", kept.display())))?;
            (backed_up, Some(KeysToRestore::read(keys, &kept)?))
        }
        given @ Keys::Given(_) => (keyring(given, entropy)?, None),
    };
    let contents = Sqlite::check_backup(file, &backed_up, clock.now(), &JudgedFiles)?;
    Sqlite::judge(database, &JudgedFiles)?;
    let taken = Sqlite::take(database)?;
    let before = keep_what_is_there(database, taken.as_ref(), keys.as_ref(), clock)?;
    let taken = match taken {
        Some(taken) => taken,
        None => Sqlite::make(database)?,
    };
    // With the old ones and the new ones, whichever database is there after a crash can be opened.
    if let Some(keys) = &keys {
        keys.write(&keys.both())?;
    }
    if let Err(error) = taken.replace(file) {
        if let Some(keys) = &keys {
            keys.put_back();
        }
        // The database is as it was, and its copy is of no use.
        if let Some(before) = &before {
            let _ = fs::remove_file(keys_of(before));
            let _ = fs::remove_file(before);
        }
        return Err(error.into());
    }
    if let Some(keys) = &keys {
        keys.write(&keys.new)?;
    }
    Ok(Restored { contents, before })
}

/// The file of a backup's keys.
pub fn keys_of(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".key");
    name.into()
}

fn is_same(one: &Path, other: &Path) -> bool {
    matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other)
}

fn without_keys(file: &Path, keys: &Path, error: KeyFileError) -> Problem {
    match error {
        KeyFileError::Fault(fault) if fault.is_missing() && !file.exists() => Problem::lasting(format!(
            "there is no backup {}; name a file that phone-verify backup wrote",
            file.display()
        )),
        KeyFileError::Empty { .. } => Problem::lasting(format!(
            "{}, the file of the backup's keys, is empty; put the one there that was written with it: without its keys a \
             database is of no use",
            keys.display()
        )),
        KeyFileError::Fault(fault) if fault.is_missing() => Problem::lasting(format!(
            "the backup {} is there, but the file of its keys, {}, is not; put it there: without its keys a database is of no use",
            file.display(),
            keys.display()
        )),
        error => error.into(),
    }
}

fn read_keys(path: &Path) -> Result<Zeroizing<Vec<u8>>, Problem> {
    let mut bytes = Zeroizing::new(Vec::new());
    let open = files::open(path, Subject::KeyFile)?;
    files::read_into(open, path, Subject::KeyFile, &mut bytes)?;
    Ok(bytes)
}

fn not_written(path: &Path, cause: &io::Error) -> Problem {
    Problem {
        sentence: format!(
            "{} cannot be written: {}",
            path.display(),
            files::told(cause, CHECK_FOLDER)
        ),
        may_pass: files::may_pass(cause),
    }
}

/// The database as it is now, and its keys, under a name of their own beside it. `None`: there is nothing to keep.
fn keep_what_is_there(
    database: &Path,
    taken: Option<&Taken>,
    keys: Option<&KeysToRestore>,
    clock: &Clock,
) -> Result<Option<PathBuf>, Problem> {
    let is_there = database.metadata().is_ok_and(|file| file.len() > 0);
    if !is_there || taken.is_some_and(Taken::is_empty) {
        return Ok(None);
    }
    let before = name_of_before(database, clock);
    let target = Target::of(&before, Subject::Backup)?;
    match taken {
        Some(taken) => {
            taken.copy(&target.unfinished(), &before)?;
            if let Some(old) = keys.and_then(|keys| keys.old.as_ref()) {
                let target = Target::of(&keys_of(&before), Subject::KeyFile)?;
                target.write(old)?;
                target.finish()?;
            }
            target.finish()?;
        }
        None => Sqlite::move_away(database, &before).map_err(|cause| not_written(&before, &cause))?,
    }
    Ok(Some(before))
}

/// `phone-verify.db.before-20270131T115959Z`, with a number should there be one already.
fn name_of_before(database: &Path, clock: &Clock) -> PathBuf {
    let when = clock.wall().rfc3339().replace([':', '-'], "");
    let name = |suffix: String| {
        let mut name = database.as_os_str().to_owned();
        name.push(format!(".before-{when}{suffix}"));
        PathBuf::from(name)
    };
    let is_free = |path: &PathBuf| {
        let taken = [path, &keys_of(path)].map(|path| path.symlink_metadata().is_ok());
        taken == [false, false]
    };
    let first = name(String::new());
    let others = (2..1000).map(|number| name(format!("-{number}")));
    // Where all of them are there, the first is, and is reported.
    std::iter::once(first.clone())
        .chain(others)
        .find(is_free)
        .unwrap_or(first)
}

/// A file that is made in a folder of its own beside where it is to be, and appears there when it is whole.
struct Target {
    path: PathBuf,
    folder: TempDir,
}

impl Target {
    fn of(path: &Path, subject: Subject) -> Result<Self, Problem> {
        let told = |fault: Fault| match fault.into_io() {
            Ok(cause) => not_written(path, &cause),
            Err(fault) => fault.into(),
        };
        // Before its rights are judged, which are no matter then.
        if path.symlink_metadata().is_ok() {
            return Err(Problem::lasting(format!(
                "{} is there already, and no backup overwrites anything; name another file, or move it away",
                path.display()
            )));
        }
        let (place, _) = files::judge(path, subject).map_err(told)?;
        let folder = tempfile::Builder::new()
            .prefix(UNFINISHED)
            .tempdir_in(folder_of(&place))
            .map_err(|cause| not_written(path, &cause))?;
        Ok(Self {
            path: path.to_owned(),
            folder,
        })
    }

    fn unfinished(&self) -> PathBuf {
        self.folder.path().join("file")
    }

    fn write(&self, bytes: &[u8]) -> Result<(), Problem> {
        write_private(&self.unfinished(), bytes).map_err(|cause| not_written(&self.path, &cause))
    }

    fn finish(self) -> Result<PathBuf, Problem> {
        let made = TempPath::try_from_path(self.unfinished())
            .and_then(|made| made.persist_noclobber(&self.path).map_err(|error| error.error));
        made.and_then(|()| make_durable(&self.path))
            .map_err(|cause| not_written(&self.path, &cause))?;
        Ok(self.path)
    }
}

/// A new file that nobody else can read.
fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// That a file has its name outlasts a crash.
fn make_durable(path: &Path) -> io::Result<()> {
    if cfg!(unix) {
        File::open(folder_of(path))?.sync_all()?;
    }
    Ok(())
}

/// The key file of the settings, and what it is to hold.
struct KeysToRestore {
    path: PathBuf,
    /// What it holds; `None`: it is not there.
    old: Option<Zeroizing<Vec<u8>>>,
    new: Zeroizing<Vec<u8>>,
}

impl KeysToRestore {
    fn read(path: &Path, kept: &Path) -> Result<Self, Problem> {
        let old = match files::judge(path, Subject::KeyFile)? {
            (_, true) => Some(read_keys(path)?),
            (_, false) => None,
        };
        Ok(Self {
            path: path.to_owned(),
            old,
            new: read_keys(kept)?,
        })
    }

    /// The old ones first, for the database is still the old one.
    fn both(&self) -> Zeroizing<Vec<u8>> {
        let mut both = Zeroizing::new(Vec::new());
        if let Some(old) = self.old.as_ref().filter(|old| **old != self.new) {
            both.extend_from_slice(old);
            both.push(b'\n');
        }
        both.extend_from_slice(&self.new);
        both
    }

    /// Exchanges the file in one step, unless it holds them.
    fn write(&self, keys: &[u8]) -> Result<(), Problem> {
        let is_there = files::read(&self.path, Subject::KeyFile).map(Zeroizing::new);
        if is_there.is_ok_and(|is_there| is_there.as_slice() == keys) {
            return Ok(());
        }
        let write = || {
            let (place, _) = files::judge(&self.path, Subject::KeyFile).map_err(io::Error::other)?;
            let folder = tempfile::Builder::new()
                .prefix(UNFINISHED)
                .tempdir_in(folder_of(&place))?;
            let unfinished = folder.path().join("file");
            write_private(&unfinished, keys)?;
            fs::rename(unfinished, &place)?;
            make_durable(&place)
        };
        write().map_err(|cause| not_written(&self.path, &cause))
    }

    /// As it was.
    fn put_back(&self) {
        match &self.old {
            // What cannot be put back holds them too.
            Some(old) => drop(self.write(old)),
            None => drop(fs::remove_file(&self.path)),
        }
    }
}
