//! The byte stream of a connection, between the socket and hyper. It notes what the bytes say about the connection's
//! phase: a head begins to arrive, an answer is sent, or the client does not read the answer.
//!
//! Hyper answers an unreadable head by itself, without a body. This stream intercepts that answer, so that one with a
//! machine code can be sent in its place.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use axum::http::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::connection::{Connection, Phase};

/// A stream that hyper reads and writes.
pub(super) struct Watched<S> {
    pub(super) stream: S,
    connection: Arc<Connection>,
    /// Whether the last write had to wait for the client.
    is_blocked: bool,
    /// How many bytes have arrived since the last answer.
    pub(super) unanswered_bytes: usize,
    /// The status that hyper would have answered to an unreadable head.
    pub(super) own_answer: Option<StatusCode>,
}

impl<S> Watched<S> {
    pub(super) fn new(stream: S, connection: Arc<Connection>) -> Self {
        Self {
            stream,
            connection,
            is_blocked: false,
            unanswered_bytes: 0,
            own_answer: None,
        }
    }

    /// Intercepts an answer that belongs to no request. Hyper writes one when it cannot read a head; its status is
    /// kept.
    fn takes_out(&mut self, answer: &[u8]) -> bool {
        if !self.connection.phase().awaits_head() {
            return false;
        }
        let status = answer
            .strip_prefix(b"HTTP/1.1 ")
            .or(answer.strip_prefix(b"HTTP/1.0 "));
        if let Some(status) = status.and_then(|rest| StatusCode::from_bytes(rest.get(..3)?).ok()) {
            self.own_answer = Some(status);
        }
        true
    }

    /// Notes when a write has to wait for the client. From then on, the time limit for reading an answer runs.
    fn note(&mut self, wrote: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if wrote.is_pending() && !self.is_blocked {
            self.is_blocked = true;
            self.connection.enter(Phase::Sending);
        }
        wrote
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        let came = buf.filled().len() - before;
        if came > 0 && matches!(self.connection.phase(), Phase::KeepAlive | Phase::Idle) {
            self.connection.enter(Phase::Head);
        }
        self.unanswered_bytes = self.unanswered_bytes.saturating_add(came);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.takes_out(buf) {
            return Poll::Ready(Ok(buf.len()));
        }
        let wrote = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.note(wrote)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.takes_out(bufs.first().map_or(&[], |first| first)) {
            return Poll::Ready(Ok(bufs.iter().map(|buf| buf.len()).sum()));
        }
        let wrote = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.note(wrote)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        self.is_blocked = false;
        if self.connection.sent_all() {
            self.unanswered_bytes = 0;
        }
        Poll::Ready(Ok(()))
    }

    /// Does nothing. The connection is closed elsewhere, after unread bytes were taken: the client may still be
    /// sending.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
