//! Runs the daemon: bind, serve, reload, and end in order when asked to.

use std::{sync::Arc, time::Duration};

use tokio::time::interval;
use tokio_util::sync::CancellationToken;

use super::{
    Problem, Service, caps, descriptors, reload::Reloader, service_manager::ServiceManager, signals::signals,
    watchdog,
};
use crate::{
    clock::Clock,
    http::{self, App, Bounds, Connections, DemoPhone, Generation, Listener, Live, Passed},
    model::Places,
    settings::{Problem as SettingsProblem, Server, Settings},
    store::StoreError,
};

/// How often it is looked whether codes come back.
const CONVERSION_INTERVAL: Duration = Duration::from_secs(60);

/// How often it is looked whether another process uses a key that this one lacks, beside each time that a token looks
/// foreign.
const KEYS_INTERVAL: Duration = Duration::from_secs(2);

/// Why the daemon did not start.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Everything that is wrong with places to listen at, backend and database.
    #[error("{}", .0.iter().map(|problem| problem.sentence.as_str()).collect::<Vec<_>>().join("\n"))]
    Start(Vec<Problem>),
}

impl RunError {
    /// Each of them.
    pub fn problems(self) -> Vec<Problem> {
        match self {
            Self::Start(problems) => problems,
        }
    }
}

/// Reads the settings again.
pub type Reread = Box<dyn Fn() -> Result<Settings, Vec<SettingsProblem>> + Send + Sync>;

/// Serves at the sockets that were passed, or else at `places`, until a signal says to stop. `is_demo`: with a page on which
/// each SMS is shown. `ready` hears where once requests are answered.
pub async fn run(
    settings: Settings,
    passed: Passed,
    places: Places<'_>,
    reread: Option<Reread>,
    is_demo: bool,
    ready: impl FnOnce(&[Listener]),
) -> Result<(), RunError> {
    let (stop, hangups) = signals();
    let max_descriptors = descriptors::raise_limit();
    let manager = Arc::new(ServiceManager::of_environment());
    let listeners = listen(passed, places, &settings).await?;
    let demo = is_demo.then(|| Arc::new(DemoPhone::new(stop.clone())));
    let service = Service::start_with(&settings, demo.clone()).map_err(RunError::Start)?;
    service.loader.sweep();
    // Whatever it says is said again, and at once.
    let _ = service.store.review_keys(service.clock.now()).await;
    let settings = Arc::new(settings);
    let app = Arc::new(App {
        live: Live::new(Generation {
            verifier: service.verifier.clone(),
            backend: service.backend.loaded(),
            notes: Vec::new(),
            default_region: settings.phone_verification.default_region,
            context_allows_urls: settings.phone_verification.context_allows_urls,
            keys: settings.api.keys.clone(),
        }),
        store: Arc::clone(&service.store),
        breaker: Arc::clone(&service.breaker),
        sender: Arc::clone(&service.sender),
        connections: connections(&settings, max_descriptors, &service.clock),
        trusted_proxies: settings.server.trusted_proxies.clone(),
        allowed_origins: settings.server.allowed_origins.clone(),
        public_url: settings.server.public_url.clone(),
        drop_in_endpoints: settings.server.drop_in_endpoints,
        read_timeout: settings.server.read_timeout,
        clock: service.clock.clone(),
        metrics: service.metrics(),
        started_at: service.clock.now(),
        entropy: service.entropy.clone(),
        client_addresses: settings.log.client_addresses,
        demo,
    });
    let open_to_all: Vec<String> = listeners
        .iter()
        .filter(|listener| !listener.is_local())
        .map(ToString::to_string)
        .collect();
    warn_of_open_api(&settings, &open_to_all);
    let reloader = Reloader {
        app: Arc::clone(&app),
        bridge: Arc::clone(&service.bridge),
        breaker: Arc::clone(&service.breaker),
        clock: service.clock.clone(),
        entropy: service.entropy.clone(),
        loader: Arc::clone(&service.loader),
        serving: service.backend.clone(),
        settings: Arc::clone(&settings),
        at_start: Arc::clone(&settings),
        reread,
        has_faulty_settings: false,
        has_refused_keys: false,
        open_to_all,
        manager: Arc::clone(&manager),
    };
    reloader.publish();
    // Before the reloader can say that it reloads.
    manager.serves(&reloader.status());
    let reloads = tokio::spawn(reloader.run(hangups, stop.clone()));
    for listener in &listeners {
        tracing::info!(address = %listener, backend = service.backend.name, "listening on {listener}");
    }
    ready(&listeners);
    let conversion = tokio::spawn(watch_conversion(Arc::clone(&app)));
    let keys = tokio::spawn(watch_keys(Arc::clone(&app)));
    let caps = tokio::spawn(caps::watch(Arc::clone(&app)));
    let retention = tokio::spawn(delete_old_records(
        Arc::clone(&app),
        settings.store.cleanup_interval,
    ));
    let alive = tokio::spawn(watchdog::watch(Arc::clone(&manager), Arc::clone(&service.store)));
    let at_most = settings.server.shutdown_timeout + service.limits.total_timeout;
    let ends = tokio::spawn(tell_of_end(Arc::clone(&manager), stop.clone(), at_most));
    let finished = http::serve(listeners, app, settings.server.shutdown_timeout, stop).await;
    conversion.abort();
    caps.abort();
    keys.abort();
    retention.abort();
    // One that is under way ends first: it may be recording which version is in use.
    if reloads.await.is_err() {
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

/// Listens at what was passed, or else at `places`.
async fn listen(passed: Passed, places: Places<'_>, settings: &Settings) -> Result<Vec<Listener>, RunError> {
    let listeners = if passed.is_empty() {
        http::bind(places, settings.server.unix_socket_mode).await
    } else {
        passed
            .listen()
            .inspect(|passed| tell_of_passed(passed, &settings.server))
    };
    listeners.map_err(|unbound| RunError::Start(unbound.into_iter().map(Problem::from).collect()))
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
