//! Puts the parts together, runs them, and ends them in order. The only place that knows all parts.

pub mod backup;
mod bridge;
mod caps;
mod descriptors;
mod open_store;
mod problem;
pub mod rehearsal;
mod reload;
mod run;
pub(crate) mod service_manager;
mod signals;
mod watchdog;

use std::sync::Arc;

use phone_verify_plugin_host::{
    Backend, BackendName, Choice, IsolationMode, Loader, LoaderConfig, Next, Refusal, Running,
};
use tokio::sync::mpsc;

use bridge::{Base, Bridge, InUse};
pub(crate) use descriptors::shortage as shortage_of_descriptors;
use open_store::{keyring, look_at_store};
pub use open_store::{
    missing_folders, must_exist, open_existing_store, open_store, without_lock_file_in_a_missing_folder,
};
pub use problem::Problem;
pub use run::{Reread, RunError, run};

use crate::{
    clock::Clock,
    dispatch::{Breaker, Dispatcher, Limits, Sender},
    entropy::Entropy,
    http::{DemoPhone, Loaded},
    metrics::{Metrics, StoreMetrics},
    settings::Settings,
    store::{Keyring, Store},
    telemetry,
    verifier::{Policy, Verifier},
};

/// HTTP requests that a backend may have under way however few SMS are: it may ask for more than that an SMS is sent.
const MIN_REQUESTS_AT_ONCE: usize = 64;

/// Everything that verifies numbers, running.
pub struct Service {
    /// The rules.
    pub verifier: Verifier,
    /// The database.
    pub store: Arc<dyn Store>,
    /// The keys to it.
    pub keyring: Arc<Keyring>,
    /// Which backend that was at the start.
    pub backend: Serving,
    /// Who sends, as the dispatcher sees it.
    pub sender: Arc<dyn Sender>,
    /// Spares the backend.
    pub breaker: Arc<Breaker>,
    /// The bounds of sending.
    pub limits: Limits,
    /// The time.
    pub clock: Clock,
    /// The randomness.
    pub entropy: Entropy,
    store_metrics: Arc<StoreMetrics>,
    loader: Arc<Loader>,
    bridge: Arc<Bridge>,
    dispatcher: Dispatcher,
}

/// Which backend serves.
#[derive(Clone, Debug)]
pub struct Serving {
    /// `nexmo.NexmoBackend`.
    pub name: String,
    /// The version of its library.
    pub version: String,
    /// The version of the ABI that its library was built against.
    pub abi: String,
    /// The hash of its library.
    pub sha256: String,
    /// Who signed its library, by the name in the settings, where signatures count.
    pub signed_by: Option<String>,
    /// Where its library runs.
    pub place: IsolationMode,
    /// Whether it is for tests and tutorials.
    pub sandbox: bool,
    /// What the sandbox of its worker process cannot keep it from on this system.
    pub weakness: Option<String>,
    /// Why it is not the file in the plugin directory; empty: it is.
    pub refusals: Vec<Refusal>,
}

impl Serving {
    fn of(backend: &Backend, refusals: Vec<Refusal>) -> Self {
        let serving = Self {
            name: backend.name().to_owned(),
            version: backend.library_version().to_owned(),
            abi: backend.library_abi().to_owned(),
            sha256: backend.library_sha256().to_owned(),
            signed_by: backend.library_signer().map(str::to_owned),
            place: backend.isolation(),
            sandbox: backend.is_sandbox(),
            weakness: backend.weakness(),
            refusals,
        };
        serving.tell_refusals();
        if let Some(newer_abi) = backend.newer_abi() {
            tracing::warn!(backend = serving.name, "{newer_abi}");
        }
        // The console shows each SMS; a backend for production shows nothing that is worth a secret.
        telemetry::show_as_printed(serving.sandbox);
        if serving.sandbox {
            tracing::warn!(
                backend = serving.name,
                "a sandbox backend is in use: it is not for production"
            );
        }
        serving
    }

    fn loaded(&self) -> Loaded {
        Loaded {
            name: self.name.clone(),
            version: self.version.clone(),
            abi: self.abi.clone(),
            sha256: self.sha256.clone(),
            signed_by: self.signed_by.clone(),
            isolation: self.place.to_string(),
            sandbox: self.sandbox,
            weakness: self.weakness.clone(),
        }
    }

