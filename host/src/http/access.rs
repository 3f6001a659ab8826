//! One log line a request, with its route and never its content; and a last net below the routes.

use std::panic::AssertUnwindSafe;

use axum::{
    extract::{MatchedPath, Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use futures_util::FutureExt;

use super::error::ApiError;
use crate::{clock::Clock, model::VerificationId};

/// The machine code of an error, for the line.
#[derive(Clone, Copy)]
pub(super) struct ErrorCode(pub(super) &'static str);

/// What a registration began, for the line: the dispatcher and a backend's own log name it too.
#[derive(Clone, Copy)]
pub(super) struct Began(pub(super) VerificationId);

pub(super) async fn log(State(clock): State<Clock>, request: Request, next: Next) -> Response {
    let begin = clock.elapsed();
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    // A defect costs its request, not the connection.
    let response = AssertUnwindSafe(next.run(request))
        .catch_unwind()
        .await
        .unwrap_or_else(|_| ApiError::Defect.into_response());
    tracing::info!(
        %method,
        route = route.as_ref().map_or("none", MatchedPath::as_str),
        status = response.status().as_u16(),
        code = response.extensions().get().map(|ErrorCode(code)| *code),
        verification = response.extensions().get().map(|Began(id)| tracing::field::display(*id)),
        duration_us = u64::try_from(clock.elapsed().saturating_sub(begin).as_micros()).unwrap_or(u64::MAX),
        "request"
    );
    response
}
