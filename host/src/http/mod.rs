//! HTTP: a thin shell over the verifier. All routes are on this page; a route is a file in `routes`, errors
//! become answers in `error` alone.

mod access;
mod body;
mod error;
mod json;
mod keys;
mod live;
mod media_type;
mod openapi;
mod problem;
mod python_json;
mod routes;
mod serve;

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    middleware::from_fn_with_state,
    routing::{any, get, post},
};

use ipnet::IpNet;
pub use live::{Generation, Live, Loaded};
use routes::v1;
pub use serve::serve;

use crate::{
    clock::{Clock, UnixMillis},
    dispatch::{Breaker, Sender},
    metrics::Metrics,
    store::Store,
};

/// What the routes need.
pub struct App {
    /// What a reload exchanges.
    pub live: Live,
    /// For the readiness probe.
    pub store: Arc<dyn Store>,
    /// For the readiness probe.
    pub breaker: Arc<Breaker>,
    /// For the readiness probe.
    pub sender: Arc<dyn Sender>,
    /// Whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// How long a body may take to arrive.
    pub read_timeout: Duration,
    /// For the access log.
    pub clock: Clock,
    /// What all parts count.
    pub metrics: Metrics,
    /// When the process began.
    pub started_at: UnixMillis,
}

/// All routes. Each one answers every method, so that a wrong one gets the answer that it should.
pub fn router(app: Arc<App>) -> Router {
    let log = from_fn_with_state(Arc::clone(&app), access::log);
    let register = any(routes::phone_register::answer);
    let verify = any(routes::phone_verify::answer);
    Router::new()
        // The ancestor's endpoints, also with a trailing slash.
        .route("/api/phone/register", register.clone())
        .route("/api/phone/register/", register)
        .route("/api/phone/verify", verify.clone())
        .route("/api/phone/verify/", verify)
        .route("/healthz", any(routes::healthz::answer))
        .route("/readyz", any(routes::readyz::answer))
        .route(
            "/metrics",
            get(routes::metrics::answer).layer(from_fn_with_state(Arc::clone(&app), keys::authenticate)),
        )
        .route("/openapi.json", get(openapi::answer))
        .nest("/v1", native(&app))
        .fallback(routes::not_found)
        .layer(log)
        .with_state(app)
}

/// The native API.
fn native(app: &Arc<App>) -> Router<Arc<App>> {
    Router::new()
        .route("/verifications", post(v1::verifications::create))
        .route(
            "/verifications/{id}",
            get(v1::verification::show).delete(v1::verification::cancel),
        )
        .route("/backends", get(v1::backends::show))
        .route("/decisions", get(v1::decisions::show))
        .route("/verifications/{id}/check", post(v1::check::check))
        .route("/verifications/{id}/resend", post(v1::resend::resend))
        .fallback(v1::not_found)
        .method_not_allowed_fallback(v1::method_not_allowed)
        .layer(from_fn_with_state(Arc::clone(app), keys::authenticate))
}
