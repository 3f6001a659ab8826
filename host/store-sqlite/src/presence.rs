//! Says which processes that use the database are alive, so that what a dead one left is taken up at once, and what a
//! living one has under way never is: neither when it is slow or stopped, nor when somebody sets the clock.
//!
//! Each process has a file beside the database and keeps it locked. The operating system lets go of the lock when the
//! process ends, however it ends, and not before.
//!
//! Invariant: nothing but a regular file with the name of a process counts, and no other is waited for: a named pipe would
//! block its reader until somebody writes into it.

use std::{
    ffi::OsStr,
    fs::{File, OpenOptions, TryLockError},
    io,
    path::{Path, PathBuf},
};

use crate::store::{Keyring, StoreError};

/// Names a process that uses the database. Never used twice.
pub(super) type ProcessId = [u8; 16];

/// How often a file is made that another process takes for a dead one's and deletes before it is locked.
const MAX_TRIES: usize = 8;

/// Where the files of all processes on a database are.
#[derive(Clone)]
pub(super) struct Processes {
    /// What their names begin with.
    prefix: PathBuf,
}

/// This process, present until it is dropped.
pub(super) struct Presence {
    pub(super) id: ProcessId,
    path: PathBuf,
    /// Locked.
    #[cfg_attr(
        not(any(test, feature = "testing")),
        expect(dead_code, reason = "the lock is let go with it")
    )]
    file: File,
}

impl Processes {
    /// Those of this database.
    pub(super) fn of(database: &Path) -> Self {
        // Where the file is, not where a link to it is: others may come to it by another.
        let file = database.canonicalize().unwrap_or_else(|_| database.to_owned());
        let mut prefix = file.into_os_string();
        prefix.push("-process-");
        Self {
            prefix: prefix.into(),
        }
    }

    fn path(&self, id: &ProcessId) -> PathBuf {
        let mut path = self.prefix.clone().into_os_string();
        path.push(data_encoding::HEXLOWER.encode(id));
        path.into()
    }

    /// Makes this process known, and clears away the files of those that were killed.
    pub(super) fn enter(&self, keyring: &Keyring) -> Result<Presence, StoreError> {
        let not_made = |error: io::Error| {
            let file = self.prefix.display();
            StoreError::Unavailable(format!(
                "no file {file}… can be made and locked beside it: {error}"
            ))
        };
        self.clear().map_err(not_made)?;
        for _ in 0..MAX_TRIES {
            let id = keyring.process_id()?;
            let path = self.path(&id);
            let file = create(&path).map_err(not_made)?;
            // Waits for another process that looks at it, if one does.
            file.lock().map_err(not_made)?;
            if path.exists() {
                return Ok(Presence { id, path, file });
            }
        }
        Err(not_made(io::ErrorKind::ResourceBusy.into()))
    }

    /// Whether a process lives that may be this one or another. One of which that cannot be told is taken to live.
    pub(super) fn lives(&self, id: &ProcessId) -> bool {
        lives(&self.path(id))
    }

    /// Whether any process lives that has messages in the database, or had. If that cannot be told, one is taken to.
    pub(super) fn any_lives(&self) -> bool {
        match self.files() {
            Ok(files) => files.iter().any(|path| lives(path)),
            Err(error) => error.kind() != io::ErrorKind::NotFound,
        }
    }

    /// Deletes the files of processes that were killed.
    fn clear(&self) -> io::Result<()> {
        self.files()?.iter().for_each(|path| delete_if_dead(path));
        Ok(())
    }

    fn files(&self) -> io::Result<Vec<PathBuf>> {
        let (Some(folder), Some(prefix)) = (self.prefix.parent(), self.prefix.file_name()) else {
            return Ok(Vec::new());
        };
        let mut files = Vec::new();
        for entry in folder.read_dir()? {
            let entry = entry?;
            if is_of_a_process(&entry.file_name(), prefix) {
                files.push(entry.path());
            }
        }
        Ok(files)
    }
}

fn lives(path: &Path) -> bool {
    match open(path) {
        Ok(Some(file)) => !matches!(file.try_lock_shared(), Ok(())),
        Ok(None) => false,
        Err(error) => error.kind() != io::ErrorKind::NotFound,
    }
}

/// Whether a file is named as [`Processes::path`] names them.
fn is_of_a_process(name: &OsStr, prefix: &OsStr) -> bool {
    let id = name.as_encoded_bytes().strip_prefix(prefix.as_encoded_bytes());
    id.and_then(|id| data_encoding::HEXLOWER.decode(id).ok())
        .is_some_and(|id| id.len() == size_of::<ProcessId>())
}

/// Opens the file of a process; `None` if it is no file that a process made.
fn open(path: &Path) -> io::Result<Option<File>> {
    if !path.symlink_metadata()?.is_file() {
        return Ok(None);
    }
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        // It may have been replaced since.
        let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOFOLLOW;
        options.custom_flags(flags.bits().cast_signed());
    }
    let file = options.open(path)?;
    Ok(file.metadata()?.is_file().then_some(file))
}

/// What cannot be deleted does no harm.
fn delete_if_dead(path: &Path) {
    let Ok(Some(file)) = open(path) else { return };
    match file.try_lock() {
        Ok(()) => {
            let _ = std::fs::remove_file(path);
        }
        Err(TryLockError::WouldBlock | TryLockError::Error(_)) => {}
    }
}

fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).read(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    options.open(path)
}

impl Drop for Presence {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(any(test, feature = "testing"))]
impl Presence {
    /// What others see when this process is killed.
    pub(super) fn is_killed(&self) {
        self.file.unlock().expect("a file that is locked can be unlocked");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::Entropy;

    #[test]
    fn a_process_lives_until_it_ends_and_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let keyring = Keyring::ephemeral(Entropy::system()).unwrap();
        let database = folder.path().join("store.db");
        std::fs::write(&database, "").unwrap();
        let processes = Processes::of(&database);
        let (one, other) = (
            processes.enter(&keyring).unwrap(),
            processes.enter(&keyring).unwrap(),
        );
        let (first, second) = (one.id, other.id);
        assert!(processes.lives(&first) && processes.lives(&second));
        drop(one);
        assert!(!processes.lives(&first) && processes.lives(&second));
        drop(other);
        assert_eq!(folder.path().read_dir().unwrap().count(), 1, "the database");
    }

    #[test]
    fn a_killed_process_is_dead_and_its_file_goes_with_the_next_one() {
        let folder = tempfile::tempdir().unwrap();
        let keyring = Keyring::ephemeral(Entropy::system()).unwrap();
        let processes = Processes::of(&folder.path().join("store.db"));
        let killed = processes.path(&[7; 16]);
        std::fs::write(&killed, "").unwrap();
        assert!(!processes.lives(&[7; 16]));
        let _next = processes.enter(&keyring).unwrap();
        assert!(!killed.exists());
    }

    #[test]
    fn what_no_process_made_is_none_and_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let keyring = Keyring::ephemeral(Entropy::system()).unwrap();
        let processes = Processes::of(&folder.path().join("store.db"));
        let note = folder.path().join("store.db-process-notes.txt");
        std::fs::write(&note, "").unwrap();
        std::fs::create_dir(processes.path(&[7; 16])).unwrap();
        assert!(!processes.lives(&[7; 16]) && !processes.any_lives());
        let entered = processes.enter(&keyring).unwrap();
        assert!(processes.lives(&entered.id));
        drop(entered);
        assert_eq!(folder.path().read_dir().unwrap().count(), 2, "both are there");
    }
}
