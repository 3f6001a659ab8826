//! Where a library's code runs: in this process, or in a worker process of its own.
//!
//! Invariant: a library that is neither bundled with this program nor trusted by the hash of its bytes runs here only
//! if the settings say so in so many words.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Serialize;

use crate::own_process::image;

/// What the settings say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Isolation {
    /// Inline for the libraries that come with this program and those that are trusted by their hash, else worker.
    #[default]
    Auto,
    /// In this process: fastest, and what it does there it does to all.
    Inline,
    /// In a process of its own, sandboxed where the system can do that.
    Worker,
}

impl Isolation {
    /// All of them by their names.
    pub const NAMES: [(&'static str, Self); 3] = [
        ("auto", Self::Auto),
        ("inline", Self::Inline),
        ("worker", Self::Worker),
    ];
}

impl fmt::Display for Isolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::NAMES.iter().find(|(_, known)| known == self);
        f.write_str(name.map_or("", |(name, _)| *name))
    }
}

/// Where libraries run.
#[derive(Clone, Debug)]
pub struct IsolationRules {
    /// For libraries that say nothing else.
    pub default: Isolation,
    /// By the library's name.
    pub libraries: BTreeMap<String, LibraryIsolation>,
    /// The program that a worker runs; `None`: this one.
    pub worker_program: Option<PathBuf>,
    /// Where it is kept what worker processes died of; `None`: nowhere.
    pub crashes: Option<PathBuf>,
    /// A worker process without a call for so long ends; the next call starts it again.
    pub idle_stop: Duration,
}

impl Default for IsolationRules {
    fn default() -> Self {
        Self {
            default: Isolation::default(),
            libraries: BTreeMap::new(),
            worker_program: None,
            crashes: None,
            idle_stop: Duration::from_secs(600),
        }
    }
}

/// What is said of one library.
#[derive(Clone, Debug, Default)]
pub struct LibraryIsolation {
    /// Instead of the default.
    pub isolation: Option<Isolation>,
    /// The hash of the file that is trusted, in lower-case hex.
    pub sha256: Option<String>,
}

/// Where one library runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum IsolationMode {
    /// In this process.
    Inline,
    /// In a process of its own.
    Worker,
}

impl fmt::Display for IsolationMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Inline => "inline",
            Self::Worker => "worker",
        })
    }
}

impl IsolationRules {
    /// Where the library in the file at `path` runs, whose content has this hash. `is_trusted`: by the lock file.
    pub(super) fn place(&self, library: &str, path: &Path, sha256: &str, is_trusted: bool) -> IsolationMode {
        let said = self.libraries.get(library);
        match said.and_then(|said| said.isolation).unwrap_or(self.default) {
            Isolation::Inline => IsolationMode::Inline,
            Isolation::Worker => IsolationMode::Worker,
            Isolation::Auto => {
                let is_trusted = is_trusted || said.and_then(|said| said.sha256.as_deref()) == Some(sha256);
                if is_trusted || is_bundled(path) {
                    IsolationMode::Inline
                } else {
                    IsolationMode::Worker
                }
            }
        }
    }
}

/// Whether the file lies where the libraries are installed that come with this program.
pub(super) fn is_bundled(path: &Path) -> bool {
    let (Some(folder), Some(programs)) = (folder_of(path), image::folder()) else {
        return false;
    };
    let is_installed = ["lib/phone-verify", "lib/phone-verify/plugins"]
        .into_iter()
        .filter_map(|installed| programs.parent()?.join(installed).canonicalize().ok())
        .any(|installed| folder == installed);
    folder == programs || is_installed
}

/// Whether the file lies in the very folder of this program.
pub(super) fn lies_beside_program(path: &Path) -> bool {
    image::folder().is_some_and(|programs| folder_of(path).is_some_and(|folder| folder == programs))
}

fn folder_of(path: &Path) -> Option<PathBuf> {
    path.canonicalize().ok()?.parent().map(Path::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_runs_where_the_settings_say() {
        let mut rules = IsolationRules::default();
        let file = Path::new("/srv/plugins/libacme.so");
        assert_eq!(rules.place("acme", file, "ab", false), IsolationMode::Worker);
        rules.default = Isolation::Inline;
        assert_eq!(rules.place("acme", file, "ab", false), IsolationMode::Inline);
        let worker = LibraryIsolation {
            isolation: Some(Isolation::Worker),
            sha256: Some("ab".to_owned()),
        };
        rules.libraries.insert("acme".to_owned(), worker);
        assert_eq!(rules.place("acme", file, "ab", false), IsolationMode::Worker);
        assert_eq!(rules.place("other", file, "ab", false), IsolationMode::Inline);
    }

    #[test]
    fn trust_is_in_the_bytes_and_in_the_place_of_installation() {
        let mut rules = IsolationRules::default();
        let file = Path::new("/srv/plugins/libacme.so");
        let trusted = LibraryIsolation {
            isolation: None,
            sha256: Some("ab".to_owned()),
        };
        rules.libraries.insert("acme".to_owned(), trusted);
        assert_eq!(rules.place("acme", file, "ab", false), IsolationMode::Inline);
        assert_eq!(rules.place("acme", file, "cd", false), IsolationMode::Worker);
        assert_eq!(rules.place("acme", file, "cd", true), IsolationMode::Inline);
        let beside = std::env::current_exe().unwrap();
        assert_eq!(rules.place("other", &beside, "cd", false), IsolationMode::Inline);
    }
}
