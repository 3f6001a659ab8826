//! `POST /api/phone/verify`: judges the code that came back.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use serde_json::json;

use super::{client, not_a_post, phone_number};
use crate::{
    http::{App, body::Fields, error::ApiError, json::Json},
    model::{SecurityCode, SessionToken, Verdict},
    verifier::CheckRequest,
};

/// With their labels.
const FIELDS: [(&str, &str); 3] = [
    ("phone_number", "Phone number"),
    ("session_token", "Session token"),
    ("security_code", "Security code"),
];

pub(in crate::http) async fn answer(State(app): State<Arc<App>>, request: Request) -> Response {
    if let Some(other) = not_a_post(&request, "Verify", &FIELDS) {
        return other;
    }
    verify(&app, request)
        .await
        .unwrap_or_else(IntoResponse::into_response)
}

async fn verify(app: &App, request: Request) -> Result<Response, ApiError> {
    let client = client(&request, &app.trusted_proxies);
    let mut fields = Fields::read(request, app.read_timeout).await?;
    let live = app.live.get();
    let mut errors = Vec::new();
    let number_text = fields.text("phone_number", &mut errors);
    let number = phone_number(number_text, live.default_region, &mut errors);
    let session_token = fields.text("session_token", &mut errors);
    let code = fields.text("security_code", &mut errors);
    let (Some(number), Some(session_token), Some(code)) = (number, session_token, code) else {
        return Err(ApiError::Fields(errors));
    };
    let check = CheckRequest {
        number,
        client,
        session_token: SessionToken::from_client(session_token),
        // What no code can be is wrong like any wrong code, and costs an attempt.
        code: SecurityCode::from_client(&code),
    };
    match live.verifier.check(check).await.map_err(ApiError::Check)? {
        Verdict::Valid => Ok(Json(json!({ "message": "Security code is valid." })).into_response()),
        refused => Err(ApiError::Verdict(refused)),
    }
}
