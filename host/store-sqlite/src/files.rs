//! What the engine needs to know of files, and does not judge itself: who else could have written them. The program
//! that it is a part of has one rule for all of its files, and hands it in.

use std::{
    fmt,
    fs::File,
    io,
    path::{Path, PathBuf},
};

/// What a file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The database, and what lies beside it.
    Database,
    /// A copy of it.
    Backup,
}

/// A rule for files.
pub trait Files: Send + Sync {
    /// Judges a file, or, if it is not there, the folder in which it would be made. Returns where it is, links
    /// followed, and whether it is there.
    fn judge(&self, path: &Path, subject: Subject) -> Result<(PathBuf, bool), Refusal>;

    /// Opens a file for reading that is there and may be used.
    fn open(&self, path: &Path, subject: Subject) -> Result<File, Refusal>;

    /// What the system's error is in plain words, and what to do: `else_do` if it is nothing special.
    fn told(&self, error: &io::Error, else_do: &str) -> String;

    /// Whether the system's error may go away without a change by anybody.
    fn may_pass(&self, error: &io::Error) -> bool;
}

/// Why a file may not be used.
#[derive(Debug)]
pub struct Refusal {
    /// A sentence with what was found, what is needed, and what to do.
    pub sentence: String,
    /// Whether it may be otherwise a while later, without a change by anybody.
    pub may_pass: bool,
    /// The system's error, if it is no judgement.
    pub cause: Option<io::Error>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)
    }
}

impl std::error::Error for Refusal {}

/// For tests of the engine, which are not about who could have written its files.
#[cfg(test)]
pub(crate) struct AnyFile;

#[cfg(test)]
impl Files for AnyFile {
    fn judge(&self, path: &Path, _: Subject) -> Result<(PathBuf, bool), Refusal> {
        let refusal = |cause: io::Error| Refusal {
            sentence: cause.to_string(),
            may_pass: false,
            cause: Some(cause),
        };
        if path.exists() {
            return Ok((path.canonicalize().map_err(refusal)?, true));
        }
        let (folder, name) = (path.parent().unwrap(), path.file_name().unwrap());
        Ok((folder.canonicalize().map_err(refusal)?.join(name), false))
    }

    fn open(&self, path: &Path, _: Subject) -> Result<File, Refusal> {
        File::open(path).map_err(|cause| Refusal {
            sentence: cause.to_string(),
            may_pass: false,
            cause: Some(cause),
        })
    }

    fn told(&self, error: &io::Error, else_do: &str) -> String {
        format!("{error}; {else_do}")
    }

    fn may_pass(&self, _: &io::Error) -> bool {
        false
    }
}
