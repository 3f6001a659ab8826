//! The native API. Folders and files are named as the URLs: one file per route.

pub(in crate::http) mod backends;
pub(in crate::http) mod check;
pub(in crate::http) mod decisions;
pub(in crate::http) mod latest_verifications;
pub(in crate::http) mod message;
pub(in crate::http) mod messages;
pub(in crate::http) mod receipts;
pub(in crate::http) mod resend;
pub(in crate::http) mod verification;
pub(in crate::http) mod verifications;

use axum::{
    extract::{FromRequestParts, Path},
    http::request::Parts,
};
use serde::Serialize;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{RefOr, Schema},
};

use crate::{
    clock::{Clock, UnixMillis},
    http::{
        body::Fields,
        error::{ApiError, FieldError},
        problem::Problem,
        schema,
    },
    model::{Delivery, FailureClass, Message, Purpose, Try, Verification, VerificationId},
};

/// A verification, without its number and its code.
#[derive(Serialize, ToSchema)]
#[schema(as = Verification)]
pub(in crate::http) struct VerificationBody {
    #[schema(schema_with = schema::id)]
    id: String,
    #[schema(schema_with = schema::status)]
    status: &'static str,
    #[schema(schema_with = schema::time)]
    created_at: String,
    /// When the code stops being good.
    #[schema(schema_with = schema::time)]
    expires_at: String,
    /// When the code came back.
    #[schema(schema_with = schema::time, required = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    verified_at: Option<String>,
    /// From when on the limits of the number have room for another SMS. Not there once the verification is over.
    #[schema(schema_with = schema::time, required = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    resend_at: Option<String>,
    /// How many wrong codes the verification survives.
    attempts_remaining: u32,
    delivery: DeliveryBody,
    /// The caller's own name for the verification.
    #[schema(nullable = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    client_ref: Option<String>,
    /// What it is for, as its caller named it.
    #[schema(nullable = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    purpose: Option<String>,
}

/// What became of the last SMS.
#[derive(Serialize, ToSchema)]
#[schema(as = Delivery)]
pub(in crate::http) struct DeliveryBody {
    #[schema(schema_with = schema::delivery)]
    status: &'static str,
    #[schema(schema_with = schema::failure_class, required = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    class: Option<&'static str>,
    /// The backend that it was sent with, or while it is `queued` will be. Not there where that is not known.
    #[schema(example = "nexmo.NexmoBackend", nullable = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    backend: Option<String>,
    /// The provider's id of it. Not there where the provider gave none.
    #[schema(example = "0C000000217B7F02", nullable = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    provider_message_id: Option<String>,
    /// When the provider's report of this state came in. Not there where nothing was reported.
    #[schema(schema_with = schema::time, required = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    reported_at: Option<String>,
    /// What the SMS cost, as the provider reported it. Not there where it did not.
    #[schema(nullable = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    cost: Option<CostBody>,
    /// In how many segments it was sent, as the provider reported it. Not there where it did not.
    #[schema(nullable = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    segments: Option<u32>,
    /// Each time that a backend was asked to send it; none while it is `queued`.
    tries: Vec<TryBody>,
}

/// A price.
#[derive(Serialize, ToSchema)]
#[schema(as = Cost)]
pub(in crate::http) struct CostBody {
    /// In decimals, to a millionth.
    #[schema(example = "0.0333")]
    amount: String,
    /// ISO 4217.
    #[schema(example = "EUR")]
    currency: String,
}

