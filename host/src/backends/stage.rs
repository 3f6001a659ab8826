//! Makes the private copy of a library that is opened: `<sha256>.so` in a directory of our own.
//!
//! A copy, because the system's loader caches by name, and because overwriting a mapped file crashes who
//! mapped it: the file in the plugin directory may be replaced at any time. Named by its hash, so that two
//! builds never share a name.
//!
//! Invariant: the bytes that were checked are the bytes that are opened.

use std::{
    env::consts::DLL_SUFFIX,
    fs::{self, DirBuilder, Permissions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use super::refusal::{Refusal, code};

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

/// Copies `bytes` to where they are opened from, unless they lie there already.
pub(super) fn stage(directory: &Path, sha256: &str, bytes: &[u8]) -> Result<PathBuf, Refusal> {
    let path = copy(directory, sha256);
    write(directory, &path, bytes).map_err(|error| {
        Refusal::new(
            code::NOT_STAGED,
            format!(
                "no private copy of the library can be made in {}: {error}; name a directory that only this user \
                 can write to",
                directory.display()
            ),
        )
    })?;
    // The loader wants an absolute path: a bare name would be searched for in the system's directories.
    fs::canonicalize(&path).map_err(|error| Refusal::new(code::NOT_STAGED, error.to_string()))
}

/// Makes the copy at `path` again out of its open file, if somebody has deleted it.
#[cfg(unix)]
pub(super) fn restore(path: &Path, staged: &fs::File) -> Result<(), Refusal> {
    use std::os::unix::fs::FileExt;

    if path.exists() {
        return Ok(());
    }
    let again = || {
        let length = usize::try_from(staged.metadata()?.len()).map_err(io::Error::other)?;
        let mut bytes = vec![0; length];
        staged.read_exact_at(&mut bytes, 0)?;
        write(path.parent().unwrap_or(Path::new("/")), path, &bytes)
    };
    again().map_err(|error| {
        let sentence = format!(
            "the private copy {} is gone and cannot be made again: {error}",
            path.display()
        );
        Refusal::new(code::NOT_STAGED, sentence)
    })
}

fn write(directory: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    own(directory)?;
    // Read again rather than trusted: a full disk may have cut it off.
    if fs::read(path).is_ok_and(|staged| staged == bytes) {
        return Ok(());
    }
    let mut file = tempfile::Builder::new()
        .prefix(".staging-")
        .tempfile_in(directory)?;
    file.write_all(bytes)?;
    readable_only(file.as_file())?;
    file.persist(path)?;
    Ok(())
}

/// Makes the directory, or makes sure that nobody else can write to it.
#[cfg(unix)]
fn own(directory: &Path) -> io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};

    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let metadata = fs::metadata(directory)?;
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err(io::Error::other(format!("it belongs to user {}", metadata.uid())));
    }
    if metadata.mode() & 0o077 != 0 {
        fs::set_permissions(directory, Permissions::from_mode(0o700))?;
    }
    Ok(())
}

#[cfg(not(unix))]
fn own(directory: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).create(directory)
}

#[cfg(unix)]
fn readable_only(file: &fs::File) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;

    file.set_permissions(Permissions::from_mode(0o500))
}

#[cfg(not(unix))]
fn readable_only(_file: &fs::File) -> io::Result<()> {
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::*;

    #[test]
    fn a_copy_is_private_and_named_by_its_hash() {
        let home = tempfile::tempdir().unwrap();
        let directory = home.path().join("a/b");
        let path = stage(&directory, &sha256(b"abc"), b"abc").unwrap();
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
    fn a_copy_that_is_whole_stays_and_one_that_is_cut_off_is_made_again() {
        let home = tempfile::tempdir().unwrap();
        let inode = |path: &Path| fs::metadata(path).unwrap().ino();
        let path = stage(home.path(), "x", b"abc").unwrap();
        let first = inode(&path);
        assert_eq!(inode(&stage(home.path(), "x", b"abc").unwrap()), first);

        fs::remove_file(&path).unwrap();
        fs::write(&path, b"ab").unwrap();
        let path = stage(home.path(), "x", b"abc").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"abc");
    }

    #[test]
    fn a_copy_that_was_deleted_is_made_again() {
        let home = tempfile::tempdir().unwrap();
        let path = stage(&home.path().join("staged"), "x", b"abc").unwrap();
        let staged = fs::File::open(&path).unwrap();
        fs::remove_dir_all(home.path().join("staged")).unwrap();
        restore(&path, &staged).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"abc");
    }

    #[test]
    fn a_directory_that_others_can_write_to_is_closed_to_them() {
        let home = tempfile::tempdir().unwrap();
        fs::set_permissions(home.path(), Permissions::from_mode(0o777)).unwrap();
        stage(home.path(), "x", b"abc").unwrap();
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
