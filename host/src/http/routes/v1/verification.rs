//! `GET` and `DELETE /v1/verifications/{id}`: shows or cancels a verification.

use std::sync::Arc;

use axum::{Extension, extract::State};

use super::{Id, VerificationBody};
use crate::{
    http::{App, error::ApiError, json::Json, keys::KeyName, problem::Problem},
    model::Verification,
    store::RequestKey,
};

/// How a verification stands
#[utoipa::path(
    get,
    path = "/v1/verifications/{id}",
    operation_id = "show_verification",
    tag = "verifications",
    params(("id" = inline(Id), Path)),
    responses(
        (status = 200, description = "How it stands.", body = VerificationBody),
    ),
)]
pub(in crate::http) async fn show(
    State(app): State<Arc<App>>,
    Id(id): Id,
) -> Result<Json<VerificationBody>, Problem> {
    let live = app.live.get();
    let found = live.verifier.find(id).await.map_err(ApiError::Store)?;
    let (verification, client_ref) = found.ok_or(ApiError::NoVerification)?;
    Ok(shown(&app, &verification, client_ref))
}

/// Cancel a verification
///
/// Its code is good no more with its session token. One that is over stays as it is. A registration of the same
/// number for the same purpose within the code's life begins no new life, and the attempts that were used stay used.
#[utoipa::path(
    delete,
    path = "/v1/verifications/{id}",
    operation_id = "cancel_verification",
    tag = "verifications",
    params(
        ("id" = inline(Id), Path),
        (
            "Idempotency-Key" = Option<String>,
            Header,
            min_length = 1,
            max_length = 255,
            description = "With the same key the first answer comes again, for 24 hours, and nothing is done.",
        ),
    ),
    responses(
        (status = 200, description = "How it stands.", body = VerificationBody),
    ),
)]
pub(in crate::http) async fn cancel(
    State(app): State<Arc<App>>,
    key: Option<Extension<KeyName>>,
    request: Option<Extension<RequestKey>>,
    Id(id): Id,
) -> Result<Json<VerificationBody>, Problem> {
    let live = app.live.get();
    let find = async || {
        let found = live.verifier.find(id).await.map_err(ApiError::Store)?;
        found.ok_or(ApiError::NoVerification)
    };
    // Answers 404 before anything is written: a verification that does not exist cannot be cancelled.
    find().await?;
    // For the audit log: which key cancelled it. Without keys the name is empty.
    let name = key.map(|Extension(KeyName(name))| name).unwrap_or_default();
    let actor = format!("api:{name}");
    let verifier = live.verifier.once(request.map(|Extension(request)| request));
    verifier.cancel(id, actor).await.map_err(ApiError::Store)?;
    let (verification, client_ref) = find().await?;
    Ok(shown(&app, &verification, client_ref))
}

/// The verification as both this route and a resend answer it.
pub(super) fn shown(
    app: &App,
    verification: &Verification,
    client_ref: Option<String>,
) -> Json<VerificationBody> {
    Json(VerificationBody::of(
        verification,
        client_ref,
        app.fleet.only().as_ref().map(|member| &**member.backend()),
        &app.clock,
    ))
}
