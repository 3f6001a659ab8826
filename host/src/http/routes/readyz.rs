//! `GET /readyz`: whether the process can do its work: the store takes writes, the backend is loaded and its
//! breaker lets messages through. 503 when not. Warns while a sandbox backend is in use, and while what
//! lies in the plugin directory or the settings file is not what serves.

use std::sync::Arc;

use axum::{
    extract::State,
    http::{Method, StatusCode},
    response::{IntoResponse, Response},
};
use serde_json::json;

use crate::{
    dispatch::BreakerState,
    http::{App, error::ApiError, json::Json},
};

pub(in crate::http) async fn answer(State(app): State<Arc<App>>, method: Method) -> Response {
    if !matches!(method, Method::GET | Method::HEAD) {
        return ApiError::Method(method, "GET, HEAD").into_response();
    }
    let store = app.store.ready().await;
    if let Err(error) = &store {
        tracing::error!(%error, "the store takes no writes");
    }
    let breaker = app.breaker.state();
    let ready = store.is_ok() && breaker != BreakerState::Open;
    let live = app.live.get();
    let mut warnings = live.notes.clone();
    if live.backend.sandbox {
        warnings.push(format!(
            "{} is a sandbox backend: it is not for production",
            live.backend.name
        ));
    }
    warnings.extend(live.verifier.test_numbers_warning());
    match live.verifier.conversion_alarm().await {
        Ok(alarm) => warnings.extend(alarm.map(|alarm| alarm.to_string())),
        Err(error) => tracing::error!(%error, "the conversion cannot be computed"),
    }
    let body = json!({
        "status": if ready { "ready" } else { "unready" },
        "store": { "writable": store.is_ok() },
        "backend": { "name": live.backend.name, "breaker": breaker, "sandbox": live.backend.sandbox },
        "warnings": warnings,
    });
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Json(body)).into_response()
}
