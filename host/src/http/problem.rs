//! The bodies of errors: for the native API by RFC 9457, for the drop-in endpoints as in Django REST framework. Both
//! have the same machine codes.

use axum::{
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    answer::{Answer, Faults, NON_FIELD},
    code::Code,
    error::ApiError,
    json::Json,
};

/// The media type of [`ProblemBody`].
pub(super) const PROBLEM_JSON: &str = "application/problem+json";

/// An error of the native API.
#[derive(Debug)]
pub(super) struct Problem {
    error: ApiError,
    attempts_remaining: Option<u32>,
}

/// An error of the native API (RFC 9457). `code` is stable; the texts are for people.
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub(super) struct ProblemBody {
    /// `about:blank`: the code says which problem it is.
    #[schema(example = "about:blank")]
    r#type: &'static str,
    #[schema(example = "Bad Request")]
    title: &'static str,
    /// The status of the answer.
    #[schema(minimum = 400, maximum = 599, example = 400)]
    status: u16,
    #[schema(value_type = Code)]
    code: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    detail: Option<String>,
    /// What is wrong with each field.
    #[serde(skip_serializing_if = "Faults::is_empty")]
    #[schema(value_type = std::collections::BTreeMap<String, Vec<String>>, required = false)]
    errors: Faults,
    /// How many wrong codes the verification survives; of a failed check.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    attempts_remaining: Option<u32>,
}

/// An error of all but the native API: about the request as a whole in `detail`, or about each of its fields.
#[derive(Serialize, ToSchema)]
#[schema(as = Error)]
pub(super) struct DropInError {
    #[schema(value_type = Code)]
    code: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    detail: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    non_field_errors: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    phone_number: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    session_token: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    security_code: Option<Vec<String>>,
}

impl Problem {
    /// An error with the number of attempts that are left.
    pub(super) fn with_attempts(error: ApiError, attempts_remaining: u32) -> Self {
        Self {
            error,
            attempts_remaining: Some(attempts_remaining),
        }
    }
}

impl From<ApiError> for Problem {
    fn from(error: ApiError) -> Self {
        Self {
            error,
            attempts_remaining: None,
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        const MEDIA_TYPE: HeaderValue = HeaderValue::from_static(PROBLEM_JSON);
        let mut answer = self.error.into_answer();
        let mut errors = std::mem::take(&mut answer.fields);
        // RFC 9457 has no place for problems of all fields together, so the first of them becomes the detail.
        let general = errors
            .remove(NON_FIELD)
            .and_then(|texts| texts.into_iter().next());
        let detail = answer.detail.take().or(general);
        let detail = detail.or_else(|| {
            (!errors.is_empty()).then(|| "The request has fields that cannot be used.".to_owned())
        });
        let body = ProblemBody {
            r#type: "about:blank",
            title: answer.status.canonical_reason().unwrap_or_default(),
            status: answer.status.as_u16(),
            code: answer.code,
            detail,
            errors,
            attempts_remaining: self.attempts_remaining,
        };
        let mut response = answer.with(Json(body));
        response.headers_mut().insert(header::CONTENT_TYPE, MEDIA_TYPE);
        response
    }
}

impl DropInError {
    /// The answer of a drop-in endpoint.
    pub(super) fn answer(mut answer: Answer) -> Response {
        let mut fields = std::mem::take(&mut answer.fields);
        let body = Self {
            code: answer.code,
            detail: answer.detail.take(),
            non_field_errors: fields.remove(NON_FIELD),
            phone_number: fields.remove("phone_number"),
            session_token: fields.remove("session_token"),
            security_code: fields.remove("security_code"),
        };
        answer.with(Json(body))
    }
}
