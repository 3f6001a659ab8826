//! The access log: one line per request, with its route and never its content; the ids by which a request can be
//! traced; and the last place that catches a panic of a route.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode},
    middleware::Next,
    response::{IntoResponse, Response},
};
use futures_util::FutureExt;

use super::{App, error::ApiError, keys::KeyName, routes, serve::HeadFault};
use crate::{
    metrics::known_method,
    model::{ClientAddress, VerificationId},
    trace::{REQUEST_ID, TRACEPARENT, Trace},
};

/// The machine code of an error: an extension of the answer, for the log line.
#[derive(Clone, Copy)]
pub(super) struct ErrorCode(pub(super) &'static str);

/// The verification that a registration began: an extension of the answer. The log line names it, as the dispatcher and
/// the backend do in theirs.
#[derive(Clone, Copy)]
pub(super) struct Began(pub(super) VerificationId);

/// Middleware around all routes: gives the request its ids, and logs and counts its answer.
pub(super) async fn log(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    let trace = Trace::of_request(
        only(headers, REQUEST_ID),
        only(headers, TRACEPARENT),
        &app.entropy,
    );
    let mut response = Trace::scope(Some(trace.clone()), answer(&app, request, next)).await;
    for (name, value) in [
        (REQUEST_ID, trace.request_id()),
        (TRACEPARENT, trace.traceparent()),
    ] {
        if let Ok(value) = HeaderValue::from_str(value) {
            response
                .headers_mut()
                .insert(HeaderName::from_static(name), value);
        }
    }
    response
}

/// Answers the request, unless its head is faulty or its route panics, and logs and counts the answer.
async fn answer(app: &App, request: Request, next: Next) -> Response {
    let begin = app.clock.elapsed();
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let client = client(app, &request);
    let fault = request.extensions().get::<HeadFault>().copied();
    let response = match fault {
        Some(fault) => fault.answer(request.uri().path()),
        // A panic in a route fails this request only, and the connection stays open.
        None => AssertUnwindSafe(next.run(request))
            .catch_unwind()
            .await
            .unwrap_or_else(|_| ApiError::Defect.into_response()),
    };
    let key = response.extensions().get::<KeyName>();
    tell(
        app,
        &Answered {
            method: known_method(method.as_str()),
            route: route.as_ref().map_or("none", MatchedPath::as_str),
            status: response.status(),
            code: response.extensions().get().map(|ErrorCode(code)| *code),
            api_key: key.map(|KeyName(name)| &**name),
            client,
            verification: response.extensions().get().map(|Began(id)| *id),
            took: app.clock.elapsed().saturating_sub(begin),
        },
    );
    response
}

/// The complete answer to bytes that could not be read as a request. It gets ids, a log line and counts like every
/// other answer.
pub(super) fn refuse(app: &App, client: ClientAddress, fault: HeadFault) -> Vec<u8> {
    let trace = Trace::of_request(None, None, &app.entropy);
    let answered = Answered {
        method: known_method(""),
        route: "none",
        status: fault.status,
        code: Some(fault.code.into()),
        api_key: None,
        client: client.shown(app.client_addresses),
        verification: None,
        took: Duration::ZERO,
    };
    // Within the trace, so that the log line has the same ids as the answer.
    Trace::within(trace.clone(), || tell(app, &answered));
    fault.bytes(&trace, &app.clock)
}

/// A request and its answer, for the log and the metrics.
struct Answered<'a> {
    method: &'static str,
    route: &'a str,
    status: StatusCode,
    code: Option<&'static str>,
    api_key: Option<&'a str>,
    client: Option<String>,
    verification: Option<VerificationId>,
    took: Duration,
}

/// Writes the log line, and counts the answer in the metrics. Both use the same values.
fn tell(app: &App, answered: &Answered<'_>) {
    let Answered {
        method,
        route,
        code,
        took,
        ..
    } = *answered;
    let status = answered.status.as_u16();
    let metrics = &app.metrics.http;
    metrics.answered(method, route, status, code.unwrap_or_default(), took);
    tracing::info!(
        method,
        route,
        status,
        code,
        api_key = answered.api_key,
        client = answered.client,
        verification = answered.verification.map(tracing::field::display),
        duration_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
        "request"
    );
}

/// The client's address in the form that the settings want in the log.
fn client(app: &App, request: &Request) -> Option<String> {
    routes::address(request, &app.trusted_proxies)?.shown(app.client_addresses)
}

/// The value of a header that is there exactly once.
fn only<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok();
    value.filter(|_| values.next().is_none())
}
