//! `GET /healthz`: whether the process answers at all.

use axum::{
    http::Method,
    response::{IntoResponse, Response},
};
use serde_json::json;

use crate::http::{error::ApiError, json::Json};

pub(in crate::http) async fn answer(method: Method) -> Response {
    match method {
        Method::GET | Method::HEAD => Json(json!({ "status": "ok" })).into_response(),
        other => ApiError::Method(other, "GET, HEAD").into_response(),
    }
}
