//! `POST /v1/verifications/{id}/check`: judges the code that came back.

use std::sync::Arc;

use axum::{
    extract::{Path, Request, State},
    response::{IntoResponse, Response},
};
use serde_json::json;
use utoipa::ToSchema;

use super::{ProblemBody, client, id};
use crate::{
    http::{App, body::Fields, error::ApiError, json::Json, problem::Problem},
    model::{SecurityCode, SessionToken, Status, Verdict},
};

const UNKNOWN_FIELD: &str =
    "There is a field that is not known here: known are session_token and security_code.";

/// What came back.
#[derive(ToSchema)]
#[expect(
    dead_code,
    reason = "the description of what is read field by field, so that all faults are told at once"
)]
pub(in crate::http) struct CheckBody {
    session_token: String,
    /// What the user typed.
    #[schema(example = "123456")]
    security_code: String,
}

/// The code is right.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the description of an answer")]
pub(in crate::http) struct CheckedBody {
    id: String,
    /// `verified`.
    #[schema(example = "verified")]
    status: String,
}

/// Check a security code
#[utoipa::path(
    post,
    path = "/v1/verifications/{id}/check",
    operation_id = "check_security_code",
    tag = "verifications",
    params(("id" = String, Path, description = "Names the verification")),
    request_body = CheckBody,
    responses(
        (status = 200, body = CheckedBody),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json"),
        (status = "5XX", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
pub(in crate::http) async fn check(
    State(app): State<Arc<App>>,
    Path(text): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let client = client(&app, &request);
    let mut fields = Fields::read_json(request, app.read_timeout).await?;
    let mut errors = Vec::new();
    let session_token = fields.text("session_token", &mut errors);
    let code = fields.text("security_code", &mut errors);
    fields.nothing_else(UNKNOWN_FIELD, &mut errors);
    let (Some(session_token), Some(code), true) = (session_token, code, errors.is_empty()) else {
        return Err(ApiError::Fields(errors).into());
    };
    let (id, live) = (id(&text)?, app.live.get());
    let session_token = SessionToken::from_client(session_token);
    // What no code can be is wrong like any wrong code, and costs an attempt.
    let code = SecurityCode::from_client(&code);
    let judged = live.verifier.check_by_id(id, client, session_token, code).await;
    let judged = judged.map_err(ApiError::Check)?.ok_or(ApiError::NoVerification)?;
    match judged.verdict {
        Verdict::Valid => Ok(Json(json!({ "id": id.to_string(), "status": "verified" })).into_response()),
        // It takes no attempts, which is not for those that there were.
        Verdict::TooManyAttempts if judged.status == Status::Cancelled => {
            Err(ApiError::Over(Status::Cancelled).into())
        }
        refused => Err(Problem::with_attempts(
            ApiError::Verdict(refused),
            judged.attempts_remaining,
        )),
    }
}
