//! `plugins.lock`: which bytes of each library are in use, and which were before. Written when a library is first used,
//! when another version of it is taken up, and by `plugin trust` and `plugin rollback`; a running daemon watches it.
//!
//! Invariants: a reader sees the file before a change or after it, never between; of several processes that change it
//! one after the other does, on what the one before it left. A file that was cut off anywhere is refused, since what it
//! lacks would be trusted anew.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use toml::value::{Date, Datetime, Offset, Time};

use crate::{
    clock::UnixMillis,
    files::{self, Subject},
    preflight::Candidate,
    refusal::{Refusal, code},
};

const HEADING: &str = "# Which files of libraries phone-verify uses, by their SHA-256. Written by the program; to take another file, run:\n\
                       # phone-verify plugin trust LIBRARY, and to take the one before: phone-verify plugin rollback LIBRARY.\n";

/// The file.
#[derive(Clone, Debug)]
pub(crate) struct LockFile(PathBuf);

/// The version of the file's form. A later one may mean what must not be overlooked; what may be overlooked needs none.
const VERSION: i64 = 1;

/// The last line, by which a whole file is told from one that was cut off: after a disk was full, or by a copy that
/// ended early.
const LAST_LINE: &str = "# End of plugins.lock";

/// What stands in it. What it holds beside that was written by a later version of this program, which may be
/// overlooked, and stays.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Lock {
    /// Missing in files of before there were versions.
    #[serde(default)]
    version: Option<i64>,
    /// The last line of the file. Missing in files of before there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_line: Option<String>,
    #[serde(flatten)]
    later: toml::Table,
    #[serde(default)]
    pub(crate) libraries: BTreeMap<String, Locked>,
}

/// Of one library.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Locked {
    /// In use.
    pub(crate) current: Build,
    /// In use before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) previous: Option<Build>,
    /// Not to be used, although it lies in the directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) passed_over: Option<PassedOver>,
}

/// The bytes of a library.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Build {
    pub(crate) sha256: String,
    pub(crate) version: String,
    pub(crate) abi: String,
    pub(crate) size_bytes: u64,
    pub(crate) first_seen: Datetime,
    /// Whether it may run in the daemon's process, under isolation = "auto".
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) inline: bool,
    /// The signature that it was taken with, so that its private copy can be judged again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) signature: Option<String>,
}

/// Bytes that are not used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct PassedOver {
    pub(crate) sha256: String,
    /// Why; empty: they were rolled back.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) refusal: String,
}

impl PassedOver {
    pub(crate) fn is_rolled_back(&self) -> bool {
        self.refusal.is_empty()
    }
}

impl Build {
    pub(crate) fn of(candidate: &Candidate, now: UnixMillis) -> Self {
        Self {
            sha256: candidate.sha256.clone(),
            version: candidate.manifest.version.clone(),
            abi: candidate.manifest.abi.to_string(),
            size_bytes: candidate.bytes.len() as u64,
            first_seen: datetime(now),
            inline: false,
            signature: candidate.signed.as_ref().map(|signed| signed.text.clone()),
        }
    }
}

impl Lock {
    /// Makes `version` the one in use, and the one that was until now the one before. Returns the hash of the one that
    /// nothing names any more.
    pub(crate) fn take(&mut self, library: &str, version: Build) -> Option<String> {
        let before = self.libraries.remove(library);
        let (previous, forgotten) = match before {
            Some(locked) if locked.current.sha256 == version.sha256 => (locked.previous, None),
            Some(locked) => (Some(locked.current), locked.previous),
            None => (None, None),
        };
        let locked = Locked {
            current: version,
            previous,
            passed_over: None,
        };
        self.libraries.insert(library.to_owned(), locked);
        forgotten
            .map(|version| version.sha256)
            .filter(|sha256| !self.names(sha256))
    }

    /// Whether `plugin trust --inline` said so of these bytes.
    pub(crate) fn trusts_inline(&self, library: &str, sha256: &str) -> bool {
        self.builds(library)
            .any(|build| build.inline && build.sha256 == sha256)
    }

    /// The builds of a library whose private copies are kept, the one in use first.
    pub(crate) fn builds(&self, library: &str) -> impl Iterator<Item = &Build> {
        let locked = self.libraries.get(library).into_iter();
        locked.flat_map(|locked| {
            [Some(&locked.current), locked.previous.as_ref()]
                .into_iter()
                .flatten()
        })
    }

