//! `POST /api/phone/verify`: checks the code that a user entered, as django-phone-verify does.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::HeaderMap,
    response::Response,
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{client, description, negotiated, phone_number};
use crate::{
    http::{App, Generation, body::Fields, error::ApiError, json::Json, schema},
    model::{PhoneNumber, SecurityCode, SessionToken, Verdict},
    verifier::CheckRequest,
};

/// The fields with their labels.
const FIELDS: [(&str, &str); 3] = [
    ("phone_number", "Phone number"),
    ("session_token", "Session token"),
    ("security_code", "Security code"),
];

/// What came back.
#[derive(ToSchema)]
#[schema(as = PhoneVerification)]
pub(in crate::http) struct PhoneVerificationBody {
    #[schema(schema_with = schema::phone_number)]
    phone_number: PhoneNumber,
    #[schema(schema_with = schema::session_token)]
    session_token: SessionToken,
    #[schema(schema_with = schema::security_code)]
    security_code: SecurityCode,
}

/// The code is right.
#[derive(Serialize, ToSchema)]
#[schema(as = PhoneVerified)]
pub(in crate::http) struct VerifiedBody {
    #[schema(example = "Security code is valid.")]
    message: &'static str,
}

impl PhoneVerificationBody {
    /// Reads all fields, and reports every faulty one at once. Unknown fields are ignored, as Django REST framework
    /// does.
    fn read(mut fields: Fields, live: &Generation) -> Result<Self, ApiError> {
        let mut errors = Vec::new();
        let number = fields.text("phone_number", &mut errors);
        let number = phone_number(number, live.default_region, &mut errors);
        let session_token = fields.text("session_token", &mut errors);
        let code = fields.text("security_code", &mut errors);
        let (Some(phone_number), Some(session_token), Some(code)) = (number, session_token, code) else {
            return Err(ApiError::Fields(errors));
        };
        Ok(Self {
            phone_number,
            session_token: SessionToken::from_client(session_token),
            // A text that cannot be a code is treated as any wrong code, and costs an attempt.
            security_code: SecurityCode::from_client(&code),
        })
    }
}

/// Check a security code
///
/// The fields may also come form-encoded or as multipart.
#[utoipa::path(
    post,
    path = "/api/phone/verify",
    operation_id = "verify_phone_number",
    tag = "drop-in",
    // Described in JSON only: for a body of several media types, client generators write code that does not compile.
    request_body = PhoneVerificationBody,
    responses((status = 200, description = "The code is right.", body = VerifiedBody)),
)]
pub(in crate::http) async fn verify(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Json<VerifiedBody>, ApiError> {
    negotiated(request.headers())?;
    let client = client(&request, &app.trusted_proxies);
    let fields = Fields::read(request, app.read_timeout).await?;
    let live = app.live.get();
    let body = PhoneVerificationBody::read(fields, &live)?;
    let check = CheckRequest {
        number: body.phone_number,
        client,
        session_token: body.session_token,
        code: body.security_code,
        bound: None,
    };
    match live.verifier.check(check).await.map_err(ApiError::Check)? {
        Verdict::Valid => Ok(Json(VerifiedBody {
            message: "Security code is valid.",
        })),
        refused => Err(ApiError::Verdict(refused)),
    }
}

/// Answers `OPTIONS` with a description of the endpoint.
pub(in crate::http) async fn describe(headers: HeaderMap) -> Result<Response, ApiError> {
    description(&headers, "Verify", &FIELDS)
}
