//! Puts the parts together, runs them, and ends them in order. The only place that knows all parts.

pub mod backup;
mod caps;
mod demo;
mod descriptors;
mod next;
mod open_store;
mod problem;
mod receipt_addresses;
pub mod rehearsal;
mod reload;
mod run;
mod service;
pub(crate) mod service_manager;
mod signals;
mod watchdog;

use std::collections::BTreeMap;

use phone_verify_plugin_host::{Backend, BackendName, Loader, LoaderConfig, Next, Refusal};

pub(crate) use descriptors::shortage as shortage_of_descriptors;
pub use open_store::{
    administration, missing_folders, must_exist, open_existing_store, open_store,
    without_lock_file_in_a_missing_folder,
};
use open_store::{keyring, look_at_store};
pub use problem::Problem;
pub use receipt_addresses::{ReceiptAddress, receipt_addresses};
pub use run::{Control, Reread, Setup, app, listen, run};
pub use service::{Service, ServiceParts};
pub use service_manager::ServiceManager;
pub use signals::signals;

use crate::{
    clock::Clock,
    entropy::Entropy,
    settings::{BackendSettings, Settings},
};

/// HTTP requests that a backend may have under way however few SMS are: it may ask for more than that an SMS is sent.
const MIN_REQUESTS_AT_ONCE: usize = 64;

/// The loader that the settings describe.
pub fn loader(settings: &Settings, clock: &Clock, entropy: &Entropy) -> Loader {
    Loader::new(loader_config(settings, settings, clock, entropy))
}

/// The same, with the places of its files as they were at the start.
fn loader_config(settings: &Settings, at_start: &Settings, clock: &Clock, entropy: &Entropy) -> LoaderConfig {
    let usual = at_start.dispatch.bounds;
    let concurrency = settings
        .backends
        .iter()
        .map(|backend| backend.bounds(usual).concurrency);
    let mut trust = settings.plugins.trust.clone();
    trust.lock_file.clone_from(&at_start.plugins.trust.lock_file);
    LoaderConfig {
        directories: settings.plugins.directories.clone(),
        staging: at_start.plugins.staging_directory.clone(),
        clock: clock.clone(),
        entropy: entropy.clone(),
        allow_private_addresses: settings.plugins.allow_private_addresses,
        outbound: settings.http.clone(),
        requests_at_once: concurrency.max().unwrap_or_default().max(MIN_REQUESTS_AT_ONCE),
        isolation: settings.plugins.isolation.clone(),
        trust,
    }
}

/// The backend in the plugin directory that the settings of a member name, loaded and constructed.
pub fn load_backend(settings: &BackendSettings, loader: &Loader) -> Result<Backend, Vec<Refusal>> {
    loader.load(&backend_name(settings)?, &settings.options)
}

/// Why the library that the settings of a member name could not be used, whatever its options are.
pub fn judge_library(settings: &BackendSettings, loader: &Loader) -> Vec<Refusal> {
    let judged = backend_name(settings).and_then(|name| loader.judge(&name));
    judged.err().unwrap_or_default()
}

/// What a start goes on with where the backend in the plugin directory is refused, if a version that served before can
/// be used.
pub fn version_before(settings: &BackendSettings, loader: &Loader) -> Option<Backend> {
    let name = backend_name(settings).ok()?;
    match loader.choose(&name, &settings.options, None).ok()?.next {
        Next::Take(backend) => Some(*backend),
        Next::Keep => None,
    }
}

/// What is wrong with a member's backend, which is named where the settings name it.
pub fn problem_of(settings: &BackendSettings, refusal: Refusal) -> Problem {
    let problem = Problem::from(refusal);
    Problem {
        sentence: settings.place() + &problem.sentence,
        ..problem
    }
}

/// What is wrong with routes that would have a code sent by others than its owner. `owns_codes`: whether the backend of a
/// name makes or judges codes itself.
pub fn mixed_routes(settings: &Settings, owns_codes: impl Fn(&str) -> bool) -> Vec<Problem> {
    let routes = settings
        .routes
        .iter()
        .zip(1..)
        .filter(|(route, _)| route.send.len() > 1);
    let mixed = routes.filter_map(|(route, place)| {
        let owner = route.send.iter().find(|name| owns_codes(name))?;
        Some(Problem::lasting(format!(
            "[[routes]] {place} send has {owner}, which makes or judges its codes itself, beside others, which know nothing of \
             these codes; give {owner} a route of its own"
        )))
    });
    mixed.collect()
}

/// Why backends in the plugin directory could not be used, with private copies that are gone at once.
fn refusals(settings: &Settings, clock: &Clock, entropy: &Entropy) -> Vec<Problem> {
    let Ok(copies) = tempfile::tempdir() else {
        return Vec::new();
    };
    let mut config = loader_config(settings, settings, clock, entropy);
    copies.path().clone_into(&mut config.staging);
    config.trust.lock_file = None;
    let loader = Loader::new(config);
    let refused = |backend: &BackendSettings| {
        let refused = load_backend(backend, &loader).err().unwrap_or_default();
        let told = refused.into_iter().map(|refusal| problem_of(backend, refusal));
        told.collect::<Vec<_>>()
    };
    settings.backends.iter().flat_map(refused).collect()
}

/// What is said of further files of the libraries that the settings name, which are not used.
pub fn hidden_libraries(settings: &Settings, loader: &Loader) -> Vec<String> {
    let names = settings
        .backends
        .iter()
        .filter_map(|backend| backend_name(backend).ok());
    let by_library: BTreeMap<_, _> = names.map(|name| (name.library.clone(), name)).collect();
    let hidden = by_library.values().flat_map(|name| loader.hidden(name));
    hidden
        .inspect(|hidden| tracing::warn!("{hidden}"))
        .map(|hidden| hidden.to_string())
        .collect()
}

fn backend_name(settings: &BackendSettings) -> Result<BackendName, Vec<Refusal>> {
    BackendName::parse(&settings.backend).map_err(|refusal| vec![refusal])
}
