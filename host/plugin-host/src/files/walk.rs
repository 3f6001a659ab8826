//! Walks a path from the root, through folders that are opened and judged one after the other, and through links.

use std::{
    collections::VecDeque,
    ffi::{OsStr, OsString},
    fs::File,
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStringExt,
    },
    path::{Component, Path, PathBuf},
};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, fchmod, fstat, mkdirat, openat, readlinkat, statat};

use super::{
    Fault, Subject,
    fault::Problem,
    list::List,
    standing::{Own, Standing, mode_of},
};

/// As the kernel has it.
const MAX_LINKS: usize = 40;

/// A folder may be searched without being readable.
#[cfg(any(target_os = "linux", target_os = "android"))]
const SEARCH: OFlags = OFlags::PATH;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const SEARCH: OFlags = OFlags::RDONLY;

/// Where a path leads: an open folder that was judged, with all above it, and a name in it.
pub(super) struct Place {
    own: Own,
    folder: OwnedFd,
    name: OsString,
    /// Links followed.
    path: PathBuf,
    /// `None`: there is nothing yet.
    found: Option<Stat>,
}

/// Walks to a file, which need not be there; its folder must be.
pub(super) fn to(path: &Path, subject: Subject) -> Result<Place, Fault> {
    let fault = |at: &Path, error: io::Error| Fault::new(at, subject, Problem::Io(error));
    let absolute = std::path::absolute(path).map_err(|error| fault(path, error))?;
    let mut left: VecDeque<OsString> = names(&absolute).collect();
    let mut at = PathBuf::from("/");
    let own = Own::now();
    let mut folder = enter(rustix::fs::CWD, OsStr::new("/"), &at, subject, &own)?;
    let mut links = 0;
    loop {
        let Some(name) = left.pop_front() else {
            // The root itself, or what ends in "..".
            let found = fstat(&folder).map_err(|error| fault(&at, error.into()))?;
            return Ok(Place {
                own,
                folder,
                name: ".".into(),
                path: at,
                found: Some(found),
            });
        };
        if name == ".." {
            at.pop();
            folder = enter(folder.as_fd(), OsStr::new(".."), &at, subject, &own)?;
            continue;
        }
        let here = at.join(&name);
        let found = match statat(&folder, &name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) => found,
            Err(rustix::io::Errno::NOENT) if left.is_empty() => {
                return Ok(Place {
                    own,
                    folder,
                    name,
                    path: here,
                    found: None,
                });
            }
            Err(error) => return Err(fault(&here, error.into())),
        };
        if FileType::from_raw_mode(found.st_mode).is_symlink() {
            links += 1;
            if links > MAX_LINKS {
                return Err(fault(path, rustix::io::Errno::LOOP.into()));
            }
            // Its mode says nothing; its owner could exchange it where the folder is sticky.
            let mut standing = Standing::of(&found, subject, || None);
            standing.mode &= !0o777;
            judge(standing, &here, subject, &own)?;
            let target =
                readlinkat(&folder, &name, Vec::new()).map_err(|error| fault(&here, error.into()))?;
            let target = PathBuf::from(OsString::from_vec(target.into_bytes()));
            if target.is_absolute() {
                at = PathBuf::from("/");
                folder = enter(rustix::fs::CWD, OsStr::new("/"), &at, subject, &own)?;
            }
            for name in names(&target).collect::<Vec<_>>().into_iter().rev() {
                left.push_front(name);
            }
        } else if left.is_empty() {
            return Ok(Place {
                own,
                folder,
                name,
                path: here,
                found: Some(found),
            });
        } else {
            folder = enter(folder.as_fd(), &name, &here, subject, &own)?;
            at = here;
        }
    }
}

fn names(path: &Path) -> impl Iterator<Item = OsString> {
    path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    })
}

/// Opens a folder below one that is open, and judges it.
fn enter(
    above: BorrowedFd<'_>,
    name: &OsStr,
    path: &Path,
    subject: Subject,
    own: &Own,
) -> Result<OwnedFd, Fault> {
    let fault = |error: rustix::io::Errno| Fault::new(path, subject, Problem::Io(error.into()));
    let flags = SEARCH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = openat(above, name, flags, Mode::empty()).map_err(fault)?;
    let found = fstat(&folder).map_err(fault)?;
    judge(
        Standing::of(&found, subject, || List::of(&folder, own)),
        path,
        subject,
        own,
    )?;
    Ok(folder)
}

