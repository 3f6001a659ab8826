//! The files that this program depends on: who can have written them, who can read them, and what they are. Libraries,
//! their private copies, the lock file, the database, the keys and the settings are all judged here, by one rule, which
//! is that of `StrictModes` in OpenSSH: the file, every folder above it and every link on the way belongs to root or to
//! the user that runs this program, and nobody else can write it.
//!
//! Invariants: a path is walked from the root, one open folder after the other, and each is judged before it is
//! searched, so nobody else can exchange what lies behind it; nothing but a regular file is opened, never waiting for a
//! writer; and no more of it is read than its bound.

mod fault;
mod leftovers;
#[cfg(unix)]
mod list;
#[cfg(unix)]
mod owner;
#[cfg(unix)]
mod standing;
mod subject;
#[cfg(all(test, unix))]
mod tests;
#[cfg(unix)]
mod walk;
#[cfg(not(unix))]
#[path = "walk_elsewhere.rs"]
mod walk;

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

pub use fault::{Fault, may_pass, readable_cure, told};
pub use leftovers::delete_leftovers;
#[cfg(unix)]
pub use owner::{act_as_owner, act_as_owner_of_folder};
pub use subject::Subject;

use fault::Problem;

/// Opens a file for reading that is there and may be used.
pub fn open(path: &Path, subject: Subject) -> Result<File, Fault> {
    walk::to(path, subject)?.open(subject)
}

/// What is in a file that is there and may be used.
pub fn read(path: &Path, subject: Subject) -> Result<Vec<u8>, Fault> {
    let mut bytes = Vec::new();
    read_into(open(path, subject)?, path, subject, &mut bytes)?;
    Ok(bytes)
}

/// What is in a file of text that is there and may be used.
pub fn read_text(path: &Path, subject: Subject) -> Result<String, Fault> {
    let not_text = |_| Problem::Io(io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8"));
    String::from_utf8(read(path, subject)?).map_err(|error| Fault::new(path, subject, not_text(error)))
}

/// The same of a file that is open. What was read of it before an error stays in `bytes`.
pub fn read_into(file: File, path: &Path, subject: Subject, bytes: &mut Vec<u8>) -> Result<(), Fault> {
    let limit = subject.max_bytes();
    let fault = |problem| Fault::new(path, subject, problem);
    let size = file.metadata().map_err(|error| fault(Problem::Io(error)))?.len();
    if size > limit {
        return Err(fault(Problem::TooBig { size, limit }));
    }
    bytes.reserve(usize::try_from(size).unwrap_or(0) + 1);
    file.take(limit + 1)
        .read_to_end(bytes)
        .map_err(|error| fault(Problem::Io(error)))?;
    // It may have grown meanwhile.
    let size = bytes.len() as u64;
    if size > limit {
        return Err(fault(Problem::TooBig { size, limit }));
    }
    Ok(())
}

/// Judges a file, or, if it is not there, the folder in which it would be made. Returns where it is, links followed,
/// and whether it is there.
pub fn judge(path: &Path, subject: Subject) -> Result<(PathBuf, bool), Fault> {
    walk::to(path, subject)?.judged(subject)
}

/// Why other users can read what is in a file, if they can: by its own mode, and through every folder above it.
pub fn exposure(path: &Path) -> Option<Fault> {
    let fault = judge(path, Subject::Secret).err()?;
    let is_reached = path.canonicalize().is_ok_and(|path| can_be_reached(&path));
    (fault.is_readable() && is_reached).then_some(fault)
}

/// Whether each user can look up names in all folders above a file.
#[cfg(unix)]
fn can_be_reached(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;

    let is_open = |folder: &Path| {
        folder
            .metadata()
            .is_ok_and(|found| found.permissions().mode() & 0o001 != 0)
    };
    path.ancestors().skip(1).all(is_open)
}

#[cfg(not(unix))]
fn can_be_reached(_path: &Path) -> bool {
    false
}

/// Judges a folder, makes it if it is not there, and closes it to all but its owner, who must be this user. Returns
/// where it is, links followed.
pub fn private_folder(path: &Path, subject: Subject) -> Result<PathBuf, Fault> {
    make_above(path, subject)?;
    walk::to(path, subject)?.private_folder(subject)
}

/// Makes the folders above a path that are not there.
fn make_above(path: &Path, subject: Subject) -> Result<(), Fault> {
    match walk::to(path, subject) {
        Err(fault) if fault.is_missing() => {
            let above = folder_of(path);
            make_above(above, subject)?;
            walk::to(above, subject)?.make(subject)
        }
        place => place.map(drop),
    }
}

/// The folder that a file lies in, as it is written.
pub fn folder_of(file: &Path) -> &Path {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        Some(_) => Path::new("."),
        None => Path::new("/"),
    }
}
