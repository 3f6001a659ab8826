//! What is wrong with a file, for the person who can mend it.

use std::{
    fmt,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

use super::Subject;

/// Why a file cannot be used.
#[derive(Debug)]
pub struct Fault {
    path: PathBuf,
    subject: Subject,
    pub(super) problem: Problem,
}

#[derive(Debug)]
pub(super) enum Problem {
    /// The system says so.
    Io(io::Error),
    /// What it is instead.
    NotAFile(&'static str),
    TooBig {
        size: u64,
        limit: u64,
    },
    /// It belongs to neither root nor this user.
    #[cfg(unix)]
    Owner {
        owner: u32,
        own: u32,
        mode: u32,
    },
    /// Somebody else can write it.
    #[cfg(unix)]
    Writable {
        by: Others,
        mode: u32,
    },
    /// Somebody else can read it.
    #[cfg(unix)]
    Readable {
        mode: u32,
        is_root: bool,
    },
}

/// Who can, besides the owner.
#[cfg(unix)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Others {
    Group(u32),
    /// Whom its access control list names.
    Listed,
    All,
}

impl Fault {
    pub(super) fn new(path: &Path, subject: Subject, problem: Problem) -> Self {
        Self {
            path: path.to_owned(),
            subject,
            problem,
        }
    }

    /// The same with its path written otherwise, as where the path itself may hold a secret.
    #[must_use]
    pub fn shown_as(self, path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            ..self
        }
    }

    /// Whether it is that others can read it.
    pub fn is_readable(&self) -> bool {
        #[cfg(unix)]
        return matches!(self.problem, Problem::Readable { .. });
        #[cfg(not(unix))]
        false
    }

    /// Whether it is only that nothing is there.
    pub fn is_missing(&self) -> bool {
        self.io().is_some_and(|error| error.kind() == ErrorKind::NotFound)
    }

    /// What is wrong, without the path.
    pub fn in_short(&self) -> &'static str {
        match &self.problem {
            Problem::Io(_) => "it cannot be read",
            Problem::NotAFile(_) => "it is no regular file",
            Problem::TooBig { .. } => "it is too big",
            #[cfg(unix)]
            Problem::Owner { .. } => "it, or a folder above it, belongs to somebody else",
            #[cfg(unix)]
            Problem::Writable { .. } | Problem::Readable { .. } => {
                "it, or a folder above it, is open to others"
            }
        }
    }

    /// What the system said, if it is not a judgement of this program.
    pub fn io(&self) -> Option<&io::Error> {
        match &self.problem {
            Problem::Io(error) => Some(error),
            _ => None,
        }
    }

    /// Whether somebody else could have written or read it.
    pub fn is_judgement(&self) -> bool {
        !matches!(
            self.problem,
            Problem::Io(_) | Problem::NotAFile(_) | Problem::TooBig { .. }
        )
    }

    /// Whether it belongs to somebody else.
    pub fn is_owner(&self) -> bool {
        #[cfg(unix)]
        return matches!(self.problem, Problem::Owner { .. });
        #[cfg(not(unix))]
        false
    }

    /// Whether it is not a regular file.
    pub fn is_no_file(&self) -> bool {
        matches!(self.problem, Problem::NotAFile(_))
    }

    /// Its size and the most that it may be, if it is too big.
    pub fn too_big(&self) -> Option<(u64, u64)> {
        match self.problem {
            Problem::TooBig { size, limit } => Some((size, limit)),
            _ => None,
        }
    }

    /// The system's error, to be reported in other words.
    pub fn into_io(self) -> Result<io::Error, Self> {
        match self.problem {
            Problem::Io(error) => Ok(error),
            _ => Err(self),
        }
    }

    /// What to do where everybody can write.
    #[cfg(unix)]
    fn closing_to_all(&self) -> String {
        // Kubernetes makes the folder of a ConfigMap so, in which it exchanges this link; nobody can close that one.
        if self.path.join("..data").is_symlink() {
            return "mount the ConfigMap in a volume of type projected, whose folder nobody but root can exchange files in"
                .to_owned();
        }
        format!("run: chmod go-w {}", self.path.display())
    }

    /// Whether the same file may be fine a while later, without a change by anybody.
    pub fn may_pass(&self) -> bool {
        self.io().is_some_and(may_pass)
    }
}

