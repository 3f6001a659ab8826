//! Opens a database file: makes it where there is none, refuses one that is not ours, and brings its schema
//! up to date.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags, config::DbConfig};

use super::{
    log,
    open_error::{OpenError, unreachable, unusable},
    presence::Processes,
    schema::{NEWEST, Schema, WITH_MESSAGES, migrate},
};
use crate::{
    files::{Files, Refusal, Subject},
    store::Keyring,
};

/// Settings of the connection that writes. Pages are kept in up to 4 MiB. A log that had to become longer than 128 MiB
/// is cut back to that once it begins anew.
const WRITING: [(&str, i64); 2] = [("cache_size", -4096), ("journal_size_limit", 128 * 1024 * 1024)];

/// The pause between two looks at a database that another process is writing, and how often is looked: some two seconds
/// in all. Whoever asked over HTTP waits that long, and comes again. `SQLite`'s own pauses grow to a tenth of a second,
/// and so miss the moments between the commits of another process that is busy.
pub(super) const BUSY_PAUSE: Duration = Duration::from_millis(5);
pub(super) const BUSY_LOOKS: i32 = 400;

/// What ends the use of a database. A file that says that it has a log, and has none beside it, was copied while it was
/// in use: so one that is whole must not say so.
pub(super) const CLOSE: &str =
    "PRAGMA wal_checkpoint(TRUNCATE); PRAGMA busy_timeout = 0; PRAGMA journal_mode = DELETE";

/// How long another process may take from making a file to making its tables.
const MAKING: Duration = Duration::from_secs(2);

/// What `SQLite` keeps beside a database: its log, the index of it, and the log that it has before the first of these.
pub(super) const COMPANIONS: [&str; 3] = ["-wal", "-shm", "-journal"];

/// Judges the file and what lies beside it. Returns where it is, links followed, and whether it is there.
pub(super) fn judge_files(path: &Path, files: &dyn Files) -> Result<(PathBuf, bool), OpenError> {
    let refused = |refusal: Refusal| match refusal.cause {
        Some(cause) => unreachable(path, &cause, files),
        None => refusal.into(),
    };
    let (file, is_there) = files.judge(path, Subject::Database).map_err(refused)?;
    for companion in COMPANIONS {
        files
            .judge(&beside(&file, companion), Subject::Database)
            .map_err(refused)?;
    }
    Ok((file, is_there))
}

pub(super) fn beside(file: &Path, companion: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(companion);
    name.into()
}

/// A connection that may write, to a file with the newest schema and with these keys.
pub(super) fn prepare(path: &Path, keyring: &Keyring, files: &dyn Files) -> Result<Connection, OpenError> {
    let unusable = |error| unusable(path, &error);
    let (file, _) = judge_files(path, files)?;
    let has_log = beside(&file, "-wal").exists();
    let is_empty = file.metadata().is_ok_and(|found| found.len() == 0);
    make_private(path);
    let mut connection = connect(path).map_err(unusable)?;
    if !has_log && !is_empty && says_it_has_a_log(&connection).map_err(unusable)? {
        without_its_log(path, || Schema::of(&connection).map_err(unusable))?;
    }
    // Before anything is changed in what may be somebody else's.
    judge(&connection, path, keyring)?;
    connection
        .pragma_update(None, "journal_mode", "WAL")
        .map_err(unusable)?;
    migrate(&mut connection, path, |connection| {
        judge(connection, path, keyring)
    })?;
    // Another process may have been faster.
    judge(&connection, path, keyring)?;
    note_key(&connection, keyring).map_err(unusable)?;
    // Where everybody may add files, somebody may have been faster with the log.
    judge_files(path, files)?;
    for (setting, value) in WRITING {
        connection.pragma_update(None, setting, value).map_err(unusable)?;
    }
    log::move_found(&connection, path);
    Ok(connection)
}

fn says_it_has_a_log(connection: &Connection) -> rusqlite::Result<bool> {
    let mode: String = connection.query_row("PRAGMA journal_mode", [], |row| row.get(0))?;
    Ok(mode == "wal")
}

/// Refuses a file that lacks its log and all that was in it. One with tables may be a good copy, made by SQLite itself.
fn without_its_log(path: &Path, schema: impl Fn() -> Result<Schema, OpenError>) -> Result<(), OpenError> {
    const STEP: Duration = Duration::from_millis(20);
    let shown = path.display();
    let mut waited = Duration::ZERO;
    while matches!(schema()?, Schema::None) {
        if waited >= MAKING {
            return Err(OpenError::WithoutLog {
                path: shown.to_string(),
            });
        }
        std::thread::sleep(STEP);
        waited += STEP;
    }
    // Another process was making it.
    if waited > Duration::ZERO {
        return Ok(());
    }
    tracing::warn!(
        "the database {shown} was copied while it was in use, or its log {shown}-wal was deleted: if it was copied without \
         its log, it lacks what was written last; codes, limits and whom to forget may be wrong"
    );
    Ok(())
}

