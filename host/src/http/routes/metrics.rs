//! `GET /metrics`: for Prometheus, as `OpenMetrics` 1.0. Made when it is asked for, from what the parts count anyway, so
//! that a registration costs nothing more.
//!
//! Invariant: no label says anything of a number, a code or a session.

use std::sync::Arc;

use axum::{
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use prometheus_client::{
    encoding::text::encode,
    metrics::{counter::Counter, family::Family, gauge::Gauge, info::Info},
    registry::Registry,
};

use crate::{
    dispatch::BreakerState,
    http::{App, error::ApiError},
};

const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

type Labels = Vec<(&'static str, String)>;

pub(in crate::http) async fn answer(State(app): State<Arc<App>>) -> Result<Response, ApiError> {
    let mut text = String::new();
    encode(&mut text, &registry(&app)).map_err(|_| ApiError::Defect)?;
    Ok(([(header::CONTENT_TYPE, MEDIA_TYPE)], text).into_response())
}

fn registry(app: &App) -> Registry {
    let live = app.live.get();
    let backend = &live.backend;
    let mut registry = Registry::with_prefix("phone_verify");

    let info = Info::new(vec![
        ("name", backend.name.clone()),
        ("version", backend.version.clone()),
        ("abi", backend.abi.clone()),
        ("isolation", backend.isolation.clone()),
    ]);
    registry.register("backend", "The backend that serves", info);

    let counts = app.breaker.counts();
    let messages = Family::<Labels, Counter>::default();
    for (outcome, count) in [
        ("sent", counts.sent),
        ("failed", counts.failed),
        ("unknown", counts.unknown),
    ] {
        let labels = vec![("backend", backend.name.clone()), ("outcome", outcome.to_owned())];
        messages.get_or_create(&labels).inc_by(count);
    }
    registry.register(
        "messages",
        "Messages of verifications, by what became of them, since the backend serves",
        messages,
    );

    let now = app.breaker.state();
    let breaker = Family::<Labels, Gauge>::default();
    for (name, state) in [
        ("closed", BreakerState::Closed),
        ("open", BreakerState::Open),
        ("probing", BreakerState::Probing),
    ] {
        let labels = vec![("backend", backend.name.clone()), ("state", name.to_owned())];
        breaker.get_or_create(&labels).set(i64::from(state == now));
    }
    registry.register(
        "breaker",
        "1 for the state of the breaker: closed lets messages through, open refuses them",
        breaker,
    );
    registry
}
