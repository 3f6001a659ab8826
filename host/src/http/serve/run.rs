//! The course of one connection, from its first byte to its orderly end.
//!
//! Invariant: a client that is still sending when it is answered can read the answer. If the server closed a socket
//! with unread bytes, the system would reset the connection, and the client could lose the answer. Therefore the server
//! goes on reading for a while and drops what arrives (RFC 9112, section 9.6).

use std::{io, pin::Pin, sync::Arc, time::Duration};

use axum::Router;
use futures_util::FutureExt;
use hyper::server::conn::http1::{self, Parts};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{
    connection::{Connection, Phase},
    connections::Admitted,
    ended::Ended,
    exchange::Exchange,
    head::{self, HeadFault},
    watched::Watched,
};
use crate::{
    http::{App, access, listener::Stream},
    model::{ClientAddress, Peer},
};

/// The most bytes that are read and dropped.
const MAX_DROPPED_BYTES: usize = 16 * 1024 * 1024;

/// If nothing arrives for this long, the client counts as finished.
const PAUSE: Duration = Duration::from_secs(1);

/// What all connections share.
pub(super) struct Serving {
    pub(super) builder: http1::Builder,
    pub(super) router: Router,
    pub(super) app: Arc<App>,
}

/// Serves one connection until it ends. If it ended because of an unreadable head, answers that.
pub(super) async fn run(serving: &Serving, stream: Stream, peer: Peer, admitted: Admitted) {
    let connection = &admitted.connection;
    let (app, client) = (&*serving.app, connection.client);
    let exchange = Exchange::new(serving.router.clone(), Arc::clone(connection), peer);
    let watched = TokioIo::new(Watched::new(stream, Arc::clone(connection)));
    let (served, parts) = exchange_all(&serving.builder, watched, exchange, connection).await;
    let unread = &parts.read_buf;
    let Watched {
        stream,
        own_answer,
        unanswered_bytes,
        ..
    } = parts.io.into_inner();
    let awaits_head = connection.phase().awaits_head();
    let fault = match (served, own_answer) {
        // The connection was closed because it waited too long, had to make room, or the server stops.
        (None, _) => {
            if connection.ended() == Ended::HeadTooSlow && head::has_begun(unread) {
                answer_at_once(stream, client, head::TOO_SLOW, app);
            }
            return;
        }
        // Hyper served its last request, and the client may still be sending.
        (Some(Ok(())), _) => return linger(connection, stream).await,
        // Hyper could not read a head, and would have answered without a body.
        (Some(Err(_)), Some(status)) => HeadFault::of(status, unread, unanswered_bytes),
        // The only parse error that hyper does not answer itself: the preface of HTTP/2.
        (Some(Err(error)), None) if awaits_head && error.is_parse() => head::OTHER_VERSION,
        (Some(Err(error)), None)
            if awaits_head && error.is_incomplete_message() && head::has_begun(unread) =>
        {
            head::BROKEN_OFF
        }
        // The client broke the connection in another way. There is nothing to answer.
        (Some(Err(_)), None) => return,
    };
    refuse(connection, stream, &access::refuse(app, client, fault)).await;
}

/// Serves requests until the connection is to end. Returns how hyper ended, or `None` if the connection was closed
/// first, and what is left of hyper's state.
async fn exchange_all(
    builder: &http1::Builder,
    watched: TokioIo<Watched<Stream>>,
    exchange: Exchange,
    connection: &Connection,
) -> (
    Option<hyper::Result<()>>,
    Parts<TokioIo<Watched<Stream>>, Exchange>,
) {
    let mut http = builder.serve_connection(watched, exchange);
    loop {
        tokio::select! {
            biased;
            served = &mut http => return (Some(served), http.into_parts()),
            () = connection.changed() => {}
        }
        if connection.phase() == Phase::Closing {
            return (None, http.into_parts());
        }
        if connection.is_last_request() {
            if connection.close_if_idle(Ended::Stopped) {
                return (None, http.into_parts());
            }
            Pin::new(&mut http).graceful_shutdown();
        } else if connection.is_in_doubt() {
            // Hyper shows its buffer only when its connection is taken apart. Everything is answered at this point, so
            // a new one can continue on the same stream.
            let parts = http.into_parts();
            let has_part_of_head = head::has_begun(&parts.read_buf);
            connection.end_doubt(has_part_of_head);
            if has_part_of_head {
                return (None, parts);
            }
            http = builder.serve_connection(parts.io, parts.service);
        }
    }
}

/// Answers bytes that could not be read as a request, then ends the connection.
async fn refuse(connection: &Connection, mut stream: Stream, answer: &[u8]) {
    connection.enter(Phase::Sending);
    let written = tokio::select! {
        written = stream.write_all(answer) => written.is_ok(),
        () = until_closing(connection) => false,
    };
    if written {
        linger(connection, stream).await;
    }
}

/// Writes as much of an answer as the socket takes without waiting, and closes. Used where a connection must not hold
/// resources.
pub(super) fn answer_at_once(mut stream: Stream, client: ClientAddress, fault: HeadFault, app: &App) {
    let answer = access::refuse(app, client, fault);
    let _ = stream.write(&answer).now_or_never();
    let _ = stream.shutdown().now_or_never();
}

/// Closes the sending side, then reads and drops what still arrives until the client closes its side too.
async fn linger(connection: &Connection, mut stream: Stream) {
    if !connection.enter(Phase::Lingering) {
        return;
    }
    let dropped = async {
        stream.shutdown().await?;
        let mut buffer = [0; 8 * 1024];
        let mut dropped = 0;
        while dropped < MAX_DROPPED_BYTES {
            match tokio::time::timeout(PAUSE, stream.read(&mut buffer)).await?? {
                0 => break,
                length => dropped += length,
            }
        }
        io::Result::Ok(())
    };
    tokio::select! {
        _ = dropped => {}
        () = until_closing(connection) => {}
    }
}

/// Waits until the connection is closed from elsewhere, such as for being too slow.
async fn until_closing(connection: &Connection) {
    while connection.phase() != Phase::Closing {
        connection.changed().await;
    }
}
