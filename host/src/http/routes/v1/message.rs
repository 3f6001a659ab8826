//! `GET /v1/messages/{id}`: what became of a text.

use std::sync::Arc;

use axum::extract::{Path, State, rejection::PathRejection};

use super::messages::MessageBody;
use crate::{
    http::{App, error::ApiError, json::Json, problem::Problem, schema},
    model::{MessageId, VerificationId},
};

/// What became of a text
#[utoipa::path(
    get,
    path = "/v1/messages/{id}",
    operation_id = "show_message",
    tag = "messages",
    params(("id" = inline(IdInPath), Path)),
    responses(
        (status = 200, description = "How it stands.", body = MessageBody),
    ),
)]
pub(in crate::http) async fn show(
    State(app): State<Arc<App>>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<MessageBody>, Problem> {
    // A text that cannot be an id is answered as an unknown id. It has the form of a verification's.
    let id = id.ok().and_then(|Path(text)| text.parse::<VerificationId>().ok());
    let id = id.map(MessageId::of_first).ok_or(ApiError::NoMessage)?;
    let found = app.live.get().verifier.find_text(id).await;
    let found = found.map_err(ApiError::Store)?.ok_or(ApiError::NoMessage)?;
    let only = app.fleet.only();
    let serving = only.as_ref().map(|member| &**member.backend());
    Ok(Json(MessageBody::of(&found, serving, &app.clock)))
}

/// For the description.
struct IdInPath;

impl utoipa::PartialSchema for IdInPath {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
        schema::message_id()
    }
}

impl utoipa::ToSchema for IdInPath {}