fn judge(standing: Standing, path: &Path, subject: Subject, own: &Own) -> Result<(), Fault> {
    if !subject.is_judged() {
        return Ok(());
    }
    match standing.writers(own) {
        Some(problem) => Err(Fault::new(path, subject, problem)),
        None => Ok(()),
    }
}

impl Place {
    fn fault(&self, subject: Subject, problem: Problem) -> Fault {
        Fault::new(&self.path, subject, problem)
    }

    fn no_file(&self, subject: Subject, mode: rustix::fs::RawMode) -> Option<Fault> {
        let kind = match FileType::from_raw_mode(mode) {
            FileType::RegularFile => return None,
            FileType::Directory => "a folder",
            FileType::Fifo => "a named pipe",
            FileType::Socket => "a socket",
            FileType::CharacterDevice | FileType::BlockDevice => "a device",
            _ => "no regular file",
        };
        Some(self.fault(subject, Problem::NotAFile(kind)))
    }

    /// Opens the file that is there for reading, and judges what was opened.
    pub(super) fn open(self, subject: Subject) -> Result<File, Fault> {
        let io = |error: rustix::io::Errno| self.fault(subject, Problem::Io(error.into()));
        let found = self.found.as_ref().ok_or_else(|| io(rustix::io::Errno::NOENT))?;
        // Opening some devices does something.
        if let Some(fault) = self.no_file(subject, found.st_mode) {
            return Err(fault);
        }
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NOCTTY;
        let file = match openat(&self.folder, &self.name, flags, Mode::empty()) {
            Ok(file) => file,
            // That others can write it is reported before that this user cannot read it.
            Err(error) => {
                self.judge_found(found, subject, || None)?;
                return Err(io(error));
            }
        };
        let found = fstat(&file).map_err(io)?;
        if let Some(fault) = self.no_file(subject, found.st_mode) {
            return Err(fault);
        }
        self.judge_found(&found, subject, || List::of(&file, &self.own))?;
        Ok(file.into())
    }

    fn judge_found(
        &self,
        found: &Stat,
        subject: Subject,
        list: impl FnOnce() -> Option<List>,
    ) -> Result<(), Fault> {
        let standing = Standing::of(found, subject, list);
        judge(standing, &self.path, subject, &self.own)?;
        if subject.is_secret()
            && let Some(problem) = standing.readers(&self.own)
        {
            return Err(self.fault(subject, problem));
        }
        Ok(())
    }

    /// Judges what is there without opening it.
    pub(super) fn judged(self, subject: Subject) -> Result<(PathBuf, bool), Fault> {
        if let Some(found) = &self.found {
            if let Some(fault) = self.no_file(subject, found.st_mode) {
                return Err(fault);
            }
            let list = || {
                let flags = SEARCH | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
                // What cannot be opened has no list that lets anybody else in.
                let file = openat(&self.folder, &self.name, flags, Mode::empty()).ok()?;
                List::of(&file, &self.own)
            };
            self.judge_found(found, subject, list)?;
        }
        let is_there = self.found.is_some();
        Ok((self.path, is_there))
    }

    /// Makes a folder here if there is nothing.
    pub(super) fn make(&self, subject: Subject) -> Result<(), Fault> {
        if self.found.is_some() {
            return Ok(());
        }
        match mkdirat(&self.folder, &self.name, Mode::RWXU) {
            // Another process may have been faster.
            Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(()),
            Err(error) => Err(self.fault(subject, Problem::Io(error.into()))),
        }
    }

    /// Makes the folder that this is, or makes sure that it is this user's, and closes it to others.
    pub(super) fn private_folder(self, subject: Subject) -> Result<PathBuf, Fault> {
        let io = |error: rustix::io::Errno| self.fault(subject, Problem::Io(error.into()));
        self.make(subject)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = openat(&self.folder, &self.name, flags, Mode::empty());
        // One that belongs to somebody else may not even be opened.
        let found = match (&opened, self.found) {
            (Ok(opened), _) => fstat(opened).map_err(io)?,
            (Err(_), Some(found)) => found,
            (Err(error), None) => return Err(io(*error)),
        };
        if found.st_uid != self.own.user {
            let problem = Problem::Owner {
                owner: found.st_uid,
                own: self.own.user,
                mode: mode_of(&found) & 0o7777,
            };
            return Err(self.fault(subject, problem));
        }
        let opened = opened.map_err(io)?;
        if mode_of(&found) & 0o077 != 0 {
            fchmod(&opened, Mode::RWXU).map_err(io)?;
        }
        Ok(self.path)
    }
}
