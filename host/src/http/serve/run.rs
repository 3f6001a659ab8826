//! One connection from its first byte to its orderly end.
//!
//! Invariant: a client that is still sending when it is answered can read the answer. To close a socket with bytes unread
//! resets the connection, which takes the answer from the client; so what comes is read and dropped for a while
//! (RFC 9112, section 9.6).

use std::{io, sync::Arc, time::Duration};

use axum::Router;
use futures_util::FutureExt;
use hyper::server::conn::http1;
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
use crate::{clock::Clock, http::listener::Stream, model::Peer};

/// The most that is read and dropped.
const MAX_DROPPED_BYTES: usize = 16 * 1024 * 1024;

/// How long nothing may come before it is taken for the end.
const PAUSE: Duration = Duration::from_secs(1);

/// What every connection needs.
pub(super) struct Serving {
    pub(super) builder: http1::Builder,
    pub(super) router: Router,
    pub(super) clock: Clock,
}

pub(super) async fn run(serving: &Serving, stream: Stream, peer: Peer, admitted: Admitted) {
    let connection = &admitted.connection;
    let exchange = Exchange::new(serving.router.clone(), Arc::clone(connection), peer);
    let watched = TokioIo::new(Watched::new(stream, Arc::clone(connection)));
    let mut http = serving.builder.serve_connection(watched, exchange);
    let served = loop {
        tokio::select! {
            biased;
            served = &mut http => break Some(served),
            () = connection.changed() => {
                if connection.phase() == Phase::Closing || connection.close_if_idle(Ended::Stopped) {
                    break None;
                }
                std::pin::Pin::new(&mut http).graceful_shutdown();
            }
        }
    };
    let Watched {
        stream,
        own_answer,
        has_part_of_head,
        ..
    } = http.into_parts().io.into_inner();
    let awaits_head = connection.phase().awaits_head();
    match (served, own_answer) {
        (None, _) => {
            if connection.ended() == Ended::HeadTooSlow && has_part_of_head {
                answer_at_once(stream, head::TOO_SLOW, &serving.clock);
            }
        }
        (Some(Ok(())), _) => linger(connection, stream).await,
        (Some(Err(_)), Some(status)) => {
            refuse(connection, stream, HeadFault::of_status(status), &serving.clock).await;
        }
        (Some(Err(error)), None) if awaits_head && error.is_parse() => {
            refuse(connection, stream, head::HTTP_2, &serving.clock).await;
        }
        (Some(Err(error)), None) if awaits_head && error.is_incomplete_message() && has_part_of_head => {
            refuse(connection, stream, head::BROKEN_OFF, &serving.clock).await;
        }
        // How else a connection ends is the client's business.
        (Some(Err(_)), None) => {}
    }
}

/// Answers what is no request.
async fn refuse(connection: &Connection, mut stream: Stream, fault: HeadFault, clock: &Clock) {
    connection.enter(Phase::Sending);
    let answer = fault.bytes(clock);
    let written = tokio::select! {
        written = stream.write_all(&answer) => written.is_ok(),
        () = until_closing(connection) => false,
    };
    if written {
        linger(connection, stream).await;
    }
}

/// Answers as far as that can be done without waiting, and closes.
pub(super) fn answer_at_once(mut stream: Stream, fault: HeadFault, clock: &Clock) {
    let answer = fault.bytes(clock);
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
