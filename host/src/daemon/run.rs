//! Runs the daemon: bind, serve, and end in order when asked to.

use std::{net::SocketAddr, sync::Arc};

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::Service;
use crate::{
    http::{self, App},
    settings::Settings,
};

/// Why the daemon did not start.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The address cannot be had.
    #[error("cannot listen on {address}: {cause}; name another address in [server] listen")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// The operating system's words.
        cause: std::io::Error,
    },
    /// Everything that is wrong with backend and database.
    #[error("{}", .0.join("\n"))]
    Start(Vec<String>),
}

/// Serves until a signal says to stop. `ready` hears the address once requests are answered.
pub async fn run(settings: &Settings, ready: impl FnOnce(SocketAddr)) -> Result<(), RunError> {
    let address = settings.server.listen;
    let bind = |cause| RunError::Bind { address, cause };
    let stop = stop_on_signal();
    let listener = TcpListener::bind(address).await.map_err(bind)?;
    let service = Service::start(settings).map_err(RunError::Start)?;
    let app = Arc::new(App {
        verifier: service.verifier.clone(),
        store: Arc::clone(&service.store),
        backend: service.backend.name().to_owned(),
        sandbox: service.backend.is_sandbox(),
        breaker: Arc::clone(&service.breaker),
        default_region: settings.phone_verification.default_region,
        read_timeout: settings.server.read_timeout,
        keys: settings.api.keys.clone(),
        clock: service.clock.clone(),
    });
    if app.keys.is_empty() && !address.ip().is_loopback() {
        tracing::warn!(
            "the native API is open to everybody who reaches {address}: name keys in [api.keys], or let a proxy keep /v1"
        );
    }
    let bound = listener.local_addr().map_err(bind)?;
    tracing::info!(address = %bound, backend = service.backend.name(), "listening");
    ready(bound);
    let server = settings.server;
    let finished = http::serve(
        listener,
        http::router(app),
        server.read_timeout,
        server.shutdown_timeout,
        stop,
    )
    .await;
    let settled = service.stop().await;
    if finished && settled {
        tracing::info!("stopped: everything under way was finished");
    } else {
        tracing::warn!("stopped: what was not finished in time stays in the outbox");
    }
    Ok(())
}

/// Cancelled by SIGTERM or SIGINT. SIGHUP does not end the daemon.
fn stop_on_signal() -> CancellationToken {
    let stop = CancellationToken::new();
    let cancel = stop.clone();
    #[cfg(unix)]
    {
        use tokio::signal::unix::{Signal, SignalKind, signal};
        // Taken over before anything else runs, so that none is missed.
        let signals: std::io::Result<Vec<Signal>> = [
            SignalKind::terminate(),
            SignalKind::interrupt(),
            SignalKind::hangup(),
        ]
        .into_iter()
        .map(signal)
        .collect();
        tokio::spawn(async move {
            let mut signals = match signals {
                Ok(signals) => signals,
                Err(error) => return tracing::error!(%error, "signals cannot be waited for"),
            };
            let [terminate, interrupt, hangup] = &mut signals[..] else {
                return;
            };
            loop {
                tokio::select! {
                    _ = terminate.recv() => break,
                    _ = interrupt.recv() => break,
                    _ = hangup.recv() => tracing::info!("SIGHUP: settings are read at start; restart to change them"),
                }
            }
            tracing::info!("stopping");
            cancel.cancel();
        });
    }
    #[cfg(not(unix))]
    tokio::spawn(async move {
        let _ = tokio::signal::ctrl_c().await;
        cancel.cancel();
    });
    stop
}