    fn tell_refusals(&self) {
        for refusal in &self.refusals {
            tracing::error!(
                backend = self.name,
                version = self.version,
                sha256 = self.sha256,
                "the library in the plugin directory is not used, and the version that was goes on serving: {refusal}"
            );
        }
    }
}

/// The loader that the settings describe.
pub fn loader(settings: &Settings, clock: &Clock, entropy: &Entropy) -> Loader {
    Loader::new(loader_config(settings, settings, clock, entropy))
}

/// The same, with the places of its files as they were at the start.
fn loader_config(settings: &Settings, at_start: &Settings, clock: &Clock, entropy: &Entropy) -> LoaderConfig {
    let mut trust = settings.plugins.trust.clone();
    trust.lock_file.clone_from(&at_start.plugins.trust.lock_file);
    LoaderConfig {
        directories: settings.plugins.directories.clone(),
        staging: at_start.plugins.staging_directory.clone(),
        clock: clock.clone(),
        entropy: entropy.clone(),
        allow_private_addresses: settings.plugins.allow_private_addresses,
        outbound: settings.http.clone(),
        requests_at_once: at_start.dispatch.limits.concurrency.max(MIN_REQUESTS_AT_ONCE),
        isolation: settings.plugins.isolation.clone(),
        trust,
    }
}

/// The backend in the plugin directory that the settings name, loaded and constructed.
pub fn load_backend(settings: &Settings, loader: &Loader) -> Result<Backend, Vec<Refusal>> {
    loader.load(&backend_name(settings)?, &settings.phone_verification.options)
}

/// Why the library that the settings name could not be used, whatever its options are.
pub fn judge_library(settings: &Settings, loader: &Loader) -> Vec<Refusal> {
    let judged = backend_name(settings).and_then(|name| loader.judge(&name));
    judged.err().unwrap_or_default()
}

/// What a start goes on with where the backend in the plugin directory is refused, if a version that served before can be
/// used.
pub fn version_before(settings: &Settings, loader: &Loader) -> Option<Backend> {
    match choose_backend(settings, loader, None).ok()?.next {
        Next::Take(backend) => Some(*backend),
        Next::Keep => None,
    }
}

/// Why the backend in the plugin directory could not be used, with private copies that are gone at once.
fn refusals(settings: &Settings, clock: &Clock, entropy: &Entropy) -> Vec<Problem> {
    let Ok(copies) = tempfile::tempdir() else {
        return Vec::new();
    };
    let mut config = loader_config(settings, settings, clock, entropy);
    copies.path().clone_into(&mut config.staging);
    config.trust.lock_file = None;
    let refused = load_backend(settings, &Loader::new(config))
        .err()
        .unwrap_or_default();
    refused.into_iter().map(Problem::from).collect()
}

/// What is said of further files of the library that the settings name, which are not used.
pub fn hidden_libraries(settings: &Settings, loader: &Loader) -> Vec<String> {
    let name = backend_name(settings).ok();
    let hidden = name.map(|name| loader.hidden(&name)).unwrap_or_default();
    hidden
        .iter()
        .inspect(|hidden| tracing::warn!("{hidden}"))
        .map(ToString::to_string)
        .collect()
}

/// What is to serve, which may be a version from before if the one in the plugin directory is refused.
fn choose_backend(
    settings: &Settings,
    loader: &Loader,
    running: Option<Running<'_>>,
) -> Result<Choice, Vec<Refusal>> {
    let options = &settings.phone_verification.options;
    loader.choose(&backend_name(settings)?, options, running)
}

fn backend_name(settings: &Settings) -> Result<BackendName, Vec<Refusal>> {
    BackendName::parse(&settings.phone_verification.backend).map_err(|refusal| vec![refusal])
}

