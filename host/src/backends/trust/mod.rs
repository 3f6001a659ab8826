//! Whether a library may be used at all: who can have written its file, and whether its bytes are the ones that are trusted.
//!
//! Invariant: what is judged is the hash of the bytes that are staged and opened, never a file that is read again.

mod lock;

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

use serde::Serialize;

pub(super) use self::lock::{Build, Lock, LockFile, PassedOver};

use super::{
    discover::Found,
    isolation::{is_bundled, lies_beside_program},
    preflight::Candidate,
    refusal::{Refusal, code},
};
use crate::files::{self, Subject};

/// Which libraries are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Trust {
    /// Each, whoever may have written it.
    #[default]
    Any,
    /// Each on first use; another version of it only after `plugin trust`, or when it came with this program.
    Tofu,
    /// Those whose hash the settings name.
    Pinned,
}

impl Trust {
    /// All of them by their names.
    pub const NAMES: [(&'static str, Self); 3] =
        [("any", Self::Any), ("tofu", Self::Tofu), ("pinned", Self::Pinned)];
}

impl fmt::Display for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::NAMES.iter().find(|(_, known)| known == self);
        f.write_str(name.map_or("", |(name, _)| *name))
    }
}

/// How it is known which libraries are used.
#[derive(Clone, Debug, Default)]
pub struct TrustRules {
    /// The rule.
    pub mode: Trust,
    /// Where the versions in use are recorded; `None`: nowhere.
    pub lock_file: Option<PathBuf>,
    /// The hashes that the settings name, by library.
    pub pins: BTreeMap<String, String>,
}

impl TrustRules {
    /// Refuses a file that others can have written. The folder of this program is not looked at: who can write there can
    /// exchange the program.
    pub(super) fn check_ownership(&self, path: &Path) -> Result<(), Refusal> {
        if self.mode == Trust::Any || lies_beside_program(path) {
            return Ok(());
        }
        files::judge(path, Subject::Library)
            .map(drop)
            .map_err(|fault| Refusal::of_fault(code::UNREADABLE_FILE, &fault))
    }

    /// The versions in use, as they are recorded now.
    pub(super) fn lock(&self) -> Result<Lock, Refusal> {
        self.lock_file
            .as_deref()
            .map_or_else(|| Ok(Lock::default()), |path| LockFile::new(path).read())
    }

    /// Refuses bytes that are not trusted.
    pub(super) fn admit(&self, found: &Found, candidate: &Candidate, lock: &Lock) -> Result<(), Refusal> {
        let Candidate { file, sha256, .. } = candidate;
        let library = &found.stem;
        let pin = self.pins.get(library);
        if pin == Some(sha256) {
            return Ok(());
        }
        let locked = lock.libraries.get(library);
        let passed_over = locked.and_then(|locked| locked.passed_over.as_ref());
        if passed_over.is_some_and(|version| version.is_rolled_back() && version.sha256 == *sha256) {
            return Err(Refusal::new(
                code::ROLLED_BACK,
                format!(
                    "{file} (sha256 {sha256}) was rolled back, so it is not used; put another version there, or take it \
                     again with: phone-verify plugin trust {library}"
                ),
            ));
        }
        match self.mode {
            Trust::Any => Ok(()),
            Trust::Pinned => Err(pin.map_or_else(
                || {
                    Refusal::new(
                        code::NOT_PINNED,
                        format!(
                            "the settings do not say which {library} is trusted, and [plugins] trust is \"pinned\"; once \
                             you have checked {file}, set sha256 = \"{sha256}\" in [plugins.libraries.{library}]"
                        ),
                    )
                },
                |pin| {
                    Refusal::new(
                        code::CHANGED,
                        format!(
                            "{file} has the sha256 {sha256}, and the settings trust {pin} alone; put that version there, \
                             or correct sha256 in [plugins.libraries.{library}]"
                        ),
                    )
                },
            )),
            Trust::Tofu => match locked {
                Some(locked) if locked.current.sha256 != *sha256 && !is_bundled(&found.path) => {
                    let Build { version, sha256: trusted, .. } = &locked.current;
                    let found = &candidate.manifest.version;
                    Err(Refusal::new(
                        code::CHANGED,
                        format!(
                            "{file} has changed: version {found} with the sha256 {sha256} lies there, and version \
                             {version} with {trusted} is trusted; if the change is yours, run: phone-verify plugin trust \
                             {library}"
                        ),
                    ))
                }
                _ => Ok(()),
            },
        }
    }

    /// Records that this version is in use. Returns the hash of one whose private copy nobody needs any more.
    /// `only_tries`: says why that could not be recorded, and leaves everything as it is.
    pub(super) fn record(
        &self,
        library: &str,
        version: Build,
        only_tries: bool,
    ) -> Result<Option<String>, Refusal> {
        let Some(path) = &self.lock_file else {
            return Ok(None);
        };
        let file = LockFile::new(path);
        let take = |lock: &mut Lock| {
            let known = lock.libraries.get(library).map(|locked| &locked.current);
            let version = match known {
                Some(known) if known.sha256 == version.sha256 => known.clone(),
                _ => version,
            };
            Ok(lock.take(library, version))
        };
        let recorded = if only_tries {
            file.try_to_change(take).map(|_| None)
        } else {
            file.change(take)
        };
        match recorded {
            // Without a record, each change would be a first use.
            Err(refusal) if self.mode == Trust::Tofu => Err(refusal),
            Err(refusal) => {
                tracing::warn!(library, "{refusal}");
                Ok(None)
            }
            Ok(forgotten) => Ok(forgotten),
        }
    }

    /// Records that these bytes, which lie in the directory, are not used, so that other processes can tell why.
    pub(super) fn pass_over(&self, library: &str, sha256: &str, refusals: &[Refusal]) {
        let Some(path) = &self.lock_file else {
            return;
        };
        let refusals: Vec<String> = refusals.iter().map(ToString::to_string).collect();
        let recorded = LockFile::new(path).change(|lock| {
            if let Some(locked) = lock.libraries.get_mut(library) {
                locked.passed_over = Some(PassedOver {
                    sha256: sha256.to_owned(),
                    refusal: refusals.join("; "),
                });
            }
            Ok(())
        });
        if let Err(refusal) = recorded {
            tracing::warn!(library, "{refusal}");
        }
    }
}
