//! What an operator says about a library, written into the lock file.

use super::{Loader, survey::LibraryReport};
use crate::backends::{
    discover, preflight,
    refusal::{Refusal, code},
    stage,
    trust::{Build, LockFile, Trust},
};

impl Loader {
    /// Trusts the library as it lies in its directory now, `inline` also in the daemon's process. Returns what it is.
    pub fn trust(&self, library: &str, inline: bool) -> Result<LibraryReport, Vec<Refusal>> {
        let lock_file = self.lock_file(library).map_err(|refusal| vec![refusal])?;
        let found = discover::one(&self.config.directories, library)?;
        let judged = self
            .config
            .trust
            .check_ownership(&found.path)
            .map_err(preflight::Refused::from)
            .and_then(|()| preflight::check(&found, &self.platform));
        let candidate = judged.map_err(|refused| vec![refused.refusal])?;
        let mut version = Build::of(&candidate, self.config.clock.now());
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
