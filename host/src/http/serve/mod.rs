//! The accept loops: HTTP/1.1 with bounds on connections and on how long a client may take, and an orderly end.
//!
//! [`connections`] holds all connections and says which one makes room; [`connection`] is the state of one, and [`run`] its
//! life; [`watched`] and [`exchange`] tell the state what hyper does.

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

/// How often it is looked which connections have been too long in what they do.
const LATE_INTERVAL: Duration = Duration::from_millis(250);
/// How often it is logged that connections make room for others.
const REPORT_INTERVAL: Duration = Duration::from_secs(60);

/// Serves until `stop` is cancelled; then finishes what is under way, for at most `shutdown_timeout`.
/// Returns whether all of it was finished.
pub async fn serve(
    listeners: Vec<Listener>,
    app: Arc<App>,
    shutdown_timeout: Duration,
    stop: CancellationToken,
) -> bool {
    let mut builder = http1::Builder::new();
    builder
        // The connections have their own times, for a kept connection as for a head.
        .header_read_timeout(None)
        // A client that ends its side after its request waits for the answer.
        .half_close(true)
        // A date that is kept between two answers shows a clock that was put right late.
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
    while accepting.join_next().await.is_some() {}
    connections.stop();
    let finished = tokio::time::timeout(shutdown_timeout, connections.all_ended())
        .await
        .is_ok();
    watch.abort();
    finished
}

/// Takes in the connections of one listener.
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
                    // Out of descriptors or memory, mostly.
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

/// Whether a connection ended before it was accepted.
fn is_of_client(error: &io::Error) -> bool {
    use io::ErrorKind as E;
    matches!(
        error.kind(),
        E::ConnectionAborted | E::ConnectionReset | E::ConnectionRefused | E::Interrupted
    )
}

/// Closes connections that are late, and tells when some had to make room for others: at once, and then now and again.
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
