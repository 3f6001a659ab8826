//! The accept loop: HTTP/1.1 with bounds on connections and on how long a client may take, and an orderly end.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use axum::Router;
use hyper::{
    Request,
    body::Incoming,
    server::conn::http1,
    service::{Service, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::sleep,
};
use tokio_util::sync::CancellationToken;

/// The other end of a request's connection, among its extensions.
#[derive(Clone, Copy)]
pub(super) struct Peer(pub(super) IpAddr);

/// Connections at once, where the system allows as many; more wait in the listener's queue.
const MAX_CONNECTIONS: usize = 8192;

/// Serves until `stop` is cancelled; then finishes what is under way, for at most `shutdown_timeout`.
/// Returns whether all of it was finished.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    read_timeout: Duration,
    shutdown_timeout: Duration,
    stop: CancellationToken,
) -> bool {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(read_timeout)
        .max_buf_size(64 * 1024);
    let graceful = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(max_connections()));
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &places, read_timeout) => accepted,
            () = stop.cancelled() => break,
        };
        let Some((stream, address, place)) = accepted else {
            continue;
        };
        let to_routes = TowerToHyperService::new(router.clone());
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(Peer(address.ip()));
            to_routes.call(request)
        });
        let connection = graceful.watch(builder.serve_connection(TokioIo::new(stream), service));
        tokio::spawn(async move {
            // How a connection ends is the client's business.
            let _ = connection.await;
            drop(place);
        });
    }
    drop(listener);
    tokio::time::timeout(shutdown_timeout, graceful.shutdown())
        .await
        .is_ok()
}

/// Half of what the system lets this process open is for what else it must open to answer: database and providers.
fn max_connections() -> usize {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        // The lower of the two limits is for programs that can count no further.
        let limit = getrlimit(Resource::Nofile);
        let raised = Rlimit {
            current: limit.maximum,
            ..limit
        };
        let current = if setrlimit(Resource::Nofile, raised).is_ok() {
            limit.maximum
        } else {
            limit.current
        };
        let half = current.and_then(|descriptors| usize::try_from(descriptors / 2).ok());
        half.map_or(MAX_CONNECTIONS, |half| half.min(MAX_CONNECTIONS))
    }
    #[cfg(not(unix))]
    MAX_CONNECTIONS
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
    patience: Duration,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, address)) => {
            let _ = stream.set_nodelay(true);
            give_up_after(&stream, patience);
            Some((stream, address, place))
        }
        Err(error) => {
            // Out of file descriptors, mostly: connections that end make room.
            tracing::warn!(%error, "a connection could not be accepted");
            sleep(Duration::from_millis(50)).await;
            None
        }
    }
}

/// Ends a connection whose client takes nothing of an answer for so long: its place is another's. The system does it,
/// for nothing above it knows when a client takes something.
fn give_up_after(stream: &TcpStream, patience: Duration) {
    #[cfg(target_os = "linux")]
    {
        let millis = u32::try_from(patience.as_millis()).unwrap_or(u32::MAX);
        let _ = rustix::net::sockopt::set_tcp_user_timeout(stream, millis);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (stream, patience);
}
