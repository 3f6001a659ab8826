//! A JSON body of an answer.
//!
//! axum has one of its own; with it comes a feature of `serde_json` that makes every backend library of the workspace
//! 24 KB larger.

use axum::{
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use serde_json::Value;

pub(super) struct Json(pub(super) Value);

impl IntoResponse for Json {
    fn into_response(self) -> Response {
        const JSON: HeaderValue = HeaderValue::from_static("application/json");
        ([(header::CONTENT_TYPE, JSON)], self.0.to_string()).into_response()
    }
}
