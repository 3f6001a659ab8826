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

use crate::{clock::Clock, entropy::Entropy, settings::Settings};

/// HTTP requests that a backend may have under way however few SMS are: it may ask for more than that an SMS is sent.
const MIN_REQUESTS_AT_ONCE: usize = 64;

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
        requests_at_once: at_start.dispatch.bounds.concurrency.max(MIN_REQUESTS_AT_ONCE),
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

/// What a start goes on with where the backend in the plugin directory is refused, if a version that served before can
/// be used.
pub fn version_before(settings: &Settings, loader: &Loader) -> Option<Backend> {
    let options = &settings.phone_verification.options;
    let name = backend_name(settings).ok()?;
    match loader.choose(&name, options, None).ok()?.next {
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

fn backend_name(settings: &Settings) -> Result<BackendName, Vec<Refusal>> {
    BackendName::parse(&settings.phone_verification.backend).map_err(|refusal| vec![refusal])
}
