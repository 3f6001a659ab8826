//! From a name in the settings to a backend that can be called: find, judge, stage, open, construct.
//!
//! Invariant: everything that can be found wrong without running the library's code is found before any of it
//! runs, and reported at once.

mod construct;
mod decide;
mod successor;
mod survey;
mod watch;

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use serde_json::{Map, Value};

pub use self::decide::{RolledBack, VersionReport};
pub use self::successor::{Choice, Next, Running};
pub use self::survey::{BackendReport, LibraryAbout, LibraryReport};
pub use self::watch::Seen;
use super::{
    Backend, BackendName,
    discover::{self, Found},
    instance::{CONSTRUCTION_LIMIT, Late, Opened, no_thread, within_limit},
    isolation::{IsolationMode, IsolationRules, is_bundled},
    load::Library,
    options,
    preflight::{self, Candidate, Platform, Refused},
    refusal::{Refusal, code},
    services::http::{Clients, Outbound, StandIn},
    stage,
    trust::{Build, Lock, TrustRules},
};
use super::{
    stage::Staged,
    worker::{Culprit, Spec, Supervisor},
};
use crate::{clock::Clock, entropy::Entropy, worker::WorkerMetrics};

/// What a [`Loader`] needs.
pub struct LoaderConfig {
    /// Searched in this order.
    pub directories: Vec<PathBuf>,
    /// Where the private copies lie that are opened; made with mode 0700 when missing.
    pub staging: PathBuf,
    /// The time that backends see.
    pub clock: Clock,
    /// The randomness that backends are given.
    pub entropy: Entropy,
    /// Whether backends may call http:// and private addresses, for tests and for proxies.
    pub allow_private_addresses: bool,
    /// What backends' requests go through.
    pub outbound: Outbound,
    /// HTTP requests of one backend that are under way at once; more wait.
    pub requests_at_once: usize,
    /// Which libraries run in this process, and which in one of their own.
    pub isolation: IsolationRules,
    /// Which libraries are used at all.
    pub trust: TrustRules,
}

impl LoaderConfig {
    /// As a daemon has it that says nothing else: what did not come with this program runs in a process of its own.
    pub fn of(directory: PathBuf, staging: PathBuf) -> Self {
        Self {
            directories: vec![directory],
            staging,
            clock: Clock::system(),
            entropy: Entropy::system(),
            allow_private_addresses: false,
            outbound: Outbound::default(),
            requests_at_once: 64,
            isolation: IsolationRules::default(),
            trust: TrustRules::default(),
        }
    }
}

/// Loads backends out of the plugin directories. Several libraries, and several generations of one, live side
/// by side in a process.
pub struct Loader {
    config: LoaderConfig,
    platform: Platform,
    clients: Arc<Clients>,
    /// Whether this is the conformance kit: secrets that backends say are seen, and the process in which a library is
    /// opened is no daemon that it could weaken.
    is_rehearsal: bool,
    /// Whether the versions that are loaded are recorded as the ones in use.
    records: bool,
    opened: Arc<Mutex<Shelf>>,
    metrics: Arc<WorkerMetrics>,
}

/// By place and hash: the same bytes are opened once in each place.
type Shelf = HashMap<(IsolationMode, String), Kept>;

/// An opened library: one in this process for ever, one in a worker as long as a backend of it is in use.
enum Kept {
    Inline {
        stem: String,
        library: Library,
        /// Its variables that other libraries in this process would share.
        unique: Vec<String>,
    },
    Worker(Weak<Supervisor>),
}

impl Kept {
    fn opened(&self) -> Option<Opened> {
        match self {
            Self::Inline { library, .. } => Some(Opened::Inline(*library)),
            Self::Worker(supervisor) => supervisor.upgrade().map(Opened::Worker),
        }
    }
}

/// Versions of one library that are opened in this process, where none is ever unloaded: some 350 KiB each.
const MAX_INLINE_GENERATIONS: usize = 16;

impl Loader {
    /// Nothing is read or loaded yet.
    pub fn new(config: LoaderConfig) -> Self {
        Self {
            clients: Arc::new(Clients::through(config.outbound.clone())),
            config,
            platform: Platform::here(),
            is_rehearsal: false,
            records: true,
            opened: Arc::default(),
            metrics: Arc::default(),
        }
    }

    /// For the conformance kit: requests are played by `network`, and a secret that a backend says is seen.
    #[must_use]
    pub fn rehearsing(mut self, network: Arc<dyn StandIn>) -> Self {
        self.clients = Arc::new(Clients::played(network));
        self.is_rehearsal = true;
        self
    }

    /// One with other settings, and the same libraries open.
    #[must_use]
    pub fn reconfigured(&self, config: LoaderConfig) -> Self {
        Self {
            clients: self.clients.changed_to(&config.outbound),
            config,
            platform: Platform::here(),
            is_rehearsal: self.is_rehearsal,
            records: self.records,
            opened: Arc::clone(&self.opened),
            metrics: Arc::clone(&self.metrics),
        }
    }

