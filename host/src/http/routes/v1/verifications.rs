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

use super::VerificationBody;
use crate::{
    http::{
        App, Generation,
        access::Began,
        body::Fields,
        error::{ApiError, FieldError},
        keys::KeyName,
        problem::Problem,
        routes::{client, locale, phone_number},
        schema::{self, MAX_LOCALE},
    },
    model::{Delivery, Locale, PhoneNumber, Verification, VerificationId, context},
    store::{Answer, RequestKey},
    verifier::RegisterRequest,
};

const UNKNOWN_FIELD: &str =
    "There is a field that is not known here: known are phone_number, locale, context and client_ref.";

/// The most characters of a `client_ref`.
pub(in crate::http) const MAX_CLIENT_REF: usize = 128;
/// The most characters of an `Idempotency-Key`.
const MAX_IDEMPOTENCY_KEY: usize = 255;
const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// What to verify.
#[derive(ToSchema)]
#[schema(as = NewVerification)]
pub(in crate::http) struct NewVerificationBody {
    #[schema(schema_with = schema::phone_number)]
    phone_number: PhoneNumber,
    #[schema(schema_with = schema::locale, required = false)]
    locale: Option<Locale>,
    #[schema(schema_with = schema::context, required = false)]
    context: Map<String, Value>,
    #[schema(schema_with = schema::client_ref, required = false)]
    client_ref: Option<String>,
}

impl NewVerificationBody {
    /// What is wrong is added to `errors`, which may hold faults of the head already.
    fn read(mut fields: Fields, live: &Generation, mut errors: Vec<FieldError>) -> Result<Self, ApiError> {
        let number = fields.text("phone_number", &mut errors);
        let number = phone_number(number, live.default_region, &mut errors);
        let locale = fields.optional_text("locale", MAX_LOCALE, &mut errors);
        let client_ref = fields.optional_text("client_ref", MAX_CLIENT_REF, &mut errors);
        let context = fields.optional_object("context", &mut errors).unwrap_or_default();
        let context = context::cleaned(context, live.context_allows_urls)
            .map_err(|what| errors.push(("context", what)))
            .unwrap_or_default();
        fields.nothing_else(UNKNOWN_FIELD, &mut errors);
        match number {
            Some(phone_number) if errors.is_empty() => Ok(Self {
                phone_number,
                locale: locale.map(Locale),
                context,
                client_ref,
            }),
            _ => Err(ApiError::Fields(errors)),
        }
    }
}

/// A verification that began.
#[derive(Serialize, ToSchema)]
#[schema(as = NewlyBegun)]
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
    params((
        "Idempotency-Key" = Option<String>,
        Header,
        min_length = 1,
        max_length = 255,
        description = "With the same key and body the first answer comes again, for 24 hours, and nothing is sent.",
    )),
    responses(
        (
            status = 201,
            description = "The SMS is sent.",
            body = BegunBody,
            headers(("Location" = String, description = "Where the verification is: `/v1/verifications/{id}`.")),
        ),
    ),
)]
pub(in crate::http) async fn create(
    State(app): State<Arc<App>>,
    name: Option<Extension<KeyName>>,
    request: Request,
) -> Result<Response, Problem> {
    let headers = request.headers().clone();
    let client = client(&request, &app.trusted_proxies);
    let fields = Fields::read_json(request, app.read_timeout).await?;
    let live = app.live.get();
    let content = fields.digestible();
    let mut errors = Vec::new();
    let key = idempotency_key(&headers, &mut errors);
    let body = NewVerificationBody::read(fields, &live, errors)?;
    // Whoever chose the same key is another, and may not have the answer: where callers have no names, by their address.
    let address = client.map(|client| client.to_string());
    let asker = name
        .map(|Extension(KeyName(name))| name.to_string())
        .or(address)
        .unwrap_or_default();
    let request = RegisterRequest {
        number: body.phone_number,
        client,
        locale: body.locale.unwrap_or_else(|| locale(&headers)),
        context: body.context,
        client_ref: body.client_ref,
        request: key.map(|key| RequestKey {
            key: format!("{asker}\n{key}"),
            body: content,
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
