//! Everything that verifies numbers, without a way in: the store, the fleet, the dispatcher between them, and the
//! verifier. The daemon opens HTTP on it, a command does one thing with it, a test puts it on a store and a fleet of
//! its own.

use std::{sync::Arc, time::Duration};

use phone_verify_plugin_host::{Loader, WorkerMetrics};

use super::{
    Problem, missing_folders,
    next::{self, Maker},
    open_store, refusals,
};
use crate::{
    clock::Clock,
    dispatch::{Dispatcher, Entrance, bulk::Bulk},
    entropy::Entropy,
    fleet::{Fleet, Members},
    http::DemoPhone,
    metrics::{Metrics, StoreMetrics},
    settings::Settings,
    store::{Keyring, Store},
    verifier::Verifier,
};

/// Everything that verifies numbers, running.
pub struct Service {
    /// The rules.
    pub verifier: Verifier,
    /// The database.
    pub store: Arc<dyn Store>,
    /// The keys to it.
    pub keyring: Arc<Keyring>,
    /// The backends.
    pub fleet: Arc<Fleet>,
    /// The time.
    pub clock: Clock,
    /// The randomness.
    pub entropy: Entropy,
    /// How long all tries of one message may take together.
    pub total_timeout: Duration,
    store_metrics: Arc<StoreMetrics>,
    dispatcher: Dispatcher,
}

/// What a service is put together of.
pub struct ServiceParts {
    /// The database.
    pub store: Arc<dyn Store>,
    /// What the database is observed by.
    pub store_metrics: Arc<StoreMetrics>,
    /// The keys to it.
    pub keyring: Arc<Keyring>,
    /// The backends.
    pub members: Members,
    /// The time.
    pub clock: Clock,
    /// The randomness.
    pub entropy: Entropy,
}

/// A service, and what makes its next generations.
pub(super) struct Started {
    pub(super) service: Service,
    pub(super) maker: Maker,
    pub(super) loader: Loader,
}

impl Service {
    /// Loads the backend, opens the database, and starts to dispatch. The error holds every problem found.
    /// Call it inside a tokio runtime.
    pub fn start(settings: &Arc<Settings>) -> Result<Self, Vec<Problem>> {
        Started::of(settings, None).map(|started| started.service)
    }

    /// Starts to dispatch, under the rules of these settings. Call it inside a tokio runtime.
    pub fn on(parts: ServiceParts, settings: &Settings) -> Self {
        let ServiceParts {
            store,
            store_metrics,
            keyring,
            members,
            clock,
            entropy,
        } = parts;
        store.record_events(settings.events.log);
        let fleet = Arc::new(Fleet::new(members));
        let total_timeout = settings.dispatch.total_timeout;
        let (entrance, to_dispatch) = Entrance::new(Arc::clone(&fleet));
        let dispatcher = Dispatcher::start(
            Arc::clone(&store),
            Arc::clone(&fleet),
            total_timeout,
            to_dispatch,
            clock.clone(),
        );
        let verifier = Verifier::new(
            next::policy(settings),
            Arc::clone(&store),
            Arc::clone(&keyring),
            Arc::clone(&fleet) as Arc<_>,
            Arc::new(entrance),
            clock.clone(),
            entropy.clone(),
        );
        Self {
            verifier,
            store,
            keyring,
            fleet,
            clock,
            entropy,
            total_timeout,
            store_metrics,
            dispatcher,
        }
    }

    /// Looks whether another process exchanged the keys. What comes of it is not told: the next use of the store says
    /// it again.
    pub async fn review_keys(&self) {
        let _ = self.store.review_keys(self.clock.now()).await;
    }

    /// What runs bulk jobs through its backends.
    pub fn bulk(&self) -> Bulk {
        Bulk {
            store: Arc::clone(&self.store),
            fleet: Arc::clone(&self.fleet),
            max_pause: self.total_timeout,
            clock: self.clock.clone(),
            entropy: self.entropy.clone(),
        }
    }

    /// What its parts count. `workers`: by the loader of its libraries.
    pub fn metrics(&self, workers: Arc<WorkerMetrics>) -> Metrics {
        Metrics {
            http: Arc::default(),
            messages: self.dispatcher.metrics(),
            verifications: self.verifier.metrics(),
            receipts: self.verifier.receipt_metrics(),
            store: Arc::clone(&self.store_metrics),
            workers,
        }
    }

    /// Takes no more messages, and waits until what was taken is settled, at most for `limit`. Returns whether all of
    /// it was.
    pub async fn drain(&self, limit: Duration) -> bool {
        self.dispatcher.drain(limit).await
    }

    /// Ends it in order. Returns whether all that was taken is settled.
    pub async fn stop(self) -> bool {
        let Self {
            verifier,
            dispatcher,
            total_timeout,
            ..
        } = self;
        // Whoever waits for a place in its queue gets none.
        drop(verifier);
        dispatcher.drain(total_timeout).await
    }
}

impl Started {
    /// Loads the backend, opens the database, and starts to dispatch; `demo` is shown each SMS that the backend took.
    pub(super) fn of(settings: &Arc<Settings>, demo: Option<Arc<DemoPhone>>) -> Result<Self, Vec<Problem>> {
        let maker = Maker {
            clock: Clock::system(),
            entropy: Entropy::system(),
            at_start: Arc::clone(settings),
            demo,
        };
        let missing = missing_folders(settings);
        if !missing.is_empty() {
            let refused = refusals(settings, &maker.clock, &maker.entropy);
            return Err(missing.into_iter().chain(refused).collect());
        }
        let loader = maker.loader(settings);
        let members = maker.members(settings, &loader, None);
        let store_metrics = Arc::<StoreMetrics>::default();
        let observer = Arc::clone(&store_metrics) as Arc<_>;
        let stored = open_store(settings, &maker.clock, &maker.entropy, observer);
        let stored = stored.map_err(|problem| vec![problem]);
        let (members, (store, keyring)) = match (members, stored) {
            (Ok(members), Ok(stored)) => (members, stored),
            (members, stored) => {
                let found = [members.err(), stored.err()];
                return Err(found.into_iter().flatten().flatten().collect());
            }
        };
        next::tell(None, &members);
        let parts = ServiceParts {
            store,
            store_metrics,
            keyring,
            members,
            clock: maker.clock.clone(),
            entropy: maker.entropy.clone(),
        };
        Ok(Self {
            service: Service::on(parts, settings),
            maker,
            loader,
        })
    }
}
