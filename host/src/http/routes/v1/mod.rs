//! The native API: a folder as its URL, a file a route.

pub(in crate::http) mod backends;
pub(in crate::http) mod check;
pub(in crate::http) mod decisions;
pub(in crate::http) mod resend;
pub(in crate::http) mod verification;
pub(in crate::http) mod verifications;

use axum::{extract::Request, http::Method};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    clock::UnixMillis,
    http::{App, error::ApiError, problem::Problem},
    model::{ClientAddress, Verification, VerificationId},
};

/// A verification, without its number and its code.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct VerificationBody {
    /// Names it: 32 hexadecimal digits.
    #[schema(example = "018bcfe568001f2e3d4c5b6a79880000")]
    id: String,
    /// `pending`, `verified`, `expired` (the code came too late, never, or in another session), `cancelled`, `failed`
    /// (all attempts are used up) or `not_sent`.
    #[schema(example = "pending")]
    status: &'static str,
    /// RFC 3339, in UTC.
    #[schema(format = DateTime, example = "2023-11-14T22:13:20Z")]
    created_at: String,
    /// When the code stops being good.
    #[schema(format = DateTime, example = "2023-11-14T22:23:20Z")]
    expires_at: String,
    /// When the code came back.
    #[schema(format = DateTime)]
    #[serde(skip_serializing_if = "Option::is_none")]
    verified_at: Option<String>,
    /// From when on the limits of the number have room for another SMS. Not there once the verification is over.
    #[schema(format = DateTime, example = "2023-11-14T22:14:20Z")]
    #[serde(skip_serializing_if = "Option::is_none")]
    resend_at: Option<String>,
    /// How many wrong codes the verification survives.
    attempts_remaining: u32,
    delivery: DeliveryBody,
    /// The caller's own name for the verification.
    #[serde(skip_serializing_if = "Option::is_none")]
    client_ref: Option<String>,
}

/// What became of the last SMS.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct DeliveryBody {
    /// `pending`, `sent` (the provider took it), or the class of a failure.
    #[schema(example = "sent")]
    status: &'static str,
    /// The backend that sends: `nexmo.NexmoBackend`.
    #[schema(example = "nexmo.NexmoBackend")]
    backend: String,
}

impl VerificationBody {
    fn of(verification: &Verification, client_ref: Option<String>, backend: &str) -> Self {
        Self {
            id: verification.id.to_string(),
            status: verification.status.as_str(),
            created_at: verification.created_at.rfc3339(),
            expires_at: verification.expires_at.rfc3339(),
            verified_at: verification.verified_at.map(UnixMillis::rfc3339),
            // Whoever waits until then must not come too early.
            resend_at: verification.resend_at.map(|at| at.whole_second().rfc3339()),
            attempts_remaining: verification.attempts_remaining,
            delivery: DeliveryBody {
                status: verification.delivery.as_str(),
                backend: backend.to_owned(),
            },
            client_ref,
        }
    }
}

/// An error of the native API (RFC 9457). `code` is stable; the texts are for people.
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub(in crate::http) struct ProblemBody {
    r#type: String,
    title: String,
    status: u16,
    /// The machine code, the same as on the drop-in endpoints.
    #[schema(example = "security_code_invalid")]
    code: String,
    detail: Option<String>,
    /// What is wrong with each field.
    errors: Option<std::collections::BTreeMap<String, Vec<String>>>,
    /// How many wrong codes the verification survives; of a failed check.
    attempts_remaining: Option<u32>,
}

/// Who asks, for the limit of an address. Who shows a key is a server that asks for all of its users.
fn client(app: &App, request: &Request) -> Option<ClientAddress> {
    let has_no_keys = app.live.get().keys.is_empty();
    has_no_keys
        .then(|| super::client(request, &app.trusted_proxies))
        .flatten()
}

/// The id in a path; what cannot be one names nothing.
fn id(text: &str) -> Result<VerificationId, Problem> {
    text.parse().map_err(|_| ApiError::NoVerification.into())
}

pub(in crate::http) async fn method_not_allowed(method: Method) -> Problem {
    ApiError::NotAllowed(method).into()
}

pub(in crate::http) async fn not_found() -> Problem {
    ApiError::NotFound.into()
}
