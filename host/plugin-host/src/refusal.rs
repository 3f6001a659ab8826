//! Why a library or a backend cannot be used.
//!
//! Invariant: a code keeps its meaning for ever, and a sentence holds no option's value.

use serde::Serialize;

use crate::files::{self, Fault};

/// A stable code, and one sentence with what was found, what was needed and what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{code}: {sentence}")]
pub struct Refusal {
    /// One of [`code`].
    pub code: &'static str,
    /// For the operator.
    pub sentence: String,
    /// Whether it may be otherwise a while later, without a change by anybody: a disk that was full, a process that was
    /// killed.
    #[serde(skip)]
    pub may_pass: bool,
}

impl Refusal {
    pub(super) fn new(code: &'static str, sentence: impl Into<String>) -> Self {
        Self {
            code,
            sentence: sentence.into(),
            may_pass: code::MAY_PASS.contains(&code),
        }
    }

    /// One for what the system says of a file.
    pub(super) fn of_error(code: &'static str, sentence: impl Into<String>, error: &std::io::Error) -> Self {
        Self {
            may_pass: files::may_pass(error),
            ..Self::new(code, sentence)
        }
    }

    /// One for a fault of a file, with the code for what is unlike anything else.
    pub(super) fn of_fault(other: &'static str, fault: &Fault) -> Self {
        let code = match fault {
            fault if fault.is_judgement() && fault.is_owner() => code::WRONG_OWNER,
            fault if fault.is_judgement() => code::WRITABLE_BY_OTHERS,
            _ => other,
        };
        Self {
            may_pass: fault.may_pass(),
            ..Self::new(code, fault.to_string())
        }
    }
}

impl Refusal {
    /// Whether it is what the system did, or did not let a worker process do, and no word about the library.
    pub fn is_of_the_system(&self) -> bool {
        [
            code::WORKER_NOT_STARTED,
            code::WORKER_KILLED,
            code::WORKER_FORBIDDEN,
            code::SYSTEM_MEMORY,
        ]
        .contains(&self.code)
    }
}

/// The codes: P1 finding the file, P2 the file, P3 its manifest, P4 trust and staging, P5 loading and constructing, P6
/// options, P7 what it does when it runs.
pub mod code {
    /// The text names no backend.
    pub const NOT_A_NAME: &str = "P101";
    /// Not a regular file.
    pub const NOT_A_FILE: &str = "P102";
    /// The file cannot be read.
    pub const UNREADABLE_FILE: &str = "P103";
    /// The file, or a folder above it, belongs to somebody else.
    pub const WRONG_OWNER: &str = "P104";
    /// The file, or a folder above it, can be written by others.
    pub const WRITABLE_BY_OTHERS: &str = "P105";
    /// The file is too big.
    pub const TOO_BIG: &str = "P106";
    /// A plugin directory is missing or cannot be read.
    pub const UNREADABLE_DIRECTORY: &str = "P107";
    /// One directory holds a library under two file names.
    pub const TWO_FILES: &str = "P108";
    /// The directories hold no library at all.
    pub const NO_LIBRARIES: &str = "P109";
    /// The directories hold no library of that name.
    pub const UNKNOWN_LIBRARY: &str = "P110";
    /// A library of the same name lies in an earlier directory.
    pub const HIDDEN: &str = "P111";
    /// A library of this system that is named as one of another.
    pub const MISNAMED: &str = "P112";
    /// Not an object file of this operating system.
    pub const NOT_AN_OBJECT: &str = "P201";
    /// Built for another processor.
    pub const WRONG_ARCHITECTURE: &str = "P202";
    /// Built for another C library.
    pub const WRONG_LIBC: &str = "P203";
    /// Needs a newer glibc.
    pub const GLIBC_TOO_OLD: &str = "P204";
    /// A library that it needs is not installed.
    pub const MISSING_DEPENDENCY: &str = "P205";
    /// Cut off, or damaged.
    pub const TRUNCATED: &str = "P209";
    /// An object file, but not a shared library.
    pub const NOT_SHARED: &str = "P210";
    /// It asks for an executable stack.
    pub const EXECUTABLE_STACK: &str = "P211";
    /// Its section headers are stripped.
    pub const NO_SECTIONS: &str = "P212";
    /// No manifest: not a backend library.
    pub const NO_MANIFEST: &str = "P301";
    /// The manifest cannot be read.
    pub const BAD_MANIFEST: &str = "P302";
    /// Built for another major version of the ABI.
    pub const ABI_MAJOR: &str = "P303";
    /// Built so that a panic would end the host.
    pub const PANIC_ABORT: &str = "P305";
    /// The library has no backend of that name.
    pub const UNKNOWN_BACKEND: &str = "P307";
    /// Not the file that is trusted.
    pub const CHANGED: &str = "P401";
    /// Nothing says which file is trusted.
    pub const NOT_PINNED: &str = "P402";
    /// The private copy cannot be made.
    pub const NOT_STAGED: &str = "P405";
    /// The lock file cannot be read or written.
    pub const LOCK_FILE: &str = "P406";
    /// It was rolled back.
    pub const ROLLED_BACK: &str = "P407";
    /// There is no version to go back to.
    pub const NO_VERSION_BEFORE: &str = "P408";
    /// No signature lies beside it.
    pub const NOT_SIGNED: &str = "P409";
    /// Signed by nobody whom the settings name for it.
    pub const UNKNOWN_SIGNER: &str = "P410";
    /// Signed with a key that is revoked.
    pub const REVOKED_SIGNER: &str = "P411";
    /// The signature is not of these bytes, this library and this version.
    pub const WRONG_SIGNATURE: &str = "P412";
    /// Older than the least version, or than the one in use.
    pub const VERSION_TOO_LOW: &str = "P413";
    /// The system's loader refused it.
    pub const NOT_OPENED: &str = "P501";
    /// It exports neither a root module nor a C table.
    pub const NO_HEADER: &str = "P502";
    /// Its `abi_stable` is another.
    pub const WRONG_HEADER: &str = "P503";
    /// Types of the ABI differ.
    pub const WRONG_LAYOUT: &str = "P504";
    /// Its root module could not be made.
    pub const NO_ROOT: &str = "P505";
    /// The backend refused to be constructed.
    pub const NOT_CONSTRUCTED: &str = "P506";
    /// Opening the library, or constructing or dropping a backend, took too long.
    pub const TOO_SLOW: &str = "P507";
    /// Its C table is not whole.
    pub const WRONG_ENTRY: &str = "P508";
    /// Too many versions of it are open in this process.
    pub const TOO_MANY_GENERATIONS: &str = "P509";
    /// The system has no thread-local memory of the static kind left for it.
    pub const NO_STATIC_TLS: &str = "P510";
    /// It would share its statics with the version before.
    pub const SHARED_STATICS: &str = "P511";
    /// It cannot do without what this host does not offer.
    pub const NOT_OFFERED: &str = "P512";
    /// A required option is missing.
    pub const OPTION_MISSING: &str = "P601";
    /// An option has the wrong type.
    pub const OPTION_TYPE: &str = "P602";
    /// An option that the backend does not know.
    pub const OPTION_UNKNOWN: &str = "P603";
    /// One option is written twice.
    pub const OPTION_TWICE: &str = "P604";
    /// The library crashed its worker process, or ended it.
    pub const WORKER_DIED: &str = "P704";
    /// Its worker process ran out of memory.
    pub const WORKER_MEMORY: &str = "P705";
    /// Its worker process broke the protocol.
    pub const WORKER_CONTRACT: &str = "P708";
    /// It crashed too often, and is left alone for a while.
    pub const QUARANTINED: &str = "P709";
    /// Its worker process did not stop a call.
    pub const WORKER_UNRESPONSIVE: &str = "P710";
    /// No worker process can be started.
    pub const WORKER_NOT_STARTED: &str = "P711";
    /// Its worker process was killed from outside.
    pub const WORKER_KILLED: &str = "P712";
    /// The system does not let a worker process do what it must.
    pub const WORKER_FORBIDDEN: &str = "P713";
    /// The system has no memory for a worker process, or for a thread of this one.
    pub const SYSTEM_MEMORY: &str = "P714";

