//! Whether a library may be used at all: who can have written its file, and whether its bytes are the ones that are
//! trusted.
//!
//! Invariant: what is judged is the hash of the bytes that are staged and opened, never a file that is read again.

mod lock;
mod signable;
mod signature;

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

use semver::Version;
use serde::Serialize;

use self::signature::{Subjected, check_version};
pub(super) use self::{
    lock::{Build, Lock, LockFile, PassedOver},
    signature::Signed,
};
pub use self::{
    signable::Signable,
    signature::{Signer, Signers, path_beside},
};

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
    /// Those that somebody signed whose key the settings name.
    Signed,
    /// Those whose hash the settings name.
    Pinned,
}

impl Trust {
    /// All of them by their names.
    pub const NAMES: [(&'static str, Self); 4] = [
        ("any", Self::Any),
        ("tofu", Self::Tofu),
        ("signed", Self::Signed),
        ("pinned", Self::Pinned),
    ];
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
    /// Whose signatures are accepted.
    pub signers: Signers,
    /// What the settings say of single libraries.
    pub libraries: BTreeMap<String, LibraryTrust>,
}

/// What the settings say of one library.
#[derive(Clone, Debug, Default)]
pub struct LibraryTrust {
    /// The hash of the file that is trusted, in lower-case hex.
    pub sha256: Option<String>,
    /// Older versions are refused, whatever else speaks for them.
    pub least_version: Option<Version>,
    /// Only these of the signers may sign it; `None`: each.
    pub signers: Option<Vec<String>>,
}

impl TrustRules {
    /// Refuses a file that others can have written. The folder of this program is not looked at: who can write there
    /// can exchange the program.
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

    /// Refuses what lies in a directory and is not trusted. Says in the candidate who signed it.
    pub(super) fn admit(&self, found: &Found, candidate: &mut Candidate, lock: &Lock) -> Result<(), Refusal> {
        let text = self.signature(found)?;
        if self.allow(found, candidate, text)? == Ground::Hash {
            return Ok(());
        }
        let Candidate {
            file,
            sha256,
            manifest,
            ..
        } = &*candidate;
        let library = &found.stem;
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
        let Some(Build {
            version,
            sha256: trusted,
            ..
        }) = locked.map(|locked| &locked.current)
        else {
            return Ok(());
        };
        if trusted == sha256 || is_bundled(&found.path) {
            return Ok(());
        }
        match self.mode {
            Trust::Any | Trust::Pinned => Ok(()),
            Trust::Signed => {
                // What cannot be compared was taken under another rule.
                let Ok(in_use) = Version::parse(version) else {
                    return Ok(());
                };
                let why = format!(
                    "version {version} is in use: an older one, even signed, may have a hole that is mended since; if you want it, \
                     run: phone-verify plugin trust {library}"
                );
                check_version(&subjected(library, candidate), &in_use, &why)
            }
            Trust::Tofu => Err(Refusal::new(
                code::CHANGED,
                format!(
                    "{file} has changed: version {} with the sha256 {sha256} lies there, and version {version} with \
                     {trusted} is trusted; if the change is yours, run: phone-verify plugin trust {library}",
                    manifest.version
                ),
            )),
        }
    }

    /// Refuses what may not be trusted even on an operator's word, or was in use before and may not be any more. `text`
    /// is the signature, if there is one.
    pub(super) fn allow(
        &self,
        found: &Found,
        candidate: &mut Candidate,
        text: Option<String>,
    ) -> Result<Ground, Refusal> {
        let library = &found.stem;
        let said = self.libraries.get(library);
        let of = subjected(library, candidate);
        if let Some(least) = said.and_then(|said| said.least_version.as_ref()) {
            let why =
                format!("least_version in [plugins.libraries.{library}] is {least}; put a later one there");
            check_version(&of, least, &why)?;
        }
        let pin = said.and_then(|said| said.sha256.as_ref());
        if pin == Some(&candidate.sha256) {
            return Ok(Ground::Hash);
        }
        match self.mode {
            Trust::Any | Trust::Tofu => Ok(Ground::Rule),
            Trust::Pinned => Err(not_pinned(library, candidate, pin)),
            Trust::Signed if is_bundled(&found.path) => Ok(Ground::Rule),
            Trust::Signed => {
                let Some(text) = text else {
                    return Err(not_signed(library, candidate));
                };
                let allowed = said.and_then(|said| said.signers.as_deref());
                let by = signature::signer(&of, &text, &self.signers, allowed)?;
                candidate.signed = Some(Signed { by, text });
                Ok(Ground::Rule)
            }
        }
    }

    /// The signature beside a library, where signatures count.
    pub(super) fn signature(&self, found: &Found) -> Result<Option<String>, Refusal> {
        match self.mode {
            Trust::Signed => signature::beside(&found.path),
            _ => Ok(None),
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

/// Why bytes are trusted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Ground {
    /// The settings name their hash.
    Hash,
    /// The rule that the settings name has nothing against them.
    Rule,
}

fn subjected<'a>(library: &'a str, candidate: &'a Candidate) -> Subjected<'a> {
    Subjected {
        file: &candidate.file,
        library,
        version: &candidate.manifest.version,
        bytes: &candidate.bytes,
    }
}

fn not_signed(library: &str, Candidate { file, sha256, .. }: &Candidate) -> Refusal {
    Refusal::new(
        code::NOT_SIGNED,
        format!(
            "{file} is not signed, and [plugins] trust is \"signed\": no {file}.minisig is there; have its author sign it, or \
             set sha256 = \"{sha256}\" in [plugins.libraries.{library}] once you have checked it"
        ),
    )
}

fn not_pinned(library: &str, Candidate { file, sha256, .. }: &Candidate, pin: Option<&String>) -> Refusal {
    match pin {
        None => Refusal::new(
            code::NOT_PINNED,
            format!(
                "the settings do not say which {library} is trusted, and [plugins] trust is \"pinned\"; once you have checked \
                 {file}, set sha256 = \"{sha256}\" in [plugins.libraries.{library}]"
            ),
        ),
        Some(pin) => Refusal::new(
            code::CHANGED,
            format!(
                "{file} has the sha256 {sha256}, and the settings trust {pin} alone; put that version there, or correct \
                 sha256 in [plugins.libraries.{library}]"
            ),
        ),
    }
}