/// The rules that the settings give.
fn policy(settings: &Settings) -> Policy {
    let phone_verification = &settings.phone_verification;
    Policy {
        code_format: phone_verification.code_format,
        expiration: phone_verification.expiration,
        only_once: phone_verification.only_once,
        resend: phone_verification.resend,
        max_failed_attempts: phone_verification.max_failed_attempts,
        messages: Arc::clone(&phone_verification.messages),
        test_numbers: Arc::clone(&phone_verification.test_numbers),
        limits: settings.limits.clone(),
        guard: settings.guard.clone(),
        record_retention: phone_verification.record_retention,
        audit_retention: settings.store.audit_retention,
    }
}

/// What the overrides of a backend can fall back on.
fn base(settings: &Settings, entropy: &Entropy) -> Base {
    let phone_verification = &settings.phone_verification;
    Base {
        code_format: phone_verification.code_format,
        messages: Arc::clone(&phone_verification.messages),
        test_numbers: Arc::clone(&phone_verification.test_numbers),
        entropy: entropy.clone(),
    }
}

impl Service {
    /// Loads the backend, opens the database, and starts to dispatch. The error holds every problem found.
    /// Call it inside a tokio runtime.
    pub fn start(settings: &Settings) -> Result<Self, Vec<Problem>> {
        Self::start_with(settings, None)
    }

    /// The same; `demo` is shown each SMS that the backend took.
    fn start_with(settings: &Settings, demo: Option<Arc<DemoPhone>>) -> Result<Self, Vec<Problem>> {
        let (clock, entropy) = (Clock::system(), Entropy::system());
        let missing = missing_folders(settings);
        if !missing.is_empty() {
            return Err(missing
                .into_iter()
                .chain(refusals(settings, &clock, &entropy))
                .collect());
        }
        let loader = loader(settings, &clock, &entropy);
        let chosen = choose_backend(settings, &loader, None)
            .map_err(|refusals| refusals.into_iter().map(Problem::from).collect::<Vec<_>>());
        let store_metrics = Arc::<StoreMetrics>::default();
        let observer = Arc::clone(&store_metrics) as Arc<_>;
        let stored = open_store(settings, &clock, &entropy, observer).map_err(|problem| vec![problem]);
        let (chosen, (store, keyring)) = match (chosen, stored) {
            (Ok(chosen), Ok(stored)) => (chosen, stored),
            (chosen, stored) => {
                let problems = [chosen.err(), stored.err()];
                return Err(problems.into_iter().flatten().flatten().collect());
            }
        };
        let Next::Take(backend) = chosen.next else {
            return Err(vec![Problem::lasting("nothing serves yet that could be kept")]);
        };
        let serving = Serving::of(&backend, chosen.refusals);
        let limits = settings.dispatch.limits;
        let in_use = InUse::new(*backend, base(settings, &entropy));
        let bridge = Arc::new(Bridge::new(in_use, limits.send_timeout, demo));
        let (orders, to_dispatch) = mpsc::channel(settings.dispatch.queue_length);
        let breaker = Arc::new(Breaker::new(clock.clone()));
        let dispatcher = Dispatcher::start(
            Arc::clone(&store),
            Arc::clone(&bridge) as Arc<dyn Sender>,
            Arc::clone(&breaker),
            limits,
            to_dispatch,
            clock.clone(),
        );
        let verifier = Verifier::new(
            policy(settings),
            Arc::clone(&store),
            Arc::clone(&keyring),
            Arc::clone(&bridge) as Arc<_>,
            orders,
            clock.clone(),
            entropy.clone(),
        );
        Ok(Self {
            verifier,
            store,
            keyring,
            backend: serving,
            sender: Arc::clone(&bridge) as Arc<dyn Sender>,
            breaker,
            limits,
            clock,
            entropy,
            store_metrics,
            loader: Arc::new(loader),
            bridge,
            dispatcher,
        })
    }

    /// What its parts count.
    fn metrics(&self) -> Metrics {
        Metrics {
            http: Arc::default(),
            messages: self.dispatcher.metrics(),
            verifications: self.verifier.metrics(),
            store: Arc::clone(&self.store_metrics),
            workers: self.loader.metrics(),
        }
    }

    /// Waits until what was taken is settled. Returns whether all of it was.
    pub async fn stop(self) -> bool {
        let Self {
            verifier,
            dispatcher,
            limits,
            ..
        } = self;
        drop(verifier);
        dispatcher.drain(limits.total_timeout).await
    }
}
