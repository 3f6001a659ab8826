//! Accepts connections and serves HTTP/1.1 on them, with bounds on their number and on how slow a client may be, and
//! with an orderly shutdown.
//!
//! [`connections`] holds all connections and chooses which one makes room. [`connection`] is the state of one, and
//! [`run`] its course. [`watched`] and [`exchange`] report to that state what hyper does. Hyper alone has no bound on
//! connections, and answers bad requests without a machine code.

mod connection;
mod connections;
mod ended;
mod exchange;
mod head;
mod living;
mod run;
mod unaccepted;
mod watched;

use std::{io, sync::Arc, time::Duration};

use hyper::server::conn::http1;
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval, sleep},
};
use tokio_util::sync::CancellationToken;

pub use connections::{Bounds, Connections};
pub use ended::ConnectionCounts;
pub(super) use head::HeadFault;
use run::Serving;
use unaccepted::Unaccepted;

use super::{
    App,
    listener::{Listener, Stream},
    router,
};
use crate::{clock::Clock, model::Peer};

/// How often connections are checked for being too slow.
const LATE_INTERVAL: Duration = Duration::from_millis(250);
/// The shortest time between two log lines about connections that made room.
const REPORT_INTERVAL: Duration = Duration::from_secs(60);

/// Serves until `stop` is cancelled, then waits at most `shutdown_timeout` for requests that are under way. Returns
/// whether all of them were finished.
pub async fn serve(
    listeners: Vec<Listener>,
    app: Arc<App>,
    shutdown_timeout: Duration,
    stop: CancellationToken,
) -> bool {
    let mut builder = http1::Builder::new();
    builder
        // `connection` has its own time limits, also for the time between two requests.
        .header_read_timeout(None)
        // A client may close its sending side after its request, and still waits for the answer.
        .half_close(true)
        // Hyper keeps the date for a while, and would show a wrong one after the clock was corrected.
        .auto_date_header(false)
        .max_headers(head::MAX_FIELDS)
        .max_header_size(head::MAX_HEAD_BYTES)
        .max_buf_size(head::MAX_HEAD_BYTES);
    let (connections, clock) = (Arc::clone(&app.connections), app.clock.clone());
    let serving = Arc::new(Serving {
        builder,
        router: router(Arc::clone(&app)),
        app,
    });
    let watch = tokio::spawn(watch(Arc::clone(&connections), clock));
    let mut accepting = JoinSet::new();
    for listener in listeners {
        let acceptor = Acceptor {
            serving: Arc::clone(&serving),
            connections: Arc::clone(&connections),
            stop: stop.clone(),
        };
        accepting.spawn(acceptor.run(listener));
    }
    // The acceptors end when `stop` is cancelled, so no connection is added from here on.
    while accepting.join_next().await.is_some() {}
    connections.stop();
    let finished = tokio::time::timeout(shutdown_timeout, connections.all_ended())
        .await
        .is_ok();
    watch.abort();
    finished
}

/// Accepts the connections of one listener.
struct Acceptor {
    serving: Arc<Serving>,
    connections: Arc<Connections>,
    stop: CancellationToken,
}

impl Acceptor {
    async fn run(self, listener: Listener) {
        let mut unaccepted = Unaccepted::default();
        loop {
            let accepted = tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => self.admit(stream, peer).await,
                Err(error) if is_of_client(&error) => {}
                Err(error) => {
                    // Mostly because the process has no descriptors or the system no memory left. Closing idle
                    // connections helps.
                    if let Some(failed) = unaccepted.add(self.serving.app.clock.coarse()) {
                        tracing::warn!(
                            %error,
                            address = %listener,
                            failed,
                            "a connection could not be accepted, and idle ones make room"
                        );
                    }
                    self.connections.make_room();
                    sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    /// Waits for room, and starts the connection's task. If its address has too many connections, it is refused with an
    /// answer.
    async fn admit(&self, stream: Stream, peer: Peer) {
        let place = tokio::select! {
            biased;
            () = self.stop.cancelled() => return,
            place = self.connections.place() => place,
        };
        let Some(admitted) = self.connections.admit(peer, place) else {
            return run::answer_at_once(stream, peer.into(), head::TOO_MANY, &self.serving.app);
        };
        let serving = Arc::clone(&self.serving);
        tokio::spawn(async move { run::run(&serving, stream, peer, admitted).await });
    }
}

/// Whether the client ended a connection before it was accepted, which is no fault of the server.
fn is_of_client(error: &io::Error) -> bool {
    use io::ErrorKind as E;
    matches!(
        error.kind(),
        E::ConnectionAborted | E::ConnectionReset | E::ConnectionRefused | E::Interrupted
    )
}

/// Closes connections that are too slow. Logs when connections had to make room for others: the first time at once,
/// then at most once per interval.
async fn watch(connections: Arc<Connections>, clock: Clock) {
    let mut ticks = interval(LATE_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut told: Option<(Duration, ended::Pressure)> = None;
    loop {
        ticks.tick().await;
        connections.close_late();
        let pressure = connections.pressure();
        let now = clock.coarse();
        let (when, before) = told.unwrap_or_default();
        let is_time = told.is_none() || now.saturating_sub(when) >= REPORT_INTERVAL;
        if pressure != before && is_time {
            tracing::warn!(
                open = connections.counts().open,
                closed_of_all = pressure.of_all - before.of_all,
                closed_of_address = pressure.of_address - before.of_address,
                refused = pressure.refused - before.refused,
                "there are as many connections as [server] max_connections or max_connections_per_address lets: idle ones \
                 made room for new ones, and an address whose connections are all busy was refused more; if an address is a \
                 proxy, name it in [server] trusted_proxies"
            );
            told = Some((now, pressure));
        }
    }
}