    /// What is counted of worker processes, also by loaders with other settings.
    pub fn metrics(&self) -> Arc<WorkerMetrics> {
        Arc::clone(&self.metrics)
    }

    /// For a look at what would run: it is tried whether that could be recorded, and nothing is.
    #[must_use]
    pub fn looking(mut self) -> Self {
        self.records = false;
        self
    }

    /// Finds, judges, opens and constructs a backend. Blocks for about a millisecond, at most for twenty
    /// seconds when the library hangs. The error holds every problem that could be found.
    pub fn load(&self, name: &BackendName, options: &Map<String, Value>) -> Result<Backend, Vec<Refusal>> {
        let found = discover::one(&self.config.directories, &name.library)?;
        let lock = self.lock()?;
        let candidate = self
            .candidate(&found, &lock)
            .map_err(|refused| vec![refused.refusal])?;
        let scans = !self.records && Self::is_new(&found, &candidate, &lock);
        self.take(name, &found, &candidate, &lock, options, scans)
    }

    /// Whether these bytes were never in use here, so that a crash while they are loaded would be a surprise. What came
    /// with this program is new only after another version of it.
    fn is_new(found: &Found, candidate: &Candidate, lock: &Lock) -> bool {
        match lock.builds(&found.stem).next() {
            Some(in_use) => in_use.sha256 != candidate.sha256,
            None => !is_bundled(&found.path),
        }
    }

    /// Finds, judges and opens a library where its backends would run, and constructs none.
    pub fn open_library(&self, library: &str) -> Result<(), Vec<Refusal>> {
        let found = discover::one(&self.config.directories, library)?;
        let lock = self.lock()?;
        let opened = self.candidate(&found, &lock).map_err(|refused| refused.refusal);
        let opened = opened.and_then(|candidate| {
            let place = self.place(&found, &candidate.sha256, &lock);
            self.open(library, &candidate, place)
        });
        opened.map(drop).map_err(|refusal| vec![refusal])
    }

    /// Finds and judges a backend's library, and runs nothing of it.
    pub fn judge(&self, name: &BackendName) -> Result<(), Vec<Refusal>> {
        let found = discover::one(&self.config.directories, &name.library)?;
        let candidate = self
            .candidate(&found, &self.lock()?)
            .map_err(|refused| vec![refused.refusal])?;
        let backend = candidate.manifest.backend(&candidate.file, &name.backend);
        backend.map(drop).map_err(|refusal| vec![refusal])
    }

    /// What is passed over for the file of a backend's library: further files of it, and directories before it that cannot
    /// be searched.
    pub fn hidden(&self, name: &BackendName) -> Vec<Refusal> {
        let directories = &self.config.directories;
        discover::one(directories, &name.library)
            .map(|used| discover::passed_over(directories, &used))
            .unwrap_or_default()
    }

    /// Deletes private copies that no recorded version needs. Where a file can be deleted while it is in use, that was
    /// done when it was replaced; elsewhere it is done by the next process.
    pub fn sweep(&self) {
        if cfg!(unix) {
            return;
        }
        if let Ok(lock) = self.lock() {
            stage::sweep(&self.config.staging, |sha256| lock.names(sha256));
        }
    }

    fn lock(&self) -> Result<Lock, Vec<Refusal>> {
        self.config.trust.lock().map_err(|refusal| vec![refusal])
    }

    /// Opens and constructs what lies in a directory, and records it as the version in use.
    fn take(
        &self,
        name: &BackendName,
        found: &Found,
        candidate: &Candidate,
        lock: &Lock,
        options: &Map<String, Value>,
        scans: bool,
    ) -> Result<Backend, Vec<Refusal>> {
        let build = Build::of(candidate, self.config.clock.wall());
        let backend = self.construct(name, found, candidate, lock, options, scans)?;
        let forgotten = self.config.trust.record(&found.stem, build, !self.records);
        if let Some(sha256) = forgotten.map_err(|refusal| vec![refusal])? {
            stage::discard(&self.config.staging, &sha256);
        }
        Ok(backend)
    }

    /// Reads and judges a file that lies in a directory.
    fn candidate(&self, found: &Found, lock: &Lock) -> Result<Candidate, Refused> {
        let trust = &self.config.trust;
        trust.check_ownership(&found.path).map_err(Refused::from)?;
        let mut candidate = preflight::check(found, &self.platform)?;
        match trust.admit(found, &mut candidate, lock) {
            Ok(()) => Ok(candidate),
            Err(refusal) => Err(Refused {
                refusal,
                size_bytes: Some(candidate.bytes.len() as u64),
                sha256: Some(candidate.sha256),
            }),
        }
    }

    /// Where it runs.
    fn place(&self, found: &Found, sha256: &str, lock: &Lock) -> IsolationMode {
        let is_trusted = lock.trusts_inline(&found.stem, sha256);
        let isolation = &self.config.isolation;
        isolation.place(&found.stem, &found.path, sha256, is_trusted)
    }

