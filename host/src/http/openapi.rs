//! `GET /openapi.json`: the description of the native API, made from the routes' own types.

use std::sync::LazyLock;

use axum::{
    body::Bytes,
    http::header,
    response::{IntoResponse, Response},
};
use utoipa::{
    Modify, OpenApi,
    openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
};

use super::routes::v1::{
    ProblemBody, VerificationBody,
    backends::{self, BackendBody, BackendsBody, MessagesBody},
    check::{self, CheckBody, CheckedBody},
    decisions::{self, DecisionBody, DecisionsBody},
    resend::{self, ResendBody},
    verification,
    verifications::{self, BegunBody, NewVerificationBody},
};

#[derive(OpenApi)]
#[openapi(
    info(title = "phone-verify", description = "Verifies phone numbers by SMS."),
    paths(
        verifications::create,
        verification::show,
        verification::cancel,
        check::check,
        resend::resend,
        backends::show,
        decisions::show,
    ),
    components(schemas(
        BackendBody, BackendsBody, BegunBody, CheckBody, CheckedBody, DecisionBody, DecisionsBody, MessagesBody, NewVerificationBody, ProblemBody, ResendBody, VerificationBody,
    )),
    security(("api_key" = [])),
    modifiers(&ApiKey),
)]
struct Description;

struct ApiKey;

impl Modify for ApiKey {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("Where the settings name API keys"))
            .build();
        openapi
            .components
            .get_or_insert_default()
            .add_security_scheme("api_key", SecurityScheme::Http(scheme));
    }
}

static JSON: LazyLock<Bytes> =
    LazyLock::new(|| Bytes::from(serde_json::to_vec(&Description::openapi()).unwrap_or_default()));

pub(super) async fn answer() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], JSON.clone()).into_response()
}