impl std::error::Error for Fault {}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (path, what) = (self.path.display(), self.subject.name());
        match &self.problem {
            Problem::Io(error) => {
                let told = told(error, &readable_cure(&self.path, error));
                write!(f, "{path} cannot be read: {told}")
            }
            Problem::NotAFile(kind) => {
                write!(
                    f,
                    "{path} is {kind}, and {what} must be a regular file; put one there"
                )
            }
            Problem::TooBig { size, limit } => {
                write!(
                    f,
                    "{path} has {size} bytes, and {what} may have {limit}; put the right file there"
                )
            }
            #[cfg(unix)]
            Problem::Owner { owner, own, mode } => {
                let user = match own {
                    0 => "root".to_owned(),
                    own => format!("root or to user {own}, who runs phone-verify"),
                };
                write!(
                    f,
                    "{path} belongs to user {owner} (mode {mode:04o}), and {what} and the folders above it must belong to \
                     {user}; run: chown {own} {path}"
                )
            }
            #[cfg(unix)]
            Problem::Writable { by, mode } => {
                let (who, cure) = match by {
                    Others::Group(group) => (format!("group {group}"), format!("run: chmod g-w {path}")),
                    Others::Listed => (
                        "those whom its access control list names".to_owned(),
                        format!("run: setfacl -b {path}"),
                    ),
                    Others::All => ("everybody".to_owned(), self.closing_to_all()),
                };
                write!(
                    f,
                    "{path} can be written by {who} (mode {mode:04o}), and {what} and the folders above it must be writable \
                     by their owner alone; {cure}"
                )
            }
            #[cfg(unix)]
            Problem::Readable { mode, is_root } => {
                write!(
                    f,
                    "{what} {path} has mode {mode:04o}, so others can read it; run: "
                )?;
                if *is_root {
                    write!(
                        f,
                        "chgrp GROUP {path} && chmod 640 {path}, where GROUP is a group of the user that runs phone-verify"
                    )
                } else {
                    write!(f, "chmod 600 {path}")
                }
            }
        }
    }
}

/// What to do about a file that cannot be read. Where it belongs to somebody else, the command is more likely run by
/// the wrong user than the file of the wrong one.
#[cfg(unix)]
pub fn readable_cure(path: &Path, error: &io::Error) -> String {
    use std::os::unix::fs::MetadataExt;

    let own = rustix::process::geteuid().as_raw();
    match path.metadata() {
        Ok(file) if error.kind() == ErrorKind::PermissionDenied && file.uid() != own => format!(
            "it belongs to user {owner} (mode {mode:04o}), and this is user {own}: run phone-verify as user {owner}, or make \
             it readable for user {own}",
            owner = file.uid(),
            mode = file.mode() & 0o7777,
        ),
        _ if error.kind() == ErrorKind::NotFound => MISSING.to_owned(),
        _ => READABLE.to_owned(),
    }
}

/// The same where files have no such owner.
#[cfg(not(unix))]
pub fn readable_cure(_path: &Path, error: &io::Error) -> String {
    let cure = if error.kind() == ErrorKind::NotFound {
        MISSING
    } else {
        READABLE
    };
    cure.to_owned()
}

const MISSING: &str = "correct the path, or put it there";
const READABLE: &str = "make it readable for the user that runs phone-verify";

/// What the system's error is in plain words, and what to do: `else_do` if it is nothing special.
pub fn told(error: &io::Error, else_do: &str) -> String {
    let error = without_temporary_name(error);
    match error.kind() {
        ErrorKind::StorageFull => format!("{error}; make room on its disk"),
        ErrorKind::QuotaExceeded => format!("{error}; raise the quota of this user, or make room"),
        ErrorKind::InvalidFilename => format!(
            "{error}; choose a shorter one: most systems take names of up to 255 bytes, and paths of up to 4095"
        ),
        ErrorKind::ReadOnlyFilesystem => format!("{error}; choose a place that can be written"),
        ErrorKind::Unsupported => format!("{error}; choose a place on another file system"),
        _ if is_no_locks(error) => format!(
            "{error}: its file system cannot lock files, as NFS without its lock service; choose a place on another one"
        ),
        _ if is_no_descriptors(error) => format!("{error}; raise the limit on open files"),
        _ => format!("{error}; {else_do}"),
    }
}

/// What the system said. The crate that makes temporary files adds their names, which are made up at random.
fn without_temporary_name(error: &io::Error) -> &io::Error {
    let wrapped = error.get_ref().and_then(|wrapping| wrapping.source());
    let wrapped = wrapped.and_then(|wrapped| wrapped.downcast_ref());
    wrapped.map_or(error, without_temporary_name)
}

/// Whether the system's error may go away without a change to settings, files or rights by anybody: a full disk does, a
/// missing folder does not.
pub fn may_pass(error: &io::Error) -> bool {
    !matches!(
        error.kind(),
        ErrorKind::NotFound
            | ErrorKind::PermissionDenied
            | ErrorKind::AlreadyExists
            | ErrorKind::NotADirectory
            | ErrorKind::IsADirectory
            | ErrorKind::ReadOnlyFilesystem
            | ErrorKind::InvalidFilename
            | ErrorKind::InvalidInput
            | ErrorKind::InvalidData
            | ErrorKind::Unsupported
    ) && !is_a_loop(error)
}

#[cfg(unix)]
fn is(error: &io::Error, number: rustix::io::Errno) -> bool {
    error.raw_os_error() == Some(number.raw_os_error())
}

#[cfg(unix)]
fn is_no_locks(error: &io::Error) -> bool {
    is(error, rustix::io::Errno::NOLCK)
}

#[cfg(unix)]
fn is_no_descriptors(error: &io::Error) -> bool {
    is(error, rustix::io::Errno::MFILE) || is(error, rustix::io::Errno::NFILE)
}

#[cfg(unix)]
fn is_a_loop(error: &io::Error) -> bool {
    is(error, rustix::io::Errno::LOOP)
}

#[cfg(not(unix))]
fn is_no_locks(_error: &io::Error) -> bool {
    false
}

#[cfg(not(unix))]
fn is_no_descriptors(_error: &io::Error) -> bool {
    false
}

#[cfg(not(unix))]
fn is_a_loop(_error: &io::Error) -> bool {
    false
}
