//! One connection from its first byte to its orderly end.
//!
//! Invariant: a client that is still sending when it is answered can read the answer. To close a socket with bytes unread
//! resets the connection, which takes the answer from the client; so what comes is read and dropped for a while
//! (RFC 9112, section 9.6).

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

/// The most that is read and dropped.
const MAX_DROPPED_BYTES: usize = 16 * 1024 * 1024;

/// How long nothing may come before it is taken for the end.
const PAUSE: Duration = Duration::from_secs(1);

/// What every connection needs.
pub(super) struct Serving {
    pub(super) builder: http1::Builder,
    pub(super) router: Router,
    pub(super) app: Arc<App>,
}

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
        (None, _) => {
            if connection.ended() == Ended::HeadTooSlow && head::has_begun(unread) {
                answer_at_once(stream, client, head::TOO_SLOW, app);
            }
            return;
        }
        (Some(Ok(())), _) => return linger(connection, stream).await,
        (Some(Err(_)), Some(status)) => HeadFault::of(status, unread, unanswered_bytes),
        (Some(Err(error)), None) if awaits_head && error.is_parse() => head::OTHER_VERSION,
        (Some(Err(error)), None)
            if awaits_head && error.is_incomplete_message() && head::has_begun(unread) =>
        {
            head::BROKEN_OFF
        }
        // How else a connection ends is the client's business.
        (Some(Err(_)), None) => return,
    };
    refuse(connection, stream, &access::refuse(app, client, fault)).await;
}

/// All requests and their answers, until the connection is to end. Returns how hyper ended, unless the connection was closed
/// before, and what is left of it.
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
            // Only the end of hyper's connection shows what is in its buffer. All is answered, so that one that begins anew
            // goes on where it was.
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

/// Answers what is no request.
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

/// Answers as far as that can be done without waiting, and closes.
pub(super) fn answer_at_once(mut stream: Stream, client: ClientAddress, fault: HeadFault, app: &App) {
    let answer = access::refuse(app, client, fault);
    let _ = stream.write(&answer).now_or_never();
    let _ = stream.shutdown().now_or_never();
}

/// Says that nothing more will be sent, and drops what still comes, until the client ends its side too.
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

async fn until_closing(connection: &Connection) {
    while connection.phase() != Phase::Closing {
        connection.changed().await;
    }
}
