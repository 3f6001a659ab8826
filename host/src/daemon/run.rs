//! Runs the daemon: serve, reload, and end in order when asked to. Sockets, signals and the service manager are handed
//! in, so that a test runs the same in its own process.

use std::{sync::Arc, time::Duration};

use phone_verify_plugin_host::WorkerMetrics;
use tokio::{
    sync::{Semaphore, mpsc},
    time::interval,
};
use tokio_util::sync::CancellationToken;

use super::{
    Problem, Service, caps, descriptors, next, reload::Reloader, service::Started,
    service_manager::ServiceManager, watchdog,
};
use crate::{
    clock::Clock,
    http::{self, App, Bounds, Connections, DemoPhone, Listener, Live, Passed},
    model::Places,
    settings::{Problem as SettingsProblem, Server, Settings},
    store::StoreError,
};

/// How often it is looked whether codes come back.
const CONVERSION_INTERVAL: Duration = Duration::from_secs(60);

/// How often it is looked whether another process uses a key that this one lacks, beside each time that a token looks
/// foreign.
const KEYS_INTERVAL: Duration = Duration::from_secs(2);

/// Reads the settings again.
pub type Reread = Box<dyn Fn() -> Result<Settings, Vec<SettingsProblem>> + Send + Sync>;

/// What a daemon is, before it has sockets.
pub struct Setup {
    /// What it runs with.
    pub settings: Settings,
    /// How they are read again at a reload; `None`: they are not.
    pub reread: Option<Reread>,
    /// With a page on which each SMS is shown.
    pub is_demo: bool,
    /// Hears what the daemon does.
    pub manager: ServiceManager,
}

/// How the daemon is told to stop and to reload, by whoever runs it.
pub struct Control {
    /// Cancelled: to end, once what is under way is finished.
    pub stop: CancellationToken,
    /// Each: to reload.
    pub reloads: mpsc::Receiver<()>,
}

/// Serves at these sockets until it is asked to stop. `ready` hears where once requests are answered. The error holds
/// every problem found with backend and database; then nothing was served.
pub async fn run(
    setup: Setup,
    listeners: Vec<Listener>,
    control: Control,
    ready: impl FnOnce(&[Listener]),
) -> Result<(), Vec<Problem>> {
    let Setup {
        settings,
        reread,
        is_demo,
        manager,
    } = setup;
    let Control { stop, reloads } = control;
    let max_descriptors = descriptors::raise_limit();
    let (settings, manager) = (Arc::new(settings), Arc::new(manager));
    let demo = is_demo.then(|| Arc::new(DemoPhone::new(stop.clone())));
    let Started {
        service,
        maker,
        loader,
    } = Started::of(&settings, demo.clone())?;
    loader.sweep();
    service.review_keys().await;
    let app = Arc::new(app(&service, &settings, max_descriptors, loader.metrics(), demo));
    let open_to_all: Vec<String> = listeners
        .iter()
        .filter(|listener| !listener.is_local())
        .map(ToString::to_string)
        .collect();
    warn_of_open_api(&settings, &open_to_all);
    let reloader = Reloader::new(
        Arc::clone(&app),
        maker,
        loader,
        reread,
        open_to_all,
        Arc::clone(&manager),
    );
    // Before the reloader can say that it reloads.
    manager.serves(&reloader.status());
    let reloading = tokio::spawn(reloader.run(reloads, stop.clone()));
    let backends = service.fleet.status();
    let backends: Vec<&str> = backends.iter().map(|status| &*status.facts.backend).collect();
    for listener in &listeners {
        tracing::info!(address = %listener, backend = backends.join(", "), "listening on {listener}");
    }
    ready(&listeners);
    let conversion = tokio::spawn(watch_conversion(Arc::clone(&app)));
    let keys = tokio::spawn(watch_keys(Arc::clone(&app)));
    let caps = tokio::spawn(caps::watch(Arc::clone(&app)));
    let retention = tokio::spawn(delete_old_records(
        Arc::clone(&app),
        settings.store.cleanup_interval,
    ));
    let early_reports = service.verifier.clone();
    let early_reports = tokio::spawn(async move { early_reports.watch_early_reports().await });
    let alive = tokio::spawn(watchdog::watch(Arc::clone(&manager), Arc::clone(&service.store)));
    let at_most = settings.server.shutdown_timeout + service.total_timeout;
    let ends = tokio::spawn(tell_of_end(Arc::clone(&manager), stop.clone(), at_most));
    let finished = http::serve(listeners, app, settings.server.shutdown_timeout, stop).await;
    conversion.abort();
    caps.abort();
    keys.abort();
    retention.abort();
    early_reports.abort();
    // One that is under way ends first: it may be recording which version is in use.
    if reloading.await.is_err() {
        tracing::error!("reloading panicked");
    }
    let settled = service.stop().await;
    alive.abort();
    ends.abort();
    if finished && settled {
        tracing::info!("stopped: everything under way was finished");
    } else {
        tracing::warn!("stopped: what was not finished in time stays in the outbox");
    }
    Ok(())
}

