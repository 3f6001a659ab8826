//! `GET` and `DELETE /v1/verifications/{id}`: how a verification stands, and its end.

use std::sync::Arc;

use axum::{
    Extension,
    extract::{Path, State},
    response::{IntoResponse, Response},
};

use super::{ProblemBody, VerificationBody, id};
use crate::{
    http::{App, Generation, error::ApiError, json::Json, keys::Caller, problem::Problem},
    model::Verification,
};

/// How a verification stands
#[utoipa::path(
    get,
    path = "/v1/verifications/{id}",
    operation_id = "show_verification",
    tag = "verifications",
    params(("id" = String, Path, description = "Names the verification")),
    responses(
        (status = 200, body = VerificationBody),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json"),
        (status = "5XX", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
pub(in crate::http) async fn show(
    State(app): State<Arc<App>>,
    Path(text): Path<String>,
) -> Result<Response, Problem> {
    let live = app.live.get();
    let found = live.verifier.find(id(&text)?).await.map_err(ApiError::Store)?;
    let (verification, client_ref) = found.ok_or(ApiError::NoVerification)?;
    shown(&live, &verification, client_ref)
}

/// Cancel a verification
///
/// Its code is good no more with its session token. One that is over stays as it is. A registration of the same
/// number within the code's life begins no new life, and the attempts that were used stay used.
#[utoipa::path(
    delete,
    path = "/v1/verifications/{id}",
    operation_id = "cancel_verification",
    tag = "verifications",
    params(("id" = String, Path, description = "Names the verification")),
    responses(
        (status = 200, body = VerificationBody),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json"),
        (status = "5XX", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
pub(in crate::http) async fn cancel(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path(text): Path<String>,
) -> Result<Response, Problem> {
    let id = id(&text)?;
    let live = app.live.get();
    let find = async || {
        let found = live.verifier.find(id).await.map_err(ApiError::Store)?;
        found.ok_or(ApiError::NoVerification)
    };
    // What is not there is not cancelled.
    find().await?;
    let actor = format!("api:{}", caller.0);
    live.verifier.cancel(id, actor).await.map_err(ApiError::Store)?;
    let (verification, client_ref) = find().await?;
    shown(&live, &verification, client_ref)
}

pub(super) fn shown(
    live: &Generation,
    verification: &Verification,
    client_ref: Option<String>,
) -> Result<Response, Problem> {
    let body = VerificationBody::of(verification, client_ref, &live.backend.name);
    let body = serde_json::to_value(body).map_err(|_| ApiError::Defect)?;
    Ok(Json(body).into_response())
}
