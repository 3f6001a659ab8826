//! `POST /v1/verifications`: begins a verification, and sends its security code.

use std::sync::Arc;

use axum::{
    Extension,
    extract::{Request, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::{VerificationBody, messages::channel, purpose};
use crate::{
    http::{
        App, Generation,
        access::Began,
        body::Fields,
        error::ApiError,
        problem::Problem,
        routes::{client, locale, phone_number},
        schema::{self, MAX_LOCALE},
    },
    model::{Locale, PhoneNumber, Purpose, VerificationId, context},
    store::RequestKey,
    verifier::RegisterRequest,
};

const UNKNOWN_FIELD: &str = "There is a field that is not known here: known are phone_number, locale, context, client_ref, \
     channel, purpose and binding.";

/// The most characters of a `client_ref`.
pub(in crate::http) const MAX_CLIENT_REF: usize = 128;

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
    #[schema(schema_with = schema::channel, required = false)]
    #[expect(dead_code, reason = "there is one channel; it is in the description")]
    channel: Option<String>,
    #[schema(schema_with = schema::purpose, required = false)]
    purpose: Option<String>,
    #[schema(schema_with = schema::binding, required = false)]
    binding: Option<String>,
}

impl NewVerificationBody {
    /// Reads all fields, and reports every faulty one at once. Unknown fields are refused.
    fn read(mut fields: Fields, live: &Generation) -> Result<Self, ApiError> {
        let mut errors = Vec::new();
        let number = fields.text("phone_number", &mut errors);
        let number = phone_number(number, live.default_region, &mut errors);
        let locale = fields.optional_text("locale", MAX_LOCALE, &mut errors);
        let client_ref = fields.optional_text("client_ref", MAX_CLIENT_REF, &mut errors);
        let channel = channel(&mut fields, &mut errors);
        let Purpose { name, binding } = purpose(&mut fields, &mut errors);
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
                channel,
                purpose: name,
                binding,
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
/// Answers once the provider has taken the SMS. While a code is pending for the number and purpose, the same code is
/// sent again, or another beside it, as the settings say, to a session of its own.
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
    request: Request,
) -> Result<Response, Problem> {
    let headers = request.headers().clone();
    let client = client(&request, &app.trusted_proxies);
    let key: Option<RequestKey> = request.extensions().get().cloned();
    let fields = Fields::read_json(request, app.read_timeout).await?;
    // The settings of this moment: a reload during the request does not change them halfway.
    let live = app.live.get();
    let body = NewVerificationBody::read(fields, &live)?;
    let request = RegisterRequest {
        number: body.phone_number,
        client,
        locale: body.locale.unwrap_or_else(|| locale(&headers)),
        context: body.context,
        client_ref: body.client_ref,
        purpose: Purpose {
            name: body.purpose,
            binding: body.binding,
        },
    };
    let registered = live.verifier.once(key).register(request).await;
    let registered = registered.map_err(ApiError::Register)?;
    // Read again, since the answer shows the delivery, which the registration does not return.
    let found = live.verifier.find(registered.id).await.map_err(ApiError::Store)?;
    let (verification, client_ref) = found.ok_or(ApiError::NoVerification)?;
    let only = app.fleet.only();
    let serving = only.as_ref().map(|member| &**member.backend());
    let begun = BegunBody {
        verification: VerificationBody::of(&verification, client_ref, serving, &app.clock),
        session_token: registered.session_token.expose().to_owned(),
    };
    let body = serde_json::to_string(&begun).map_err(|_| ApiError::Defect)?;
    Ok(created(registered.id, body))
}

/// The answer 201. The verification's id also goes to the access log.
fn created(id: VerificationId, body: String) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "application/json".to_owned()),
        (header::LOCATION, format!("/v1/verifications/{id}")),
    ];
    let began = Extension(Began(id));
    (StatusCode::CREATED, began, headers, body).into_response()
}
