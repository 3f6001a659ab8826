//! `POST /api/phone/register`: sends a security code, as django-phone-verify does.

use std::sync::Arc;

use axum::{
    Extension,
    extract::{Request, State},
    http::HeaderMap,
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{client, description, locale, negotiated, phone_number};
use crate::{
    http::{App, Generation, access::Began, body::Fields, error::ApiError, json::Json, schema},
    model::PhoneNumber,
    verifier::RegisterRequest,
};

/// The fields with their labels.
const FIELDS: [(&str, &str); 1] = [("phone_number", "Phone number")];

/// A number to verify.
#[derive(ToSchema)]
#[schema(as = PhoneRegistration)]
pub(in crate::http) struct RegistrationBody {
    #[schema(schema_with = schema::phone_number)]
    phone_number: PhoneNumber,
}

/// The SMS is sent.
#[derive(Serialize, ToSchema)]
#[schema(as = PhoneRegistered)]
pub(in crate::http) struct RegisteredBody {
    /// To be sent back together with the code.
    session_token: String,
}

impl RegistrationBody {
    /// Reads the field. Unknown fields are ignored, as Django REST framework does.
    fn read(mut fields: Fields, live: &Generation) -> Result<Self, ApiError> {
        let mut errors = Vec::new();
        let text = fields.text("phone_number", &mut errors);
        let number = phone_number(text, live.default_region, &mut errors);
        let phone_number = number.ok_or(ApiError::Fields(errors))?;
        Ok(Self { phone_number })
    }
}

/// Send a security code
///
/// Answers once the provider has taken the SMS. The fields may also come form-encoded or as multipart.
#[utoipa::path(
    post,
    path = "/api/phone/register",
    operation_id = "register_phone_number",
    tag = "drop-in",
    // Described in JSON only: for a body of several media types, client generators write code that does not compile.
    request_body = RegistrationBody,
    responses((status = 200, description = "The SMS is sent.", body = RegisteredBody)),
)]
pub(in crate::http) async fn register(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, ApiError> {
    negotiated(request.headers())?;
    let locale = locale(request.headers());
    let client = client(&request, &app.trusted_proxies);
    let fields = Fields::read(request, app.read_timeout).await?;
    let live = app.live.get();
    let body = RegistrationBody::read(fields, &live)?;
    let request = RegisterRequest {
        client,
        ..RegisterRequest::of(body.phone_number, locale)
    };
    let registered = live.verifier.register(request).await;
    let registered = registered.map_err(ApiError::Register)?;
    let body = RegisteredBody {
        session_token: registered.session_token.expose().to_owned(),
    };
    Ok((Extension(Began(registered.id)), Json(body)).into_response())
}

/// Answers `OPTIONS` with a description of the endpoint.
pub(in crate::http) async fn describe(headers: HeaderMap) -> Result<Response, ApiError> {
    description(&headers, "Register", &FIELDS)
}
