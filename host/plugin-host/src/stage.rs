//! Makes the private copy of a library that is opened: `<sha256>.so` in a directory of our own.
//!
//! A copy, because the system's loader caches by name, and because overwriting a mapped file crashes who
//! mapped it: the file in the plugin directory may be replaced at any time. Named by its hash, so that two
//! builds never share a name.
//!
//! Invariant: the bytes that were checked are the bytes that are opened.

use std::{
    env::consts::DLL_SUFFIX,
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use super::refusal::{Refusal, code};
use crate::files::{self, Fault, Subject};

/// The hash that names a library's content, in lower-case hex.
pub(super) fn sha256(bytes: &[u8]) -> String {
    HEXLOWER.encode(&Sha256::digest(bytes))
}

/// The copy of the bytes with this hash.
pub(super) fn copy(directory: &Path, sha256: &str) -> PathBuf {
    directory.join(format!("{sha256}{DLL_SUFFIX}"))
}

/// Deletes the copy that nobody needs any more; who has opened it keeps it.
pub(super) fn discard(directory: &Path, sha256: &str) {
    // One that stays does no harm.
    let _ = fs::remove_file(copy(directory, sha256));
}

/// Deletes the copies that no version needs any more, given the hashes of those that one does. Where a file cannot be
/// deleted while it is open in a process, as on Windows, [`discard`] leaves it to the next start.
pub(super) fn sweep(directory: &Path, needed: impl Fn(&str) -> bool) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = entry.file_name();
        let hash = name.to_str().and_then(|name| name.strip_suffix(DLL_SUFFIX));
        let is_hash = |hash: &&str| hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
        if hash.filter(is_hash).is_some_and(|hash| !needed(hash)) {
            // Another process may have it open.
            let _ = fs::remove_file(path);
        }
    }
}

/// A private copy, open, so that it can be made again whatever becomes of its name.
#[derive(Debug)]
pub(super) struct Staged {
    /// Absolute, links followed: the system's loader would search for a bare name in its own directories.
    pub(super) path: PathBuf,
    file: fs::File,
}

/// Copies `bytes` to where they are opened from, unless they lie there already.
pub(super) fn stage(directory: &Path, sha256: &str, bytes: &[u8]) -> Result<Staged, Refusal> {
    let folder = files::private_folder(directory, Subject::PrivateCopies);
    let staged = folder
        .map_err(Trouble::Fault)
        .and_then(|folder| place(&folder, sha256, bytes));
    staged.map_err(|trouble| {
        let shown = directory.display();
        match trouble {
            Trouble::Fault(fault) if fault.is_judgement() => Refusal::new(
                code::NOT_STAGED,
                format!("no private copy of the library can be made in {shown}: {fault}"),
            ),
            trouble => {
                let error = trouble.error();
                let told = files::told(&error, "name a directory that only this user can write to");
                let sentence = format!("no private copy of the library can be made in {shown}: {told}");
                Refusal::of_error(code::NOT_STAGED, sentence, &error)
            }
        }
    })
}

enum Trouble {
    Fault(Fault),
    Io(io::Error),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Trouble {
    fn error(self) -> io::Error {
        match self {
            Self::Io(error) => error,
            Self::Fault(fault) => fault.into_io().unwrap_or_else(io::Error::other),
        }
    }
}

/// The copy in a folder that was judged.
fn place(folder: &Path, sha256: &str, bytes: &[u8]) -> Result<Staged, Trouble> {
    let path = copy(folder, sha256);
    if let Some(file) = whole(&path, bytes) {
        return Ok(Staged { path, file });
    }
    let mut file = tempfile::Builder::new().prefix(".staging-").tempfile_in(folder)?;
    file.write_all(bytes)?;
    readable_only(file.as_file())?;
    file.persist(&path).map_err(|error| error.error)?;
    match whole(&path, bytes) {
        Some(file) => Ok(Staged { path, file }),
        None => Err(io::Error::other(format!("{} was changed while it was made", path.display())).into()),
    }
}

/// The file, if it holds these bytes, and nobody else can have a hand in it. Read again rather than trusted: a full
/// disk may have cut it off.
fn whole(path: &Path, bytes: &[u8]) -> Option<fs::File> {
    let file = files::open(path, Subject::PrivateCopies).ok()?;
    if !is_ours_alone(&file.metadata().ok()?) {
        return None;
    }
    let mut found = Vec::new();
    files::read_into(file.try_clone().ok()?, path, Subject::PrivateCopies, &mut found).ok()?;
    (found == bytes).then_some(file)
}

/// Under one name only, and this user's: else somebody may write it under another.
#[cfg(unix)]
fn is_ours_alone(found: &fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;

    found.nlink() == 1 && found.uid() == rustix::process::geteuid().as_raw()
}

#[cfg(not(unix))]
fn is_ours_alone(_found: &fs::Metadata) -> bool {
    true
}

/// Before it is opened again: makes sure that what lies there is what was hashed, and makes it again out of its open
/// file if it is gone or another.
pub(super) fn restore(staged: &Staged) -> Result<(), Refusal> {
    let path = staged.path.display();
    let not_staged = |error: io::Error| {
        let sentence = format!("the private copy {path} is gone and cannot be made again: {error}");
        Refusal::of_error(code::NOT_STAGED, sentence, &error)
    };
    let read = || {
        let length = usize::try_from(staged.file.metadata()?.len()).map_err(io::Error::other)?;
        let mut bytes = vec![0; length];
        read_from_start(&staged.file, &mut bytes)?;
        Ok::<_, io::Error>(bytes)
    };
    let bytes = read().map_err(not_staged)?;
    let name = staged.path.file_stem().and_then(std::ffi::OsStr::to_str);
    let found = sha256(&bytes);
    if name != Some(&found) {
        return Err(Refusal::new(
            code::NOT_STAGED,
            format!(
                "the private copy {path} was changed after it was made, by this user or root; put the library into the \
                 plugin directory again, and restart phone-verify"
            ),
        ));
    }
    stage(files::folder_of(&staged.path), &found, &bytes).map(drop)
}

#[cfg(unix)]
fn read_from_start(file: &fs::File, bytes: &mut [u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, 0)
}

#[cfg(not(unix))]
fn read_from_start(file: &fs::File, bytes: &mut [u8]) -> io::Result<()> {
    use std::io::{Read, Seek};

    let mut file = file;
    file.rewind()?;
    file.read_exact(bytes)
}

#[cfg(unix)]
fn readable_only(file: &fs::File) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;