/// HTTP over a service. `max_descriptors`: how many files this process may have open; `workers`: what the loader of its
/// libraries counts; `demo`: what shows each SMS.
pub fn app(
    service: &Service,
    settings: &Settings,
    max_descriptors: Option<usize>,
    workers: Arc<WorkerMetrics>,
    demo: Option<Arc<DemoPhone>>,
) -> App {
    App {
        live: Live::new(next::generation(&service.verifier, settings, Vec::new())),
        store: Arc::clone(&service.store),
        fleet: Arc::clone(&service.fleet),
        connections: connections(settings, max_descriptors, &service.clock),
        trusted_proxies: settings.server.trusted_proxies.clone(),
        allowed_origins: settings.server.allowed_origins.clone(),
        public_url: settings.server.public_url.clone(),
        drop_in_endpoints: settings.server.drop_in_endpoints,
        read_timeout: settings.server.read_timeout,
        clock: service.clock.clone(),
        metrics: service.metrics(workers),
        started_at: service.clock.now(),
        entropy: service.entropy.clone(),
        client_addresses: settings.log.client_addresses,
        receipts_under_way: Semaphore::new(http::RECEIPTS_AT_ONCE),
        demo,
    }
}

/// Listens at what was passed, or else at `places`. The error names each place that cannot be listened at.
pub async fn listen(
    passed: Passed,
    places: Places<'_>,
    settings: &Settings,
) -> Result<Vec<Listener>, Vec<Problem>> {
    let listeners = if passed.is_empty() {
        http::bind(places, settings.server.unix_socket_mode).await
    } else {
        passed
            .listen()
            .inspect(|passed| tell_of_passed(passed, &settings.server))
    };
    listeners.map_err(|unbound| unbound.into_iter().map(Problem::from).collect())
}

/// Once the end begins, says how long it may take.
async fn tell_of_end(manager: Arc<ServiceManager>, stop: CancellationToken, at_most: Duration) {
    stop.cancelled().await;
    manager.stops(at_most);
}

/// The service manager's sockets are used instead of those of the settings, which the operator may not expect.
fn tell_of_passed(passed: &[Listener], server: &Server) {
    let agree = passed
        .iter()
        .all(|listener| server.listen.iter().any(|place| listener.is_at(place)))
        && server
            .listen
            .iter()
            .all(|place| passed.iter().any(|listener| listener.is_at(place)));
    if agree || !server.names_listen {
        return;
    }
    let shown = |places: Vec<String>| places.join(", ");
    tracing::warn!(
        "the service manager passes sockets, which are listened at: {}; [server] listen, {}, is not used: make the two alike, \
         or take one of them away",
        shown(passed.iter().map(ToString::to_string).collect()),
        shown(server.listen.iter().map(ToString::to_string).collect()),
    );
}

/// All connections, as many as the settings and the system let there be.
fn connections(settings: &Settings, max_descriptors: Option<usize>, clock: &Clock) -> Arc<Connections> {
    let server = &settings.server;
    let max_connections = descriptors::max_connections(server.max_connections, max_descriptors);
    if max_connections < server.max_connections {
        tracing::warn!(
            max = max_connections,
            descriptors = max_descriptors,
            "there are fewer connections than [server] max_connections, {}, for the system lets this process open no more \
             files: raise the limit (ulimit -n, LimitNOFILE)",
            server.max_connections
        );
    }
    let bounds = Bounds {
        max_connections,
        max_connections_per_address: server.max_connections_per_address,
        trusted_proxies: server.trusted_proxies.clone(),
        read_timeout: server.read_timeout,
        idle_timeout: server.idle_timeout,
    };
    Connections::new(bounds, clock.clone())
}

/// `open_to_all`: where more than this machine, or those that the permissions of a socket let in, can connect.
pub(super) fn warn_of_open_api(settings: &Settings, open_to_all: &[String]) {
    if settings.api.keys.is_empty() && !open_to_all.is_empty() {
        tracing::warn!(
            "the native API is open to everybody who reaches {}: name keys in [api.keys], or let a proxy keep /v1",
            open_to_all.join(", ")
        );
    }
}

/// Says when another process uses a key that this one lacks, and when it no longer does.
async fn watch_keys(app: Arc<App>) {
    let mut ticks = interval(KEYS_INTERVAL);
    let mut lacked = false;
    loop {
        ticks.tick().await;
        let review = match app.store.review_keys(app.clock.now()).await {
            Ok(review) => review,
            Err(error) => {
                tracing::error!(%error, "it cannot be seen which keys the database is written with");
                continue;
            }
        };
        if review.changed {
            tracing::info!("the keys are exchanged: another process uses one that was not among them");
        }
        if review.lacks && !lacked {
            let problem = review.problem.unwrap_or_default();
            tracing::error!(error = %StoreError::KeyMissing, problem, "codes of another process cannot be judged");
        } else if lacked && !review.lacks {
            tracing::info!("no key is missing any more");
        }
        lacked = review.lacks;
    }
}

/// Warns when the conversion becomes low, and says when it no longer is.
async fn watch_conversion(app: Arc<App>) {
    let mut ticks = interval(CONVERSION_INTERVAL);
    let mut low = false;
    loop {
        ticks.tick().await;
        match app.live.get().verifier.conversion_alarm().await {
            Ok(Some(alarm)) if !low => {
                tracing::warn!("{alarm}; see phone-verify decisions");
                low = true;
            }
            Ok(None) if low => {
                tracing::info!("enough numbers send their codes back again");
                low = false;
            }
            Ok(_) => {}
            Err(error) => tracing::error!(%error, "the conversion cannot be computed"),
        }
    }
}

/// Deletes old records at once and then that often; zero: never.
async fn delete_old_records(app: Arc<App>, every: Duration) {
    if every.is_zero() {
        return;
    }
    let mut ticks = interval(every);
    loop {
        ticks.tick().await;
        match app.live.get().verifier.delete_old_records().await {
            Ok(0) => {}
            Ok(records) => tracing::info!(records, "old records are deleted"),
            Err(error) => tracing::error!(%error, "old records cannot be deleted"),
        }
    }
}
