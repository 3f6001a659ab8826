//! `GET /readyz`: whether this process can serve: a backend is loaded and the store takes writes. 503 when not.
//!
//! Invariant: what is out of order elsewhere, such as a provider that is down, never makes it 503, for an orchestrator
//! would then cut off those who have a code already, and every process on the database at once. It makes it `degraded`,
//! with a warning that says what is refused. Warns too while a sandbox backend is in use, and while what lies in the
//! plugin directory or the settings file is not what serves.

use std::sync::Arc;

use axum::{
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    fleet::{BackendStatus, BreakerState},
    http::{App, answer::USUAL_WAIT, code::Code, json::Json, schema},
};

/// Whether the process can serve, and what should be looked at.
#[derive(Serialize, ToSchema)]
#[schema(as = Readiness)]
pub(in crate::http) struct ReadinessBody {
    #[schema(schema_with = schema::readiness)]
    status: &'static str,
    /// Of an answer that says no.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Code, required = false)]
    code: Option<&'static str>,
    store: StoreReadiness,
    /// The first one in the settings.
    backend: BackendReadiness,
    /// All of them, in the order of the settings.
    backends: Vec<BackendReadiness>,
    /// What should be looked at.
    warnings: Vec<String>,
}

/// The database.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct StoreReadiness {
    writable: bool,
}

/// The backend that serves.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct BackendReadiness {
    /// Its name in the settings: of `[backends]`, or `default`.
    #[schema(example = "default")]
    member: String,
    #[schema(example = "nexmo.NexmoBackend")]
    name: String,
    #[schema(schema_with = schema::breaker)]
    breaker: BreakerState,
    /// Whether it is for tests and tutorials.
    sandbox: bool,
}

impl BackendReadiness {
    fn of(status: &BackendStatus) -> Self {
        Self {
            member: status.name.to_string(),
            name: status.facts.backend.to_string(),
            breaker: status.breaker,
            sandbox: status.facts.is_sandbox,
        }
    }
}

/// Whether the process can do its work
#[utoipa::path(
    get,
    path = "/readyz",
    operation_id = "show_readiness",
    tag = "health",
    responses(
        (status = 200, description = "It can.", body = ReadinessBody),
        (
            status = 503,
            description = "It cannot.",
            body = ReadinessBody,
            headers(("Retry-After" = u64, description = "Seconds to wait before trying again.")),
        ),
    ),
)]
pub(in crate::http) async fn answer(State(app): State<Arc<App>>) -> Response {
    let store = app.store.ready().await;
    if let Err(error) = &store {
        tracing::error!(%error, "the store takes no writes");
    }
    let live = app.live.get();
    let backends = app.fleet.status();
    let caps = live.verifier.caps().await.unwrap_or_else(|error| {
        tracing::error!(%error, "how much of the caps is used cannot be read");
        Vec::new()
    });
    let (full, near): (Vec<_>, Vec<_>) = caps
        .iter()
        .filter(|cap| cap.is_near())
        .partition(|cap| cap.is_full_for_strangers());
    let degradations: Vec<String> = backends
        .iter()
        .flat_map(BackendStatus::degradations)
        .chain(full.iter().map(ToString::to_string))
        .collect();
    let (status, word) = match &store {
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "unready"),
        Ok(()) if !degradations.is_empty() => (StatusCode::OK, "degraded"),
        Ok(()) => (StatusCode::OK, "ready"),
    };
    let mut warnings = degradations;
    warnings.extend(near.iter().map(ToString::to_string));
    warnings.extend(backends.iter().filter_map(BackendStatus::note));
    warnings.extend(live.notes.clone());
    warnings.extend(backends.iter().flat_map(|status| status.facts.warnings()));
    warnings.extend(app.fleet.test_numbers_warning());
    match live.verifier.conversion_alarm().await {
        Ok(alarm) => warnings.extend(alarm.map(|alarm| alarm.to_string())),
        Err(error) => tracing::error!(%error, "the conversion cannot be computed"),
    }
    let body = ReadinessBody {
        status: word,
        code: store.is_err().then(|| Code::Unavailable.into()),
        store: StoreReadiness {
            writable: store.is_ok(),
        },
        backend: BackendReadiness::of(&backends[0]),
        backends: backends.iter().map(BackendReadiness::of).collect(),
        warnings,
    };
    let mut response = (status, Json(body)).into_response();
    if store.is_err() {
        let wait = HeaderValue::from(USUAL_WAIT.as_secs());
        response.headers_mut().insert(header::RETRY_AFTER, wait);
    }
    response
}
