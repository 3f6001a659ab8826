//! `POST /api/phone/register`: sends a security code.

use std::sync::Arc;

use axum::{
    Extension,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use serde_json::json;

use super::{client, locale, not_a_post, phone_number};
use crate::{
    http::{App, access::Began, body::Fields, error::ApiError, json::Json},
    verifier::RegisterRequest,
};

/// With their labels.
const FIELDS: [(&str, &str); 1] = [("phone_number", "Phone number")];

pub(in crate::http) async fn answer(State(app): State<Arc<App>>, request: Request) -> Response {
    if let Some(other) = not_a_post(&request, "Register", &FIELDS) {
        return other;
    }
    register(&app, request)
        .await
        .unwrap_or_else(IntoResponse::into_response)
}

async fn register(app: &App, request: Request) -> Result<Response, ApiError> {
    let locale = locale(request.headers());
    let client = client(&request, &app.trusted_proxies);
    let mut fields = Fields::read(request, app.read_timeout).await?;
    let live = app.live.get();
    let mut errors = Vec::new();
    let text = fields.text("phone_number", &mut errors);
    let number = phone_number(text, live.default_region, &mut errors);
    let Some(number) = number else {
        return Err(ApiError::Fields(errors));
    };
    let request = RegisterRequest {
        client,
        ..RegisterRequest::of(number, locale)
    };
    let registered = live.verifier.register(request).await;
    let registered = registered.map_err(ApiError::Register)?;
    let body = Json(json!({ "session_token": registered.session_token.expose() }));
    Ok((Extension(Began(registered.id)), body).into_response())
}
