//! Errors of the native API: RFC 9457, with the machine codes of the drop-in endpoints.

use axum::{
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use serde_json::{Map, Value};

use super::error::ApiError;

/// An error as `application/problem+json`.
#[derive(Debug)]
pub(super) struct Problem {
    error: ApiError,
    attempts_remaining: Option<u32>,
}

impl Problem {
    /// With the attempts that are left.
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
        const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");
        let mut answer = self.error.into_answer();
        let mut errors = std::mem::take(&mut answer.body);
        let general = errors
            .remove("non_field_errors")
            .and_then(|texts| texts.get(0).cloned());
        let detail = errors
            .remove("detail")
            .or(general)
            .or_else(|| (!errors.is_empty()).then(|| "The request has fields that cannot be used.".into()));
        let mut body = Map::new();
        // The code says which problem it is, so that the type need not.
        body.insert("type".into(), "about:blank".into());
        body.insert("title".into(), answer.status.canonical_reason().into());
        body.insert("status".into(), answer.status.as_u16().into());
        body.insert("code".into(), answer.code.into());
        body.extend(detail.map(|detail| ("detail".into(), detail)));
        if !errors.is_empty() {
            body.insert("errors".into(), Value::Object(errors));
        }
        body.extend(
            self.attempts_remaining
                .map(|left| ("attempts_remaining".into(), left.into())),
        );
        let body = Value::Object(body).to_string();
        answer.with(([(header::CONTENT_TYPE, PROBLEM_JSON)], body))
    }
}