/// Says what speaks against a file, without a change to it. Beside it, only the index of a log that was copied without
/// its own is made.
pub(super) fn look(path: &Path, keyring: &Keyring, files: &dyn Files) -> Result<(), OpenError> {
    let not_seen = |cause: std::io::Error| unreachable(path, &cause, files);
    // Its log is where the file is, not where a link to it is.
    let (file, is_there) = judge_files(path, files)?;
    if !is_there {
        return Ok(());
    }
    let is_empty = file.metadata().map_err(not_seen)?.len() == 0;
    let Some(name) = file.to_str().filter(|_| !is_empty) else {
        return Ok(());
    };
    // In use, or left by a process that died, it has its log beside it. If it lacks it, one would be made to read it,
    // unless it is said that nobody changes it.
    let lacks_log = super::at_rest::lacks_log(&file, files)?;
    let immutable = if lacks_log { "&immutable=1" } else { "" };
    let name = name.replace('%', "%25").replace('?', "%3f").replace('#', "%23");
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    let connection = Connection::open_with_flags(format!("file:{name}?mode=ro{immutable}"), flags)
        .map_err(|error| unusable(path, &error))?;
    if lacks_log {
        without_its_log(path, || {
            Schema::of(&connection).map_err(|error| unusable(path, &error))
        })?;
    }
    judge(&connection, path, keyring)
}

/// Whether the header says that there is a log, without making one, as to ask the engine would. Only of a file that
/// this process does not have open: to close a file once more is to give up the locks on it.
pub(super) fn header_says_it_has_a_log(
    path: &Path,
    subject: Subject,
    files: &dyn Files,
) -> Result<bool, Refusal> {
    use std::io::Read;

    /// Where the header has the version that is needed to write the file, and to read it.
    const VERSIONS: std::ops::Range<usize> = 18..20;
    const WITH_LOG: u8 = 2;
    let mut header = [0; VERSIONS.end];
    let mut file = files.open(path, subject)?;
    Ok(file.read_exact(&mut header).is_ok() && header[VERSIONS].contains(&WITH_LOG))
}

/// Says what keeps a database at `path` from being written, by writing one with a log of its own in the folder `trial`,
/// which lies beside it.
pub(super) fn rehearse(path: &Path, trial: &Path, files: &dyn Files) -> Result<(), OpenError> {
    #[cfg(not(unix))]
    let _ = files;
    #[cfg(unix)]
    if path.exists() {
        rustix::fs::access(path, rustix::fs::Access::WRITE_OK | rustix::fs::Access::READ_OK)
            .map_err(|cause| unreachable(path, &cause.into(), files))?;
    }
    let file = trial.join("phone-verify.db");
    let write = || {
        let connection = connect(&file)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        // Some file systems tell only now that they cannot share the index of the log.
        connection.execute_batch("CREATE TABLE trial (id); INSERT INTO trial VALUES (1)")
    };
    let written = write();
    for companion in ["", "-wal", "-shm", "-journal"] {
        let _ = std::fs::remove_file(beside(&file, companion));
    }
    written.map_err(|error| unusable(path, &error))
}

/// Whether it is a file of this program, of a version that is known, with these keys.
fn judge(connection: &Connection, path: &Path, keyring: &Keyring) -> Result<(), OpenError> {
    let shown = || path.display().to_string();
    let unusable = |error| unusable(path, &error);
    match Schema::of(connection).map_err(unusable)? {
        Schema::Ours(found) if found > NEWEST => Err(OpenError::TooNew {
            path: shown(),
            found,
            known: NEWEST,
        }),
        Schema::Foreign => Err(OpenError::Foreign { path: shown() }),
        Schema::Ours(_) if !is_written_with(connection, keyring).map_err(unusable)? => {
            Err(OpenError::OtherKeys { path: shown() })
        }
        Schema::Ours(found) if found < WITH_MESSAGES && Processes::of(path).any_lives() => {
            Err(OpenError::InUseByEarlier { path: shown() })
        }
        Schema::Ours(_) | Schema::None => Ok(()),
    }
}

/// Whether anything in it can be read with these keys.
pub(super) fn is_written_with(connection: &Connection, keyring: &Keyring) -> rusqlite::Result<bool> {
    let known: Vec<u32> = connection
        .prepare("SELECT id FROM key")?
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    Ok(known.is_empty() || known.iter().any(|id| keyring.holds(*id)))
}

