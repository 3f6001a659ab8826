//! `GET /v1/backends`: what is loaded, and how it fares.

use std::sync::Arc;

use axum::extract::State;
use serde::Serialize;
use utoipa::{
    ToSchema,
    openapi::{RefOr, Schema},
};

use crate::{
    fleet::{BackendStatus, BreakerState},
    http::{App, json::Json, schema},
};

/// What is loaded.
#[derive(Serialize, ToSchema)]
#[schema(as = Backends)]
pub(in crate::http) struct BackendsBody {
    backends: Vec<BackendBody>,
}

/// A backend that serves.
#[derive(Serialize, ToSchema)]
#[schema(as = Backend)]
pub(in crate::http) struct BackendBody {
    /// Its name in the settings: of `[backends]`, or `default`.
    #[schema(example = "default")]
    member: String,
    #[schema(example = "nexmo.NexmoBackend")]
    name: String,
    #[schema(example = "nexmo")]
    library: String,
    /// Of the library.
    #[schema(example = "0.1.0")]
    version: String,
    /// That the library was built against.
    #[schema(example = "1.0")]
    abi: String,
    /// Of the library's bytes.
    sha256: String,
    /// Whose signature the library bears, by the name in `[plugins.signers]`; only under `trust = "signed"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    signed_by: Option<String>,
    #[schema(schema_with = schema::isolation)]
    isolation: String,
    /// Whether it is for tests and tutorials.
    sandbox: bool,
    #[schema(schema_with = health)]
    health: &'static str,
    /// The countries that its messages are refused to for a while, since they failed there several times in a row.
    #[schema(example = json!(["DE"]))]
    refused_countries: Vec<String>,
    messages: MessagesBody,
    /// What should be looked at although it serves, such as a newer version that is refused.
    notes: Vec<String>,
}

/// Messages of verifications, since the backend serves.
#[derive(Serialize, ToSchema)]
#[schema(as = Messages)]
pub(in crate::http) struct MessagesBody {
    /// The provider took them.
    sent: u64,
    /// They certainly were not sent.
    failed: u64,
    /// They may have been sent.
    unknown: u64,
}

/// `ok`; `failing`: it failed several times in a row and is left alone; or `probing`: one message is to show whether it
/// is back.
fn health_of(state: BreakerState) -> &'static str {
    match state {
        BreakerState::Closed => "ok",
        BreakerState::Open => "failing",
        BreakerState::Probing => "probing",
    }
}

fn health() -> RefOr<Schema> {
    let states = [BreakerState::Closed, BreakerState::Open, BreakerState::Probing];
    schema::one_of(
        states.map(health_of),
        "`failing`: it failed several times in a row and is left alone; `probing`: one message is to show whether it is \
         back.",
    )
}

/// What is loaded
#[utoipa::path(
    get,
    path = "/v1/backends",
    operation_id = "list_backends",
    tag = "backends",
    responses(
        (status = 200, description = "What is loaded.", body = BackendsBody),
    ),
)]
pub(in crate::http) async fn show(State(app): State<Arc<App>>) -> Json<BackendsBody> {
    let live = app.live.get();
    let backends = app.fleet.status();
    Json(BackendsBody {
        backends: backends
            .iter()
            .map(|status| BackendBody::of(status, &live.notes))
            .collect(),
    })
}

impl BackendBody {
    /// `general`: what should be looked at, whichever backend serves.
    fn of(status: &BackendStatus, general: &[String]) -> Self {
        let (facts, messages) = (&status.facts, status.messages);
        Self {
            member: status.name.to_string(),
            name: facts.backend.to_string(),
            library: facts.library().to_owned(),
            version: facts.version.clone(),
            abi: facts.abi.clone(),
            sha256: facts.sha256.clone(),
            signed_by: facts.signed_by.clone(),
            isolation: facts.isolation.to_string(),
            sandbox: facts.is_sandbox,
            health: health_of(status.breaker),
            refused_countries: status.countries(),
            messages: MessagesBody {
                sent: messages.sent,
                failed: messages.failed,
                unknown: messages.unknown,
            },
            notes: status.note().into_iter().chain(general.iter().cloned()).collect(),
        }
    }
}
