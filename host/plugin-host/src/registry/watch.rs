//! What can be seen from outside of the library in use, to tell whether it may have changed. Nothing is opened but the
//! lock file.

use std::{
    fs::Metadata,
    path::{Path, PathBuf},
    time::SystemTime,
};

use super::Loader;
use crate::{
    discover,
    trust::{Trust, path_beside},
};

/// How one library lies there, and what is said of it. Two that are equal mean that nothing has changed.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    file: Option<(PathBuf, Stamp, Option<Stamp>)>,
    /// The signature beside it, where signatures count: it may come later than the library.
    signature: Option<Stamp>,
    /// The hash of the version in use by the lock file, whether it may run in this process, and the hash of one that is
    /// rolled back.
    locked: Option<(String, bool, Option<String>)>,
}

/// Of a file, or the owner and mode of a folder.
#[derive(Clone, Debug, PartialEq)]
struct Stamp {
    size_bytes: u64,
    modified: Option<SystemTime>,
    #[cfg(unix)]
    inode: [i64; 5],
}

impl Loader {
    /// How the library lies there now. Takes some 50 µs.
    pub fn look(&self, library: &str) -> Seen {
        let found = discover::one(&self.config.directories, library).ok();
        let lock = self.config.trust.lock().unwrap_or_default();
        let locked = lock.libraries.get(library).map(|locked| {
            let passed_over = locked.passed_over.as_ref();
            let rolled_back = passed_over.filter(|build| build.is_rolled_back());
            (
                locked.current.sha256.clone(),
                locked.current.inline,
                rolled_back.map(|build| build.sha256.clone()),
            )
        });
        let signature = found.as_ref().filter(|_| self.config.trust.mode == Trust::Signed);
        Seen {
            signature: signature
                .and_then(|found| std::fs::metadata(path_beside(&found.path)).ok())
                .map(|metadata| stamp(&metadata)),
            file: found.and_then(|found| {
                let file = stamp(&std::fs::metadata(&found.path).ok()?);
                let folder = found.path.parent().and_then(folder);
                Some((found.path, file, folder))
            }),
            locked,
        }
    }
}

#[cfg(unix)]
fn stamp(metadata: &Metadata) -> Stamp {
    use std::os::unix::fs::MetadataExt;

    let inode = i64::from_ne_bytes(metadata.ino().to_ne_bytes());
    let standing = [metadata.uid(), metadata.mode()].map(i64::from);
    Stamp {
        size_bytes: metadata.len(),
        modified: metadata.modified().ok(),
        inode: [
            inode,
            metadata.ctime(),
            metadata.ctime_nsec(),
            standing[0],
            standing[1],
        ],
    }
}

/// Files come and go in it; who can write to it is what counts.
#[cfg(unix)]
fn folder(path: &Path) -> Option<Stamp> {
    use std::os::unix::fs::MetadataExt;

    let metadata = std::fs::metadata(path).ok()?;
    let standing = [metadata.uid(), metadata.mode()].map(i64::from);
    Some(Stamp {
        size_bytes: 0,
        modified: None,
        inode: [0, 0, 0, standing[0], standing[1]],
    })
}

#[cfg(not(unix))]
fn stamp(metadata: &Metadata) -> Stamp {
    Stamp {
        size_bytes: metadata.len(),
        modified: metadata.modified().ok(),
    }
}

#[cfg(not(unix))]
fn folder(_path: &Path) -> Option<Stamp> {
    None
}
