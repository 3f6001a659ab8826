//! Puts the parts together, runs them, and ends them in order. The only place that knows all parts.

mod bridge;
mod run;

use std::{collections::BTreeSet, path::Path, sync::Arc};

use tokio::sync::mpsc;

use bridge::Bridge;
pub use run::{RunError, run};

use crate::{
    backends::{Backend, BackendName, Loader, LoaderConfig, Refusal},
    clock::Clock,
    dispatch::{Breaker, Dispatcher, Limits, Sender},
    entropy::Entropy,
    settings::Settings,
    store::{Keyring, Store, sqlite::Sqlite},
    verifier::{Policy, Verifier},
};

/// Everything that verifies numbers, running.
pub struct Service {
    /// The rules.
    pub verifier: Verifier,
    /// The database.
    pub store: Arc<dyn Store>,
    /// The keys to it.
    pub keyring: Arc<Keyring>,
    /// Who sends.
    pub backend: Arc<Backend>,
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
    dispatcher: Dispatcher,
}

/// The loader that the settings describe.
pub fn loader(settings: &Settings, clock: &Clock, entropy: &Entropy) -> Loader {
    Loader::new(LoaderConfig {
        directories: settings.plugins.directories.clone(),
        staging: settings.plugins.staging_directory.clone(),
        clock: clock.clone(),
        entropy: entropy.clone(),
        allow_private_addresses: settings.plugins.allow_private_addresses,
        isolation: settings.plugins.isolation.clone(),
        trust: settings.plugins.trust.clone(),
    })
}

/// The backend that the settings name, loaded and constructed.
pub fn load_backend(settings: &Settings, loader: &Loader) -> Result<Backend, Vec<Refusal>> {
    let name = BackendName::parse(&settings.phone_verification.backend).map_err(|sentence| {
        vec![Refusal {
            code: "P101",
            sentence,
        }]
    })?;
    loader.load(&name, &settings.phone_verification.options)
}

impl Service {
    /// Loads the backend, opens the database, and starts to dispatch. The error holds every problem found.
    /// Call it inside a tokio runtime.
    pub fn start(settings: &Settings) -> Result<Self, Vec<String>> {
        let (clock, entropy) = (Clock::system(), Entropy::system());
        let loader = loader(settings, &clock, &entropy);
        let backend = load_backend(settings, &loader)
            .map_err(|refusals| refusals.iter().map(ToString::to_string).collect::<Vec<_>>());
        let stored = open_store(settings, &entropy).map_err(|problem| vec![problem]);
        let (backend, (store, keyring)) = match (backend, stored) {
            (Ok(backend), Ok(stored)) => (Arc::new(backend), stored),
            (backend, stored) => {
                let problems = [backend.err(), stored.err()];
                return Err(problems.into_iter().flatten().flatten().collect());
            }
        };
        if backend.is_sandbox() {
            tracing::warn!(
                backend = backend.name(),
                "a sandbox backend is in use: it is not for production"
            );
        }
        let limits = settings.dispatch.limits;
        let phone_verification = &settings.phone_verification;
        let policy = Policy {
            token_length: phone_verification.token_length,
            expiration: phone_verification.expiration,
            only_once: phone_verification.only_once,
            max_failed_attempts: phone_verification.max_failed_attempts,
            messages: Arc::clone(&phone_verification.messages),
            lease: limits.lease(),
        };
        let bridge = Arc::new(Bridge::new(
            Arc::clone(&backend),
            phone_verification.token_length,
            Arc::clone(&phone_verification.messages),
            limits.send_timeout,
            entropy.clone(),
        ));
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
            policy,
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
            backend,
            sender: bridge,
            breaker,
            limits,
            clock,
            entropy,
            dispatcher,
        })
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

/// What would keep [`open_store`] from working, as far as it can be told without making anything.
pub fn look_at_store(settings: &Settings, entropy: &Entropy) -> Vec<String> {
    let folders =
        BTreeSet::from([&settings.store.database, &settings.store.key_file].map(|file| folder_of(file)));
    let mut problems: Vec<String> = folders
        .into_iter()
        .filter(|folder| !folder.is_dir())
        .map(|folder| format!("[store] there is no folder {}; make it", folder.display()))
        .collect();
    if settings.store.key_file.exists() {
        let keyring = Keyring::open(&settings.store.key_file, entropy.clone());
        problems.extend(keyring.err().map(|error| error.to_string()));
    }
    problems
}

fn folder_of(file: &Path) -> &Path {
    let folder = file.parent().unwrap_or(Path::new("/"));
    if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    }
}

/// The database of the settings, and the keys to it.
pub fn open_store(settings: &Settings, entropy: &Entropy) -> Result<(Arc<dyn Store>, Arc<Keyring>), String> {
    let keyring =
        Keyring::open(&settings.store.key_file, entropy.clone()).map_err(|error| error.to_string())?;
    let keyring = Arc::new(keyring);
    let store =
        Sqlite::open(&settings.store.database, Arc::clone(&keyring)).map_err(|error| error.to_string())?;
    Ok((Arc::new(store), keyring))
}
