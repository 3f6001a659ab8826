//! Which version of a library serves next: the one in the directory, or one that served before it.
//!
//! Invariant: a version that cannot be used never costs the one that serves.

use serde_json::{Map, Value};

use super::Loader;
use crate::{
    Backend, BackendName,
    discover::{self, Found},
    isolation::IsolationMode,
    preflight::{self, Candidate},
    refusal::{Refusal, code},
    stage,
    trust::Build,
};
use crate::{
    convert,
    instance::{Instance, Maker, Opened},
    services::Services,
};

/// What serves now.
#[derive(Clone, Copy)]
pub struct Running<'a> {
    /// The hash of its library.
    pub sha256: &'a str,
    /// Where its library runs.
    pub place: IsolationMode,
    /// Whether it is constructed anew even if its library is the same.
    pub renews: bool,
}

/// What is to serve.
pub struct Choice {
    /// It.
    pub next: Next,
    /// Why it is not the file that lies in the directory; empty: it is.
    pub refusals: Vec<Refusal>,
}

/// What is to serve.
pub enum Next {
    /// What serves now.
    Keep,
    /// This one.
    Take(Box<Backend>),
}

impl Loader {
    /// Loads what is to serve: the file in the directory; should that be refused, and not be the version in use as the
    /// lock file names it, that version, or the one before. The error says why there is none. What is to run in this
    /// process is first constructed in another, in a reload and wherever its bytes are new: a crash at a start would
    /// recur at each one. A start with the bytes of before does without.
    pub fn choose(
        &self,
        name: &BackendName,
        options: &Map<String, Value>,
        running: Option<Running<'_>>,
    ) -> Result<Choice, Vec<Refusal>> {
        let found = discover::one(&self.config.directories, &name.library)?;
        for hidden in discover::passed_over(&self.config.directories, &found) {
            tracing::warn!("{hidden}");
        }
        let lock = self.lock()?;
        let keeps = |sha256: &str| {
            let is_so = |now: &Running<'_>| {
                !now.renews && now.sha256 == sha256 && now.place == self.place(&found, sha256, &lock)
            };
            running.as_ref().is_some_and(is_so)
        };
        let chosen = |next, refusals| Ok(Choice { next, refusals });
        let (refused, refusals) = match self.candidate(&found, &lock) {
            Err(refused) => (refused.sha256, vec![refused.refusal]),
            Ok(candidate) if keeps(&candidate.sha256) => return chosen(Next::Keep, Vec::new()),
            Ok(candidate) => {
                let sha256 = candidate.sha256.clone();
                let scans = running.is_some() || Self::is_new(&found, &candidate, &lock);
                match self.take(name, &found, &candidate, &lock, options, scans) {
                    Ok(backend) => return chosen(Next::Take(Box::new(backend)), Vec::new()),
                    Err(refusals) => {
                        let in_use = lock.builds(&name.library).next();
                        if in_use.is_some_and(|build| build.sha256 == sha256) {
                            // The settings are at fault, which an older version might not notice.
                            return Err(refusals);
                        }
                        if self.records {
                            self.config.trust.pass_over(&name.library, &sha256, &refusals);
                            if !lock.names(&sha256) {
                                stage::discard(&self.config.staging, &sha256);
                            }
                        }
                        (Some(sha256), refusals)
                    }
                }
            }
        };
        for build in lock.builds(&name.library) {
            let kept = self.kept(&name.library, build);
            let is_trusted = !matches!(&kept, Err(refusal) if code::NOT_TRUSTED.contains(&refusal.code));
            if is_trusted && keeps(&build.sha256) {
                return chosen(Next::Keep, refusals);
            }
            if refused.as_ref() == Some(&build.sha256) {
                continue;
            }
            let constructed = kept
                .map_err(|refusal| vec![refusal])
                .and_then(|candidate| self.construct(name, &found, &candidate, &lock, options, false));
            match constructed {
                Ok(backend) => return chosen(Next::Take(Box::new(backend)), refusals),
                Err(others) => {
                    for refusal in others {
                        tracing::warn!(library = name.library, "{refusal}");
                    }
                }
            }
        }
        Err(refusals)
    }

    /// A version that served before, read from its private copy and judged by the present rules: a key may be revoked
    /// since.
    pub(super) fn kept(&self, library: &str, build: &Build) -> Result<Candidate, Refusal> {
        let copy = stage::copy(&self.config.staging, &build.sha256);
        let found = Found {
            stem: library.to_owned(),
            path: copy.clone(),
        };
        let mut candidate = preflight::check(&found, &self.platform).map_err(|refused| refused.refusal)?;
        if candidate.sha256 != build.sha256 {
            return Err(Refusal::new(
                code::NOT_STAGED,
                format!(
                    "{} is damaged: its sha256 is {}; put version {} of {library} into the plugin directory again",
                    copy.display(),
                    candidate.sha256,
                    build.version
                ),
            ));
        }
        // Where it lay is what tells whether it came with this program.
        let found = discover::one(&self.config.directories, library).unwrap_or(found);
        self.config
            .trust
            .allow(&found, &mut candidate, build.signature.clone())?;
        Ok(candidate)
    }

    /// Opens and constructs in a process of its own what is to run in this one. It is no sandbox, for such a library
    /// may use threads, files and the network. That it crashes is a verdict; what the system does not let that process
    /// do, and an error of the constructor, which may be of what the version that serves holds, is none.
    pub(super) fn scan(
        &self,
        name: &BackendName,
        candidate: &Candidate,
        options_json: &zeroize::Zeroizing<String>,
        services: &std::sync::Arc<Services>,
    ) -> Result<(), Refusal> {
        let staged = stage::stage(&self.config.staging, &candidate.sha256, &candidate.bytes)?;
        let supervisor = match self.open_in_worker(&name.library, staged, candidate, false) {
            Ok(supervisor) => supervisor,
            Err(refusal) if refusal.is_of_the_system() => return Ok(()),
            Err(refusal) => return Err(refusal),
        };
        let maker = Maker::new(
            Opened::Worker(supervisor),
            &name.backend,
            options_json.clone(),
            std::sync::Arc::clone(services),
        );
        match Instance::construct(maker) {
            Err(why) if is_verdict(why.code()) => Err(Refusal::new(
                why.code(),
                format!(
                    "{} does not survive being constructed: {}; this is for the author of the library",
                    candidate.file,
                    convert::failure(&why.raw(), &services.scrubber, &[]).message
                ),
            )),
            _ => Ok(()),
        }
    }

    /// Whether these bytes run in this process already.
    pub(super) fn is_open(&self, sha256: &str) -> bool {
        let opened = self
            .opened
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        opened.contains_key(&(IsolationMode::Inline, sha256.to_owned()))
    }
}
/// Whether it is the library's fault that its constructor ended with this code.
fn is_verdict(ended: &str) -> bool {
    [
        code::TOO_SLOW,
        code::WORKER_DIED,
        code::WORKER_MEMORY,
        code::WORKER_CONTRACT,
    ]
    .contains(&ended)
}