impl DeliveryBody {
    /// `serving` is the backend in use now, if there is one only: it will send a message that is still pending.
    fn of(message: Option<&Message>, serving: Option<&str>, clock: &Clock) -> Self {
        let delivery = message.map_or(Delivery::Pending, |message| message.delivery);
        let is_queued = delivery == Delivery::Pending;
        let backend = message.and_then(|message| message.backend.clone());
        let reported = message.and_then(|message| message.reported.as_ref());
        let tries = message.map(|message| message.tries.iter().map(|tried| TryBody::of(tried, message)));
        Self {
            status: delivery.state(),
            class: message.and_then(Message::class).map(FailureClass::as_str),
            backend: backend.or_else(|| serving.filter(|_| is_queued).map(str::to_owned)),
            provider_message_id: message.and_then(|message| message.provider_id.clone()),
            reported_at: reported.map(|reported| clock.shown(reported.received_at).rfc3339()),
            cost: reported.and_then(|reported| reported.cost).map(|cost| CostBody {
                amount: cost.to_string(),
                currency: cost.currency.as_str().to_owned(),
            }),
            segments: reported.and_then(|reported| reported.segments),
            tries: tries.into_iter().flatten().collect(),
        }
    }
}

/// One time that a backend was asked to send an SMS.
#[derive(Serialize, ToSchema)]
#[schema(as = Try)]
pub(in crate::http) struct TryBody {
    /// Its name in the settings: of `[backends]`, or `default`.
    #[schema(example = "default")]
    member: String,
    /// The backend.
    #[schema(example = "nexmo.NexmoBackend")]
    backend: String,
    #[schema(schema_with = schema::delivery)]
    status: &'static str,
    #[schema(schema_with = schema::failure_class, required = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    class: Option<String>,
    /// The provider's code for the failure or in its report, or the server's own.
    #[schema(example = "nexmo_9", max_length = 64, nullable = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<String>,
    /// How long it took.
    duration_ms: u64,
}

impl TryBody {
    fn of(tried: &Try, message: &Message) -> Self {
        // What was reported is about the try that the provider accepted.
        let reported = message.reported.as_ref().filter(|_| tried.class.is_none());
        let class = reported.and_then(|reported| reported.class);
        let code = reported.and_then(|reported| reported.code.clone());
        Self {
            status: message.state_of(tried),
            member: tried.member.clone(),
            backend: tried.backend.clone(),
            class: tried
                .class
                .clone()
                .or(class.map(|class| class.as_str().to_owned())),
            code: tried.code.clone().or(code),
            duration_ms: tried.duration_ms,
        }
    }
}

impl VerificationBody {
    /// `serving` is the backend in use now, if there is one only: it will send a message that is still pending.
    fn of(
        verification: &Verification,
        client_ref: Option<String>,
        serving: Option<&str>,
        clock: &Clock,
    ) -> Self {
        let shown = |at: UnixMillis| clock.shown(at).rfc3339();
        Self {
            id: verification.id.to_string(),
            status: verification.status.as_str(),
            created_at: shown(verification.created_at),
            expires_at: shown(verification.expires_at),
            verified_at: verification.verified_at.map(shown),
            // Rounded up: a client that waits until then must not be refused for being too early.
            resend_at: verification
                .resend_at
                .map(|at| clock.shown(at).whole_second().rfc3339()),
            attempts_remaining: verification.attempts_remaining,
            delivery: DeliveryBody::of(verification.messages.last(), serving, clock),
            client_ref,
            purpose: verification.purpose.clone(),
        }
    }
}

/// Reads what a verification is for. The request that begins it names it, and so does the one that checks its code.
fn purpose(fields: &mut Fields, errors: &mut Vec<FieldError>) -> Purpose {
    Purpose {
        name: fields.optional_string("purpose", Purpose::MAX_NAME, errors),
        binding: fields.optional_string("binding", Purpose::MAX_BINDING, errors),
    }
}

/// The id in a path. A text that cannot be an id is answered as an unknown id.
pub(in crate::http) struct Id(VerificationId);

impl PartialSchema for Id {
    fn schema() -> RefOr<Schema> {
        schema::id()
    }
}

impl ToSchema for Id {}

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let text = Path::<String>::from_request_parts(parts, state).await.ok();
        let id = text.and_then(|Path(text)| text.parse().ok());
        id.map(Self).ok_or_else(|| ApiError::NoVerification.into())
    }
}