    /// Whether a private copy of these bytes is kept.
    pub(crate) fn names(&self, sha256: &str) -> bool {
        let mut builds = self.libraries.keys().flat_map(|library| self.builds(library));
        builds.any(|build| build.sha256 == sha256)
    }
}

impl LockFile {
    pub(crate) fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// What stands in it; nothing if it is not there.
    pub(crate) fn read(&self) -> Result<Lock, Refusal> {
        match files::read_text(&self.0, Subject::LockFile) {
            Err(fault) if fault.is_missing() => Ok(Lock::default()),
            Err(fault) if fault.is_judgement() => Err(Refusal::of_fault(code::LOCK_FILE, &fault)),
            // What may pass by itself is no reason to trust anew.
            Err(fault) if fault.may_pass() => Err(Refusal {
                may_pass: true,
                ..Refusal::of_fault(code::LOCK_FILE, &fault)
            }),
            Err(fault) => Err(self.unreadable(&fault)),
            Ok(text) => self.parse(&text),
        }
    }

    fn unreadable(&self, problem: &dyn std::fmt::Display) -> Refusal {
        let sentence = format!(
            "{}, which says which libraries are trusted, cannot be read: {problem}; mend it, or delete it to trust the \
             libraries as they are now",
            self.0.display()
        );
        Refusal::new(code::LOCK_FILE, sentence)
    }

    fn parse(&self, text: &str) -> Result<Lock, Refusal> {
        let table: toml::Table = text
            .parse()
            .map_err(|error: toml::de::Error| self.unreadable(&error.message()))?;
        // Before all else, for what follows may look otherwise.
        match table.get("version").map(toml::Value::as_integer) {
            Some(Some(VERSION)) => {}
            Some(Some(later)) if later > VERSION => {
                let problem = format!(
                    "a later phone-verify wrote it, in version {later} of its form, and this one knows {VERSION}; run that \
                     one"
                );
                return Err(self.unreadable(&problem));
            }
            Some(_) => return Err(self.unreadable(&"its version is none")),
            None if !table.contains_key("libraries") => return Err(self.unreadable(&"it is empty")),
            None => {}
        }
        let lock: Lock = toml::Value::Table(table.clone())
            .try_into()
            .map_err(|error: toml::de::Error| self.unreadable(&error.message()))?;
        if !table.contains_key("libraries") {
            return Err(self.unreadable(&"it is cut off, for it does not list any libraries"));
        }
        match &lock.last_line {
            Some(last) if text.trim_end().lines().last() != Some(last) => {
                Err(self.unreadable(&format!("it is cut off, for its last line is not {last:?}")))
            }
            _ => Ok(lock),
        }
    }

    /// Changes it.
    pub(crate) fn change<T>(
        &self,
        change: impl FnOnce(&mut Lock) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        self.change_or_try(change, false)
    }

    /// Says why it could not be changed so, and leaves it as it is.
    pub(crate) fn try_to_change<T>(
        &self,
        change: impl FnOnce(&mut Lock) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        self.change_or_try(change, true)
    }

    fn change_or_try<T>(
        &self,
        change: impl FnOnce(&mut Lock) -> Result<T, Refusal>,
        only_tries: bool,
    ) -> Result<T, Refusal> {
        let unwritable = |error: io::Error| {
            let folder = files::folder_of(&self.0);
            if error.kind() == io::ErrorKind::NotFound {
                let sentence = format!(
                    "{}, where the trusted libraries are recorded, cannot be written, since there is no folder {}; make it, \
                     or correct [plugins] lock_file or, where that names none, [store] url",
                    self.0.display(),
                    folder.display()
                );
                return Refusal::new(code::LOCK_FILE, sentence);
            }
            let told = files::told(
                &error,
                "make its folder writable for the user that runs phone-verify, or name another file in [plugins] \
                 lock_file",
            );
            let sentence = format!(
                "{}, where the trusted libraries are recorded, cannot be written: {told}",
                self.0.display()
            );
            Refusal::of_error(code::LOCK_FILE, sentence, &error)
        };
        let place = files::judge(&self.0, Subject::LockFile);
        let (file, _) = place.map_err(|fault| match fault.into_io() {
            Ok(error) => unwritable(error),
            Err(fault) => Refusal::of_fault(code::LOCK_FILE, &fault),
        })?;
        let folder = files::folder_of(&file);
        // Held until it is dropped. The file itself cannot be locked, for it is replaced.
        let _locked = exclusive::lock(folder).map_err(unwritable)?;
        let before = self.read()?;
        let mut after = before.clone();
        let changed = change(&mut after)?;
        if after != before {
            after.version = Some(VERSION);
            after.last_line = Some(LAST_LINE.to_owned());
            let written = write(folder, &after).map_err(unwritable)?;
            if !only_tries {
                written.persist(&file).map_err(|error| unwritable(error.error))?;
            }
        }
        Ok(changed)
    }
}

