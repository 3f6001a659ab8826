//! `POST /v1/messages`: sends one text that is no verification.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::DeliveryBody;
use crate::{
    clock::Clock,
    http::{
        App, Generation,
        body::Fields,
        error::{ApiError, FieldError, TOO_LONG},
        problem::Problem,
        routes::phone_number,
        schema,
    },
    model::{PhoneNumber, segments::segments},
    store::{FoundText, RequestKey},
};

const UNKNOWN_FIELD: &str =
    "There is a field that is not known here: known are phone_number, message and channel.";
const NO_CHANNEL: &str = "There is no such channel: known is sms.";

/// The most segments of a text.
const MAX_SEGMENTS: u64 = 10;
/// The most characters that such a text can have.
pub(in crate::http) const MAX_CHARACTERS: usize = 1530;
/// The channels of an SMS.
pub(in crate::http) const CHANNELS: [&str; 1] = ["sms"];

/// A text to send.
#[derive(ToSchema)]
#[schema(as = NewMessage)]
pub(in crate::http) struct NewMessageBody {
    #[schema(schema_with = schema::phone_number)]
    phone_number: PhoneNumber,
    #[schema(schema_with = schema::message)]
    message: String,
    #[schema(schema_with = schema::channel, required = false)]
    #[expect(dead_code, reason = "there is one channel; it is in the description")]
    channel: Option<String>,
}

impl NewMessageBody {
    /// Reads all fields, and reports every faulty one at once. Unknown fields are refused.
    fn read(mut fields: Fields, live: &Generation) -> Result<Self, ApiError> {
        let mut errors = Vec::new();
        let number = fields.text("phone_number", &mut errors);
        let number = phone_number(number, live.default_region, &mut errors);
        let message = fields.text("message", &mut errors);
        if message
            .as_deref()
            .is_some_and(|text| text.chars().count() > MAX_CHARACTERS || segments(text) > MAX_SEGMENTS)
        {
            errors.push(("message", TOO_LONG));
        }
        let channel = channel(&mut fields, &mut errors);
        fields.nothing_else(UNKNOWN_FIELD, &mut errors);
        match (number, message) {
            (Some(phone_number), Some(message)) if errors.is_empty() => Ok(Self {
                phone_number,
                message,
                channel,
            }),
            _ => Err(ApiError::Fields(errors)),
        }
    }
}

/// Reads how an SMS is to go.
pub(super) fn channel(fields: &mut Fields, errors: &mut Vec<FieldError>) -> Option<String> {
    let channel = fields.optional_text("channel", MAX_CHARACTERS, errors);
    if channel
        .as_deref()
        .is_some_and(|channel| !CHANNELS.contains(&channel))
    {
        errors.push(("channel", NO_CHANNEL));
    }
    channel
}

/// A text, without its number and its words.
#[derive(Serialize, ToSchema)]
#[schema(as = Message)]
pub(in crate::http) struct MessageBody {
    #[schema(schema_with = schema::message_id)]
    id: String,
    #[schema(schema_with = schema::time)]
    created_at: String,
    delivery: DeliveryBody,
}

impl MessageBody {
    pub(super) fn of(found: &FoundText, serving: Option<&str>, clock: &Clock) -> Self {
        Self {
            id: found.message.id.to_string(),
            created_at: clock.shown(found.created_at).rfc3339(),
            delivery: DeliveryBody::of(Some(&found.message), serving, clock),
        }
    }
}

/// Send a text
///
/// Answers once the provider has taken it. It is counted in the limits of its number, of its country and of the whole
/// service, as an SMS with a code is.
#[utoipa::path(
    post,
    path = "/v1/messages",
    operation_id = "send_message",
    tag = "messages",
    request_body = NewMessageBody,
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
            description = "The text is sent.",
            body = MessageBody,
            headers(("Location" = String, description = "Where the message is: `/v1/messages/{id}`.")),
        ),
    ),
)]
pub(in crate::http) async fn send(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, Problem> {
    let key: Option<RequestKey> = request.extensions().get().cloned();
    let fields = Fields::read_json(request, app.read_timeout).await?;
    let live = app.live.get();
    let body = NewMessageBody::read(fields, &live)?;
    let verifier = live.verifier.once(key);
    let id = verifier.send_text(body.phone_number, body.message).await;
    let id = id.map_err(ApiError::Register)?;
    let found = verifier.find_text(id).await.map_err(ApiError::Store)?;
    let found = found.ok_or(ApiError::NoMessage)?;
    let only = app.fleet.only();
    let serving = only.as_ref().map(|member| &**member.backend());
    let body = MessageBody::of(&found, serving, &app.clock);
    let body = serde_json::to_string(&body).map_err(|_| ApiError::Defect)?;
    let headers = [
        (header::CONTENT_TYPE, "application/json".to_owned()),
        (header::LOCATION, format!("/v1/messages/{id}")),
    ];
    Ok((StatusCode::CREATED, headers, body).into_response())
}
