//! `POST /v1/verifications/{id}/check`: checks the code that a user entered.

use std::sync::Arc;

use axum::extract::{Request, State};
use serde::Serialize;
use utoipa::ToSchema;

use super::{Id, purpose};
use crate::{
    http::{App, body::Fields, error::ApiError, json::Json, problem::Problem, routes::client, schema},
    model::{Purpose, SecurityCode, SessionToken, Status, Verdict},
    store::RequestKey,
};

const UNKNOWN_FIELD: &str =
    "There is a field that is not known here: known are session_token, security_code, purpose and binding.";

/// What came back.
#[derive(ToSchema)]
#[schema(as = Check)]
pub(in crate::http) struct CheckBody {
    #[schema(schema_with = schema::session_token)]
    session_token: SessionToken,
    #[schema(schema_with = schema::security_code)]
    security_code: SecurityCode,
    #[schema(schema_with = schema::purpose, required = false)]
    purpose: Option<String>,
    #[schema(schema_with = schema::binding, required = false)]
    binding: Option<String>,
}

/// The code is right.
#[derive(Serialize, ToSchema)]
#[schema(as = Checked)]
pub(in crate::http) struct CheckedBody {
    #[schema(schema_with = schema::id)]
    id: String,
    #[schema(schema_with = schema::status)]
    status: &'static str,
}

impl CheckBody {
    /// Reads all fields, and reports every faulty one at once. Unknown fields are refused.
    fn read(mut fields: Fields) -> Result<Self, ApiError> {
        let mut errors = Vec::new();
        let session_token = fields.text("session_token", &mut errors);
        let code = fields.text("security_code", &mut errors);
        let Purpose { name, binding } = purpose(&mut fields, &mut errors);
        fields.nothing_else(UNKNOWN_FIELD, &mut errors);
        match (session_token, code) {
            (Some(session_token), Some(code)) if errors.is_empty() => Ok(Self {
                session_token: SessionToken::from_client(session_token),
                // A text that cannot be a code is treated as any wrong code, and costs an attempt.
                security_code: SecurityCode::from_client(&code),
                purpose: name,
                binding,
            }),
            _ => Err(ApiError::Fields(errors)),
        }
    }
}

/// Check a security code
#[utoipa::path(
    post,
    path = "/v1/verifications/{id}/check",
    operation_id = "check_security_code",
    tag = "verifications",
    params(
        ("id" = inline(Id), Path),
        (
            "Idempotency-Key" = Option<String>,
            Header,
            min_length = 1,
            max_length = 255,
            description = "With the same key and body the first answer comes again, for 24 hours, and nothing is judged.",
        ),
    ),
    request_body = CheckBody,
    responses(
        (status = 200, description = "The code is right.", body = CheckedBody),
    ),
)]
pub(in crate::http) async fn check(
    State(app): State<Arc<App>>,
    Id(id): Id,
    request: Request,
) -> Result<Json<CheckedBody>, Problem> {
    let client = client(&request, &app.trusted_proxies);
    let key: Option<RequestKey> = request.extensions().get().cloned();
    let CheckBody {
        session_token,
        security_code,
        purpose: name,
        binding,
    } = CheckBody::read(Fields::read_json(request, app.read_timeout).await?)?;
    let verifier = app.live.get().verifier.once(key);
    let judged = verifier
        .check_by_id(
            id,
            client,
            session_token,
            security_code,
            Purpose { name, binding },
        )
        .await;
    let judged = judged.map_err(ApiError::Check)?.ok_or(ApiError::NoVerification)?;
    match judged.verdict {
        Verdict::Valid => Ok(Json(CheckedBody {
            id: id.to_string(),
            status: Status::Verified.as_str(),
        })),
        // A cancelled verification takes no attempts. Attempts that were used are not the reason, so it is reported as
        // cancelled.
        Verdict::TooManyAttempts if judged.status == Status::Cancelled => {
            Err(ApiError::Over(Status::Cancelled).into())
        }
        refused => Err(Problem::with_attempts(
            ApiError::Verdict(refused),
            judged.attempts_remaining,
        )),
    }
}