/// A file with this in it, which is gone if it is not given a name.
fn write(folder: &Path, lock: &Lock) -> io::Result<tempfile::NamedTempFile> {
    let text = toml::to_string(lock).map_err(io::Error::other)?;
    let mut file = tempfile::Builder::new()
        .prefix(".plugins.lock-")
        .tempfile_in(folder)?;
    write!(file, "{HEADING}\n{text}\n{LAST_LINE}\n")?;
    // Nothing in it is secret.
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::Permissions::from_mode(0o644);
        file.as_file().set_permissions(mode)?;
    }
    file.as_file().sync_all()?;
    Ok(file)
}

#[cfg(not(unix))]
mod exclusive {
    //! One process at a time changes what lies in a folder, which cannot be locked itself.

    use std::{
        fs::{File, OpenOptions},
        io,
        path::Path,
    };

    /// Until the file is dropped.
    pub(super) fn lock(folder: &Path) -> io::Result<File> {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(folder.join(".plugins.lock.lock"))?;
        file.lock()?;
        Ok(file)
    }
}

#[cfg(unix)]
mod exclusive {
    //! One process at a time changes what lies in a folder.

    use std::{
        fs::{File, OpenOptions},
        io,
        os::unix::fs::OpenOptionsExt,
        path::Path,
    };

    use rustix::io::Errno;

    /// Of a file system that locks only what is open for writing, which no folder is, as NFS.
    const BESIDE: &str = ".plugins.lock.lock";

    /// Until the file is dropped.
    pub(super) fn lock(folder: &Path) -> io::Result<File> {
        let file = File::open(folder)?;
        let error = match file.lock() {
            Ok(()) => return Ok(file),
            Err(error) => error,
        };
        let needs_a_file = [Errno::BADF, Errno::INVAL, Errno::ISDIR];
        if !needs_a_file
            .iter()
            .any(|needs| error.raw_os_error() == Some(needs.raw_os_error()))
        {
            return Err(error);
        }
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or(0))
            .open(folder.join(BESIDE))?;
        file.lock()?;
        Ok(file)
    }
}