    /// Those of bytes that are not trusted.
    pub(crate) const NOT_TRUSTED: [&str; 7] = [
        CHANGED,
        NOT_PINNED,
        NOT_SIGNED,
        UNKNOWN_SIGNER,
        REVOKED_SIGNER,
        WRONG_SIGNATURE,
        VERSION_TOO_LOW,
    ];

    /// Those that may be otherwise the next time, whatever a library is like.
    pub(super) const MAY_PASS: [&str; 9] = [
        TOO_SLOW,
        WORKER_DIED,
        WORKER_MEMORY,
        WORKER_CONTRACT,
        QUARANTINED,
        WORKER_UNRESPONSIVE,
        WORKER_NOT_STARTED,
        WORKER_KILLED,
        SYSTEM_MEMORY,
    ];

    /// The code of a refusal that a worker process reported.
    pub(crate) fn of_a_worker(told: &str) -> &'static str {
        [
            MISSING_DEPENDENCY,
            NOT_OPENED,
            NO_STATIC_TLS,
            NO_HEADER,
            WRONG_HEADER,
            WRONG_LAYOUT,
            NO_ROOT,
            ABI_MAJOR,
            WRONG_ENTRY,
        ]
        .into_iter()
        .find(|known| *known == told)
        .unwrap_or(WORKER_CONTRACT)
    }
}

/// `nexmo, noop and twilio`, quoted as given.
pub(super) fn list(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [one] => one.clone(),
        [rest @ .., last] => format!("{} and {last}", rest.join(", ")),
    }
}

/// The known name that was probably meant.
pub(super) fn nearest<'a>(found: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let found = found.to_lowercase();
    known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(&found, &name.to_lowercase()), name))
        .filter(|(distance, name)| *distance <= (name.len() / 3).clamp(1, 3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// `; did you mean X?`, or nothing.
pub(super) fn hint<'a>(found: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(found, known).map_or_else(String::new, |name| format!("; did you mean {name}?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_near_and_another_word_is_not() {
        let known = ["KEY", "SECRET", "FROM"];
        assert_eq!(nearest("SECERT", known), Some("SECRET"));
        assert_eq!(nearest("frm", known), Some("FROM"));
        assert_eq!(nearest("PASSWORD", known), None);
    }

    #[test]
    fn a_list_reads_as_a_sentence() {
        let items = ["a", "b", "c"].map(String::from);
        assert_eq!(list(&items), "a, b and c");
        assert_eq!(list(&items[..1]), "a");
    }
}
