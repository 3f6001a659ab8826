//! One request on a connection and its answer. What HTTP/1.1 demands of every request is checked here, before a route
//! sees it.

use std::{
    convert::Infallible,
    future::{Future, pending},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use axum::{
    Router,
    body::{Body, Bytes},
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use hyper::{
    Request,
    body::{Frame, Incoming, SizeHint},
    service::Service,
};
use hyper_util::service::TowerToHyperService;

use super::{
    connection::{Connection, Phase},
    head,
};
use crate::{http::date, model::Peer};

/// The service that hyper calls for every request of one connection.
pub(super) struct Exchange {
    routes: TowerToHyperService<Router>,
    connection: Arc<Connection>,
    peer: Peer,
}

impl Exchange {
    pub(super) fn new(router: Router, connection: Arc<Connection>, peer: Peer) -> Self {
        Self {
            routes: TowerToHyperService::new(router),
            connection,
            peer,
        }
    }
}

impl Service<Request<Incoming>> for Exchange {
    type Response = Response<Answering>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        if !self.connection.enter(Phase::Busy) {
            // The connection is being closed, for example to make room. The request must not begin, or it would be cut
            // off.
            return Box::pin(pending());
        }
        let connection = Arc::clone(&self.connection);
        // Until the body is read completely, its rest stands before the next request on the connection.
        connection.set_unread_body(!hyper::body::Body::is_end_stream(request.body()));
        if let Err(fault) = head::check(&request) {
            // The routes answer the fault, so that the answer has the request id, the log line and the headers of every
            // other answer.
            request.extensions_mut().insert(fault);
        }
        request.extensions_mut().insert(self.peer);
        let answer = self.routes.call(request.map(|body| Arriving {
            body,
            connection: Arc::clone(&connection),
        }));
        Box::pin(async move {
            let mut response = answer.await.into_response();
            // Hyper's own date header is switched off: it could be out of date.
            if let Some(date) = date::value(&connection.clock) {
                response.headers_mut().insert(header::DATE, date);
            }
            // The client must not send another request here: it would not be answered.
            if connection.has_unread_body() || connection.is_last_request() {
                response
                    .headers_mut()
                    .insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Ok(response.map(|body| Answering { body, connection }))
        })
    }
}

/// The body of a request, which notes when it was read completely. A connection with unread body bytes cannot be used
/// for another request.
struct Arriving {
    body: Incoming,
    connection: Arc<Connection>,
}

impl hyper::body::Body for Arriving {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        let is_end = match &frame {
            None => true,
            Some(frame) => frame.is_ok() && self.body.is_end_stream(),
        };
        if is_end {
            self.connection.set_unread_body(false);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of an answer. Hyper drops it when it has taken all of it.
pub(super) struct Answering {
    body: Body,
    connection: Arc<Connection>,
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.connection.set_answered();
    }
}

impl hyper::body::Body for Answering {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