/// Has the file tell which key it was written with. Writes only what is not there, so that a file that somebody else is
/// writing can be opened.
fn note_key(connection: &Connection, keyring: &Keyring) -> rusqlite::Result<()> {
    let key = [keyring.current_key_id()];
    let is_noted: bool =
        connection.query_row("SELECT EXISTS (SELECT 1 FROM key WHERE id = ?1)", key, |row| {
            row.get(0)
        })?;
    if !is_noted {
        connection.execute("INSERT OR IGNORE INTO key (id) VALUES (?1)", key)?;
    }
    Ok(())
}

/// A connection as every part of the engine uses it.
pub(super) fn connect(path: &Path) -> rusqlite::Result<Connection> {
    connect_with(path, OpenFlags::SQLITE_OPEN_CREATE)
}

/// The same, to a file that is there.
pub(super) fn connect_to_existing(path: &Path) -> rusqlite::Result<Connection> {
    connect_with(path, OpenFlags::empty())
}

fn connect_with(path: &Path, flags: OpenFlags) -> rusqlite::Result<Connection> {
    let flags = flags | OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags)?;
    wait_as_usual(&mut connection)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    // A commit does not move the log by itself: see `log`.
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    connection.set_prepared_statement_cache_capacity(64);
    // Otherwise a statement is prepared anew at each run, in case a better plan suits the values of that run.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(connection)
}

/// Has a connection wait for others as long as every part of the engine does.
pub(super) fn wait_as_usual(connection: &mut Connection) -> rusqlite::Result<()> {
    connection.busy_handler(Some(wait_a_little))
}

fn wait_a_little(looks: i32) -> bool {
    std::thread::sleep(BUSY_PAUSE);
    looks < BUSY_LOOKS
}

/// Others on the machine have no business in the file; `SQLite` gives its companions the same mode.
#[cfg(unix)]
pub(super) fn make_private(path: &Path) {
    use std::os::unix::fs::OpenOptionsExt;
    // An existing file keeps the mode that its owner gave it; any other trouble shows when it is opened.
    let _ = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
}

