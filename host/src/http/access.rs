//! One log line a request, with its route and never its content; and a last net below the routes.

use std::{panic::AssertUnwindSafe, sync::Arc};

use axum::{
    extract::{MatchedPath, Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use futures_util::FutureExt;

use super::{App, error::ApiError};
use crate::model::VerificationId;

/// The machine code of an error, for the line.
#[derive(Clone, Copy)]
pub(super) struct ErrorCode(pub(super) &'static str);

/// What a registration began, for the line: the dispatcher and a backend's own log name it too.
#[derive(Clone, Copy)]
pub(super) struct Began(pub(super) VerificationId);

pub(super) async fn log(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let begin = app.clock.elapsed();
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    // A defect costs its request, not the connection.
    let response = AssertUnwindSafe(next.run(request))
        .catch_unwind()
        .await
        .unwrap_or_else(|_| ApiError::Defect.into_response());
    let route = route.as_ref().map_or("none", MatchedPath::as_str);
    let status = response.status().as_u16();
    let code = response.extensions().get().map(|ErrorCode(code)| *code);
    let took = app.clock.elapsed().saturating_sub(begin);
    let metrics = &app.metrics.http;
    metrics.answered(method.as_str(), route, status, code.unwrap_or_default(), took);
    tracing::info!(
        %method,
        route,
        status,
        code,
        verification = response.extensions().get().map(|Began(id)| tracing::field::display(*id)),
        duration_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
        "request"
    );
    response
}
