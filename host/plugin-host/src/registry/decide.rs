//! What an operator says about a library, written into the lock file.

use std::fmt;

use serde::Serialize;

use super::{Loader, survey::LibraryReport};
use crate::{
    discover, preflight,
    refusal::{Refusal, code, list},
    stage,
    trust::{Build, Lock, LockFile, PassedOver, Trust},
};

/// From which version to which.
#[derive(Clone, Debug, Serialize)]
pub struct RolledBack {
    /// `nexmo`.
    pub library: String,
    /// In use until now, and not to be used again.
    pub from: VersionReport,
    /// In use from now on.
    pub to: VersionReport,
}

/// One version of a library.
#[derive(Clone, Debug, Serialize)]
pub struct VersionReport {
    /// What it says itself.
    pub version: String,
    /// The hash of its bytes.
    pub sha256: String,
    /// When it was first seen.
    pub first_seen: String,
}

impl From<Build> for VersionReport {
    fn from(build: Build) -> Self {
        Self {
            version: build.version,
            sha256: build.sha256,
            first_seen: build.first_seen.to_string(),
        }
    }
}

impl fmt::Display for VersionReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            version,
            sha256,
            first_seen,
        } = self;
        write!(f, "{version} (sha256 {sha256}, first seen {first_seen})")
    }
}

impl Loader {
    /// Trusts the library as it lies in its directory now, `inline` also in the daemon's process. Returns what it is.
    pub fn trust(&self, library: &str, inline: bool) -> Result<LibraryReport, Vec<Refusal>> {
        let found = discover::of_argument(&self.config.directories, library)?;
        let lock_file = self.lock_file(library).map_err(|refusal| vec![refusal])?;
        let judged = self
            .config
            .trust
            .check_ownership(&found.path)
            .map_err(preflight::Refused::from)
            .and_then(|()| preflight::check(&found, &self.platform));
        let mut candidate = judged.map_err(|refused| vec![refused.refusal])?;
        let trust = &self.config.trust;
        let signature = trust.signature(&found).map_err(|refusal| vec![refusal])?;
        trust
            .allow(&found, &mut candidate, signature)
            .map_err(|refusal| vec![refusal])?;
        let mut version = Build::of(&candidate, self.config.clock.wall());
        version.inline = inline;
        let lock = lock_file.change(|lock| {
            let forgotten = lock.take(library, version);
            Ok((lock.clone(), forgotten))
        });
        let (lock, forgotten) = lock.map_err(|refusal| vec![refusal])?;
        if let Some(sha256) = forgotten {
            stage::discard(&self.config.staging, &sha256);
        }
        Ok(LibraryReport::of(found, Ok(candidate), |found, sha256| {
            Some(self.place(found, sha256, &lock))
        }))
    }

    /// Goes back to the version before the one in use. Returns what it was and what it is now.
    pub fn roll_back(&self, library: &str) -> Result<RolledBack, Vec<Refusal>> {
        let lock = self.lock()?;
        if !lock.libraries.contains_key(library) {
            // Where it does not even lie there, its name is wrong.
            discover::of_argument(&self.config.directories, library)?;
        }
        self.roll_back_known(library).map_err(|refusal| vec![refusal])
    }

    fn roll_back_known(&self, library: &str) -> Result<RolledBack, Refusal> {
        let lock_file = self.lock_file(library)?;
        let (rolled_back, forgotten) = lock_file.change(|lock| {
            let kept = self.kept_versions(library, lock);
            let nothing = |known: &str| {
                Refusal::new(
                    code::NO_VERSION_BEFORE,
                    format!(
                        "{known}, so there is nothing to go back to; put the version that you want into the plugin \
                         directory, and run: phone-verify plugin trust {library}"
                    ),
                )
            };
            let Some(locked) = lock.libraries.get_mut(library) else {
                return Err(nothing(&format!("{library} was not used yet")));
            };
            let Some(before) = locked.previous.take() else {
                let version = &locked.current.version;
                return Err(nothing(&format!("no version of {library} was used before {version}")));
            };
            if !self.is_kept(&before) {
                return Err(no_copy(library, before, &kept));
            }
            self.kept(library, &before)?;
            let from = std::mem::replace(&mut locked.current, before);
            locked.passed_over = Some(PassedOver {
                sha256: from.sha256.clone(),
                refusal: String::new(),
            });
            let to = locked.current.clone();
            let forgotten = (!lock.names(&from.sha256)).then(|| from.sha256.clone());
            let rolled_back = RolledBack {
                library: library.to_owned(),
                from: from.into(),
                to: to.into(),
            };
            Ok((rolled_back, forgotten))
        })?;
        if let Some(sha256) = forgotten {
            stage::discard(&self.config.staging, &sha256);
        }
        Ok(rolled_back)
    }

    /// The versions of a library of which there is a private copy.
    fn kept_versions(&self, library: &str, lock: &Lock) -> Vec<String> {
        let kept = lock.builds(library).filter(|build| self.is_kept(build));
        kept.map(|build| VersionReport::from(build.clone()).to_string())
            .collect()
    }

    fn is_kept(&self, build: &Build) -> bool {
        stage::copy(&self.config.staging, &build.sha256).exists()
    }

    fn lock_file(&self, library: &str) -> Result<LockFile, Refusal> {
        let trust = &self.config.trust;
        match &trust.lock_file {
            Some(path) if trust.mode != Trust::Pinned => Ok(LockFile::new(path)),
            _ => Err(Refusal::new(
                code::NOT_PINNED,
                format!(
                    "[plugins] trust is \"pinned\", so the settings alone say which {library} is trusted; change sha256 in \
                     [plugins.libraries.{library}]"
                ),
            )),
        }
    }
}

/// Why nothing goes back to a version whose bytes are nowhere. One that was trusted is copied when it is first loaded.
fn no_copy(library: &str, version: Build, kept: &[String]) -> Refusal {
    let kept = match kept {
        [] => "no version of it is kept".to_owned(),
        kept => format!("kept is {}", list(kept)),
    };
    Refusal::new(
        code::NO_VERSION_BEFORE,
        format!(
            "no copy is kept of the version of {library} before, {}: it never ran here, or its copy was deleted; {kept}; put \
             the version that you want into the plugin directory, and run: phone-verify plugin trust {library}",
            VersionReport::from(version)
        ),
    )
}