/// Here it has the access control list of its folder.
#[cfg(not(unix))]
pub(super) fn make_private(_: &Path) {}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, ffi::OsString};

    use super::*;
    use crate::{entropy::Entropy, files::AnyFile};

    fn keys() -> Keyring {
        Keyring::ephemeral(Entropy::system()).unwrap()
    }

    /// With keys of its own each time.
    fn prepare(path: &Path) -> Result<Connection, OpenError> {
        super::prepare(path, &keys(), &AnyFile)
    }

    /// What opening a file says that was made as `make` does; and looking at it, which leaves no trace.
    fn refusal(make: impl FnOnce(&Path)) -> String {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("phone-verify.db");
        make(&path);
        let before = in_folder(directory.path());
        let looked = look(&path, &keys(), &AnyFile).expect_err("refused").to_string();
        assert_eq!(in_folder(directory.path()), before);
        let refusal = prepare(&path).expect_err("refused").to_string();
        assert_eq!(refusal, looked);
        refusal
    }

    /// Each file, and what is in it.
    fn in_folder(folder: &Path) -> BTreeMap<OsString, Vec<u8>> {
        let files = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
        files
            .map(|file| (file.file_name(), std::fs::read(file.path()).unwrap()))
            .collect()
    }

    #[test]
    fn a_file_that_is_no_database_is_refused() {
        let refusal = refusal(|path| std::fs::write(path, "phone numbers:\n".repeat(100)).unwrap());
        assert!(
            refusal.ends_with("file is not a database; name another file in [store] url"),
            "{refusal}"
        );
    }

    #[test]
    fn a_database_of_another_program_is_refused_and_left_as_it_was() {
        let directory = tempfile::tempdir().unwrap();
        let theirs = directory.path().join("theirs.db");
        let connection = Connection::open(&theirs).unwrap();
        connection.execute_batch("CREATE TABLE account (id)").unwrap();
        let before = in_folder(directory.path());
        let refusal = prepare(&theirs).expect_err("refused").to_string();
        assert!(
            refusal.ends_with("was made by another program; name another file in [store] url"),
            "{refusal}"
        );
        assert_eq!(
            look(&theirs, &keys(), &AnyFile).expect_err("refused").to_string(),
            refusal
        );
        assert_eq!(in_folder(directory.path()), before);
    }

    #[test]
    fn a_database_of_a_later_version_is_refused() {
        let refusal = refusal(|path| {
            let ours = prepare(path).unwrap();
            ours.pragma_update(None, "user_version", NEWEST + 1).unwrap();
        });
        let versions = format!(
            "has schema version {}, and this program knows up to {NEWEST}",
            NEWEST + 1
        );
        assert!(refusal.contains(&versions), "{refusal}");
    }

    #[test]
    fn a_database_that_was_written_with_other_keys_is_refused() {
        let refusal = refusal(|path| drop(prepare(path).unwrap()));
        assert!(
            refusal.contains("was written with keys that are not among those given"),
            "{refusal}"
        );
    }

    #[cfg(unix)]
    #[test]
    fn a_look_at_a_database_in_use_sees_what_is_only_in_its_log() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("phone-verify.db");
        let link = directory.path().join("elsewhere");
        std::fs::create_dir(&link).unwrap();
        let link = link.join("link.db");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let ours = keys();
        assert!(look(&link, &ours, &AnyFile).is_ok(), "nothing there yet");
        let in_use = super::prepare(&path, &ours, &AnyFile).unwrap();
        for file in [&path, &link] {
            assert!(look(file, &ours, &AnyFile).is_ok());
            let refusal = look(file, &keys(), &AnyFile).expect_err("refused").to_string();
            assert!(refusal.contains("was written with keys"), "{refusal}");
        }
        drop(in_use);
    }

    #[test]
    fn a_database_that_somebody_is_writing_is_opened() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("phone-verify.db");
        let ours = keys();
        let writing = super::prepare(&path, &ours, &AnyFile).unwrap();
        writing.execute_batch("BEGIN IMMEDIATE").unwrap();
        super::prepare(&path, &ours, &AnyFile).unwrap();
    }

    #[test]
    fn a_long_log_that_a_process_left_is_moved_before_the_next_serves() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("phone-verify.db");
        let ours = keys();
        let died = super::prepare(&path, &ours, &AnyFile).unwrap();
        died.pragma_update(None, "synchronous", "OFF").unwrap();
        died.execute_batch("CREATE TABLE filling (id); INSERT INTO filling VALUES (zeroblob(68000000))")
            .unwrap();
        let left = log::Frames::of(&died).unwrap();
        assert_eq!(left.moved, 0);
        let next = super::prepare(&path, &ours, &AnyFile).unwrap();
        let found = log::Frames::of(&next).unwrap();
        assert_eq!(found.moved, found.written, "of {}", left.written);
    }

    #[test]
    fn a_copy_without_the_log_is_refused_if_it_holds_nothing_and_told_if_it_may_be_old() {
        let directory = tempfile::tempdir().unwrap();
        let [path, copy] = ["phone-verify.db", "copy.db"].map(|name| directory.path().join(name));
        let ours = keys();
        let in_use = super::prepare(&path, &ours, &AnyFile).unwrap();
        std::fs::copy(&path, &copy).unwrap();
        let refusal = super::prepare(&copy, &ours, &AnyFile).expect_err("refused");
        assert!(matches!(refusal, OpenError::WithoutLog { .. }), "{refusal}");
        let looked = look(&copy, &ours, &AnyFile).expect_err("refused");
        assert_eq!(looked.to_string(), refusal.to_string());
        assert!(
            refusal.to_string().contains("phone-verify backup COPY"),
            "{refusal}"
        );
        // Closed in order, one file is all there is.
        in_use.execute_batch(CLOSE).unwrap();
        drop(in_use);
        std::fs::copy(&path, &copy).unwrap();
        look(&copy, &ours, &AnyFile).unwrap();
        super::prepare(&copy, &ours, &AnyFile).unwrap();
    }

    #[test]
    fn a_missing_folder_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("no/such/folder/phone-verify.db");
        let refusal = prepare(&path).unwrap_err().to_string();
        assert!(
            refusal.contains("no/such/folder") && refusal.contains("its folder must exist"),
            "{refusal}"
        );
    }

    #[test]
    fn many_processes_may_make_the_same_database_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("phone-verify.db");
        let keyring = Keyring::ephemeral(Entropy::system()).unwrap();
        std::thread::scope(|scope| {
            let open = || super::prepare(&path, &keyring, &AnyFile).map(drop);
            let opened: Vec<_> = (0..8).map(|_| scope.spawn(open)).collect();
            for opened in opened {
                opened.join().unwrap().unwrap();
            }
        });
    }

    #[cfg(unix)]
    #[test]
    fn the_files_are_for_their_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let open = prepare(&directory.path().join("phone-verify.db")).unwrap();
        let mut files = 0;
        for file in std::fs::read_dir(directory.path()).unwrap() {
            let mode = file.unwrap().metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
            files += 1;
        }
        assert_eq!(files, 3, "the database, its log and its index");
        drop(open);
    }
}
