//! `POST /v1/verifications`: sends a security code.

use std::sync::Arc;

use axum::{
    Extension,
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;
use zeroize::Zeroizing;

use super::{ProblemBody, VerificationBody};
use crate::{
    http::{
        App,
        access::Began,
        body::Fields,
        error::{ApiError, FieldError},
        keys::Caller,
        problem::Problem,
        routes::{locale, phone_number, v1::client},
    },
    model::{Delivery, Locale, Verification, VerificationId, context},
    store::{Answer, RequestKey},
    verifier::RegisterRequest,
};

const UNKNOWN_FIELD: &str =
    "There is a field that is not known here: known are phone_number, locale, context and client_ref.";

/// The most characters of a `client_ref`.
const MAX_CLIENT_REF: usize = 128;
/// The most characters of an `Idempotency-Key`.
const MAX_IDEMPOTENCY_KEY: usize = 255;
const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// What to verify.
#[derive(ToSchema)]
#[expect(
    dead_code,
    reason = "the description of what is read field by field, so that all faults are told at once"
)]
pub(in crate::http) struct NewVerificationBody {
    /// In E.164; spaces, dashes and brackets do not matter.
    #[schema(example = "+13478379634")]
    phone_number: String,
    /// The language of the SMS, as in `Accept-Language`, which it goes before.
    #[schema(example = "es")]
    locale: Option<String>,
    /// For a backend that words the SMS itself: at most 16 texts, numbers or booleans, a text of at most 64 characters. Control
    /// and invisible characters are taken out of texts, and words that look like an address on the web unless the
    /// settings allow them.
    #[schema(value_type = Option<Object>)]
    context: Option<Map<String, Value>>,
    /// The caller's own name for the verification: at most 128 characters.
    #[schema(max_length = 128)]
    client_ref: Option<String>,
}

/// A verification that began.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct BegunBody {
    #[serde(flatten)]
    verification: VerificationBody,
    /// To be shown together with the code. It is said here once.
    session_token: String,
}

/// Send a security code
///
/// Answers once the provider has taken the SMS. While a code is pending for the number, the same code is sent
/// again, or another beside it, as the settings say, to a session of its own.
#[utoipa::path(
    post,
    path = "/v1/verifications",
    operation_id = "create_verification",
    tag = "verifications",
    request_body = NewVerificationBody,
    params(("Idempotency-Key" = Option<String>, Header,
        description = "With the same key and body the first answer comes again, for 24 hours, and nothing is sent")),
    responses(
        (status = 201, body = BegunBody),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json"),
        (status = "5XX", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
pub(in crate::http) async fn create(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Response, Problem> {
    let headers = request.headers().clone();
    let client = client(&app, &request);
    let mut fields = Fields::read_json(request, app.read_timeout).await?;
    let live = app.live.get();
    let body = fields.digestible();
    let mut errors = Vec::new();
    let number = fields.text("phone_number", &mut errors);
    let number = phone_number(number, live.default_region, &mut errors);
    let wanted = fields.optional_text("locale", 255, &mut errors);
    let client_ref = fields.optional_text("client_ref", MAX_CLIENT_REF, &mut errors);
    let context = fields.optional_object("context", &mut errors).unwrap_or_default();
    let context = context::cleaned(context, live.context_allows_urls)
        .map_err(|what| errors.push(("context", what)))
        .unwrap_or_default();
    fields.nothing_else(UNKNOWN_FIELD, &mut errors);
    let key = idempotency_key(&headers, &mut errors);
    let Some(number) = number.filter(|_| errors.is_empty()) else {
        return Err(ApiError::Fields(errors).into());
    };
    // Whoever chose the same key is another, and may not have the answer: where callers have no names, by their address.
    let asker = client.map_or_else(|| caller.0.to_string(), |client| client.to_string());
    let request = RegisterRequest {
        number,
        client,
        locale: wanted.map_or_else(|| locale(&headers), Locale),
        context,
        client_ref,
        request: key.map(|key| RequestKey {
            key: format!("{asker}\n{key}"),
            body,
        }),
    };
    let may_come_again = request.request.is_some();
    let registered = live.verifier.register(request).await;
    let mut registered = registered.map_err(ApiError::Register)?;
    if let Some(answer) = registered.answer.take() {
        return Ok(created(registered.id, answer));
    }
    let (found, client_ref) = live
        .verifier
        .find(registered.id)
        .await
        .map_err(ApiError::Store)?
        .ok_or(ApiError::NoVerification)?;
    let verification = Verification {
        // It may not be recorded yet.
        delivery: Delivery::Sent,
        ..found
    };
    let begun = BegunBody {
        verification: VerificationBody::of(&verification, client_ref, &live.backend.name),
        session_token: registered.session_token.expose().to_owned(),
    };
    let answer = serde_json::to_string(&begun).map_err(|_| ApiError::Defect)?;
    let answer = Answer(Zeroizing::new(answer));
    if may_come_again {
        live.verifier.keep_answer(registered.id, answer.clone()).await;
    }
    Ok(created(registered.id, answer))
}

fn created(id: VerificationId, Answer(body): Answer) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "application/json".to_owned()),
        (header::LOCATION, format!("/v1/verifications/{id}")),
    ];
    let began = Extension(Began(id));
    (StatusCode::CREATED, began, headers, body.to_string()).into_response()
}

/// Printable ASCII, as a header is.
fn idempotency_key(headers: &HeaderMap, errors: &mut Vec<FieldError>) -> Option<String> {
    let key = headers.get(IDEMPOTENCY_KEY)?.to_str().unwrap_or_default().trim();
    if (1..=MAX_IDEMPOTENCY_KEY).contains(&key.len()) {
        return Some(key.to_owned());
    }
    errors.push(("Idempotency-Key", "Must be 1 to 255 characters of ASCII."));
    None
}