/// To the second, in UTC. The days are counted as in Howard Hinnant's "chrono-Compatible Low-Level Date Algorithms".
fn datetime(UnixMillis(now): UnixMillis) -> Datetime {
    let (days, second) = (now / 86_400_000, now / 1000 % 86_400);
    // Of an era of 400 years that begins with a March.
    let day = days + 719_468;
    let (era, day) = (day / 146_097, day % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = 400 * era + year + u64::from(month <= 2);
    let small = |number: u64| u8::try_from(number).unwrap_or(u8::MAX);
    Datetime {
        date: Some(Date {
            year: u16::try_from(year).unwrap_or(u16::MAX),
            month: small(month),
            day: small(day),
        }),
        time: Some(Time {
            hour: small(second / 3600),
            minute: small(second / 60 % 60),
            second: Some(small(second % 60)),
            nanosecond: None,
        }),
        offset: Some(Offset::Z),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn version(sha256: &str) -> Build {
        Build {
            sha256: sha256.to_owned(),
            version: "1.0.0".to_owned(),
            abi: "1.0".to_owned(),
            size_bytes: 3,
            first_seen: datetime(UnixMillis(0)),
            inline: false,
            signature: None,
        }
    }

    fn take(file: &LockFile, library: &str, sha256: &str) -> Option<String> {
        file.change(|lock| Ok(lock.take(library, version(sha256))))
            .unwrap()
    }

    #[test]
    fn days_are_those_of_the_calendar() {
        let shown = |seconds: u64| datetime(UnixMillis(seconds * 1000)).to_string();
        assert_eq!(shown(0), "1970-01-01T00:00:00Z");
        assert_eq!(shown(951_782_400 + 86_399), "2000-02-29T23:59:59Z");
        assert_eq!(shown(1_767_225_600), "2026-01-01T00:00:00Z");
        assert_eq!(shown(4_107_542_400), "2100-03-01T00:00:00Z");
    }

    #[test]
    fn what_is_taken_is_read_again_with_what_was_before() {
        let folder = tempfile::tempdir().unwrap();
        let file = LockFile::new(&folder.path().join("plugins.lock"));
        assert_eq!(file.read().unwrap(), Lock::default());
        for sha256 in ["a", "b", "b"] {
            assert_eq!(take(&file, "acme", sha256), None);
        }
        let locked = &file.read().unwrap().libraries["acme"];
        assert_eq!(locked.current.sha256, "b");
        assert_eq!(locked.previous.as_ref().unwrap().sha256, "a");
        assert_eq!(take(&file, "acme", "c"), Some("a".to_owned()));
        assert_eq!(
            fs::read_dir(folder.path()).unwrap().count(),
            1,
            "nothing is left behind"
        );
    }

    #[test]
    fn many_that_change_it_at_once_lose_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = LockFile::new(&folder.path().join("plugins.lock"));
        let names: Vec<String> = (0..32).map(|number| format!("library_{number}")).collect();
        std::thread::scope(|scope| {
            for name in &names {
                scope.spawn(|| take(&file, name, "a"));
            }
        });
        assert!(
            file.read()
                .unwrap()
                .libraries
                .keys()
                .all(|name| names.contains(name))
        );
        assert_eq!(file.read().unwrap().libraries.len(), names.len());
    }

    #[test]
    fn a_file_that_was_cut_off_anywhere_means_the_same_or_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plugins.lock");
        let file = LockFile::new(&path);
        for (library, sha256) in [("acme", "a"), ("acme", "b"), ("zulu", "c"), ("zulu", "d")] {
            take(&file, library, sha256);
        }
        file.change(|lock| {
            let zulu = lock.libraries.get_mut("zulu").unwrap();
            zulu.current.inline = true;
            zulu.passed_over = Some(PassedOver {
                sha256: "e".to_owned(),
                refusal: String::new(),
            });
            Ok(())
        })
        .unwrap();
        let whole = file.read().unwrap();
        let text = fs::read(&path).unwrap();
        let mut refused = 0;
        for length in 0..=text.len() {
            fs::write(&path, &text[..length]).unwrap();
            match file.read() {
                Ok(lock) => assert_eq!(lock, whole, "{length} of {}", text.len()),
                Err(refusal) => {
                    assert_eq!(refusal.code, code::LOCK_FILE);
                    refused += 1;
                }
            }
        }
        assert_eq!(refused, text.len() - 1, "all but the last line's end is needed");
    }

    #[test]
    fn a_file_of_before_there_was_a_last_line_is_read_and_gets_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plugins.lock");
        let file = LockFile::new(&path);
        take(&file, "acme", "a");
        let text = fs::read_to_string(&path).unwrap();
        let lines = text.lines().filter(|line| !line.contains(LAST_LINE));
        let before: String = lines.flat_map(|line| [line, "\n"]).collect();
        assert!(before.contains("version = 1"), "{before}");
        fs::write(&path, before).unwrap();
        assert_eq!(file.read().unwrap().libraries["acme"].current.sha256, "a");
        take(&file, "acme", "b");
        assert!(
            fs::read_to_string(&path)
                .unwrap()
                .ends_with(&format!("{LAST_LINE}\n"))
        );
    }

    #[test]
    fn a_file_that_is_no_lock_is_refused_and_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plugins.lock");
        fs::write(&path, "[libraries.acme]\nsha = 5\n").unwrap();
        let file = LockFile::new(&path);
        let refusal = file.change(|_| Ok(())).unwrap_err();
        assert_eq!(refusal.code, code::LOCK_FILE);
        assert!(refusal.sentence.contains("cannot be read: "), "{refusal}");
        assert!(fs::read_to_string(&path).unwrap().contains("sha = 5"));
    }
}