    file.set_permissions(fs::Permissions::from_mode(0o500))
}

#[cfg(not(unix))]
fn readable_only(_file: &fs::File) -> io::Result<()> {
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::*;

    #[allow(clippy::unwrap_used, reason = "for tests")]
    fn staged(directory: &Path) -> Staged {
        stage(directory, &sha256(b"abc"), b"abc").unwrap()
    }

    #[test]
    fn a_copy_is_private_and_named_by_its_hash() {
        let home = tempfile::tempdir().unwrap();
        let directory = home.path().join("a/b");
        let path = staged(&directory).path;
        assert_eq!(
            path.file_name().unwrap().to_str().unwrap(),
            format!("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad{DLL_SUFFIX}")
        );
        assert_eq!(fs::read(&path).unwrap(), b"abc");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o500);
        assert_eq!(fs::metadata(&directory).unwrap().mode() & 0o777, 0o700);
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1);
    }

    #[test]
    fn a_sweep_deletes_the_copies_that_no_version_needs_and_nothing_else() {
        let home = tempfile::tempdir().unwrap();
        let needed = staged(home.path()).path;
        let other = stage(home.path(), &sha256(b"old"), b"old").unwrap().path;
        let note = home.path().join("note.txt");
        fs::write(&note, "").unwrap();
        sweep(home.path(), |hash| hash == sha256(b"abc"));
        assert!(needed.exists() && note.exists() && !other.exists());
    }

    #[test]
    fn a_copy_that_is_whole_stays_and_one_that_is_cut_off_is_made_again() {
        let home = tempfile::tempdir().unwrap();
        let inode = |path: &Path| fs::metadata(path).unwrap().ino();
        let path = staged(home.path()).path;
        let first = inode(&path);
        assert_eq!(inode(&staged(home.path()).path), first);

        fs::remove_file(&path).unwrap();
        fs::write(&path, b"ab").unwrap();
        assert_eq!(fs::read(staged(home.path()).path).unwrap(), b"abc");
    }

    #[test]
    fn a_copy_that_somebody_has_under_another_name_is_made_again() {
        let home = tempfile::tempdir().unwrap();
        let staging = home.path().join("staged");
        let path = staged(&staging).path;
        let theirs = home.path().join("theirs");
        fs::hard_link(&path, &theirs).unwrap();
        let again = staged(&staging);
        fs::set_permissions(&theirs, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&theirs, b"evil").unwrap();
        restore(&again).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"abc");
    }

    #[test]
    fn a_copy_that_was_deleted_or_exchanged_is_made_again_before_it_is_opened() {
        let home = tempfile::tempdir().unwrap();
        let staging = home.path().join("staged");
        let first = staged(&staging);
        fs::remove_dir_all(&staging).unwrap();
        restore(&first).unwrap();
        assert_eq!(fs::read(&first.path).unwrap(), b"abc");
        fs::remove_file(&first.path).unwrap();
        fs::write(&first.path, b"evil").unwrap();
        restore(&first).unwrap();
        assert_eq!(fs::read(&first.path).unwrap(), b"abc");
    }

    #[test]
    fn a_copy_that_was_changed_where_it_lies_is_not_opened_again() {
        let home = tempfile::tempdir().unwrap();
        let first = staged(home.path());
        fs::set_permissions(&first.path, fs::Permissions::from_mode(0o700)).unwrap();
        fs::write(&first.path, b"evil").unwrap();
        let refusal = restore(&first).unwrap_err();
        assert_eq!(refusal.code, code::NOT_STAGED);
        assert!(
            refusal.sentence.contains("was changed after it was made"),
            "{refusal}"
        );
    }

    #[test]
    fn a_directory_that_others_can_write_to_is_closed_to_them() {
        let home = tempfile::tempdir().unwrap();
        fs::set_permissions(home.path(), fs::Permissions::from_mode(0o777)).unwrap();
        staged(home.path());
        assert_eq!(fs::metadata(home.path()).unwrap().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("file");
        fs::write(&file, "").unwrap();
        let refusal = stage(&file, "x", b"abc").unwrap_err();
        assert_eq!(refusal.code, code::NOT_STAGED);
        assert!(
            refusal.sentence.starts_with(&format!(
                "no private copy of the library can be made in {}",
                file.display()
            )),
            "{refusal}"
        );
    }
}