    /// Opens and constructs; `scans`: first in a process of its own, where a crash costs nothing. `found` is where it
    /// lies in its directory, wherever its bytes were read.
    fn construct(
        &self,
        name: &BackendName,
        found: &Found,
        candidate: &Candidate,
        lock: &Lock,
        options: &Map<String, Value>,
        scans: bool,
    ) -> Result<Backend, Vec<Refusal>> {
        let info = candidate
            .manifest
            .backend(&candidate.file, &name.backend)
            .map_err(|refusal| vec![refusal])?
            .clone();
        let options = options::check(name, &candidate.manifest, &info, options)?;
        let place = self.place(found, &candidate.sha256, lock);
        let services = self.services(name, &info, &options);
        if scans && place == IsolationMode::Inline && !self.is_open(&candidate.sha256) {
            self.scan(name, candidate, &options.json, &services)
                .map_err(|refusal| vec![refusal])?;
        }
        let library = self
            .open(&name.library, candidate, place)
            .map_err(|refusal| vec![refusal])?;
        let instance = construct::instance(name, library, options, &services)?;
        let backend = Backend::new(name, &candidate.manifest, place, info, instance, services);
        Ok(backend.read_from(candidate))
    }

    fn open(&self, stem: &str, candidate: &Candidate, place: IsolationMode) -> Result<Opened, Refusal> {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        opened.retain(|_, kept| kept.opened().is_some());
        let key = (place, candidate.sha256.clone());
        if let Some(library) = opened.get(&key).and_then(Kept::opened) {
            return Ok(library);
        }
        let generations = opened
            .values()
            .filter(|kept| matches!(kept, Kept::Inline { stem: known, .. } if known == stem))
            .count();
        if place == IsolationMode::Inline && generations >= MAX_INLINE_GENERATIONS {
            return Err(Refusal::new(
                code::TOO_MANY_GENERATIONS,
                format!(
                    "{} would be the {}th version of {stem} in this process, which cannot give back the memory of the \
                     others; restart phone-verify, or set isolation = \"worker\" for it, which has no such limit",
                    candidate.file,
                    MAX_INLINE_GENERATIONS + 1,
                ),
            ));
        }
        if place == IsolationMode::Inline && !self.is_rehearsal {
            candidate.linkage.check_inline(&candidate.file, generations > 0)?;
            for kept in opened.values() {
                if let Kept::Inline {
                    stem: other, unique, ..
                } = kept
                    && other != stem
                {
                    candidate.linkage.check_beside(&candidate.file, other, unique)?;
                }
            }
        }
        let staged = stage::stage(&self.config.staging, &candidate.sha256, &candidate.bytes)?;
        let explained = |refusal| preflight::explained(refusal, candidate, place == IsolationMode::Worker);
        let (library, kept) = match place {
            IsolationMode::Inline => {
                let (file, overrides) = (candidate.file.clone(), candidate.manifest.overrides());
                let library = within_limit(move || Library::open(&staged.path, &file, overrides))
                    .map_err(|late| match late {
                        Late::TooSlow => opened_too_slowly(&candidate.file),
                        Late::NoThread(error) => no_thread(&candidate.file, &error),
                    })?
                    .map_err(explained)?;
                let stem = stem.to_owned();
                let unique = candidate.linkage.unique().to_vec();
                let kept = Kept::Inline {
                    stem,
                    library,
                    unique,
                };
                (Opened::Inline(library), kept)
            }
            IsolationMode::Worker => {
                let supervisor = self
                    .open_in_worker(stem, staged, candidate, true)
                    .map_err(explained)?;
                let kept = Kept::Worker(Arc::downgrade(&supervisor));
                (Opened::Worker(supervisor), kept)
            }
        };
        opened.insert(key, kept);
        Ok(library)
    }

    /// Starts the worker process, which opens the library: what it refuses is returned now.
    fn open_in_worker(
        &self,
        library: &str,
        staged: Staged,
        candidate: &Candidate,
        is_confined: bool,
    ) -> Result<Arc<Supervisor>, Refusal> {
        let rules = &self.config.isolation;
        let supervisor = Arc::new(Supervisor::new(Spec {
            is_confined,
            program: rules.worker_program.clone(),
            library: library.to_owned(),
            staged,
            file: candidate.file.clone(),
            overrides: candidate.manifest.overrides(),
            clock: self.config.clock.clone(),
            entropy: self.config.entropy.clone(),
            metrics: Arc::clone(&self.metrics),
            idle_stop: rules.idle_stop,
            // A mere look keeps nothing.
            crashes: rules.crashes.clone().filter(|_| self.records),
            culprit: Culprit {
                name: library.to_owned(),
                version: candidate.manifest.version.clone(),
                abi: candidate.manifest.abi.to_string(),
                plugin_api: candidate.manifest.plugin_api.clone(),
                sha256: candidate.sha256.clone(),
                build_id: None,
            },
        }));
        supervisor.open()?;
        Ok(supervisor)
    }
}

fn opened_too_slowly(file: &str) -> Refusal {
    Refusal::new(
        code::TOO_SLOW,
        format!(
            "{file} was not opened within {} s; this is for the author of the library",
            CONSTRUCTION_LIMIT.as_secs()
        ),
    )
}
