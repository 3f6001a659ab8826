//! `POST /v1/verifications/{id}/resend`: sends the code again.

use std::sync::Arc;

use axum::{
    extract::{Path, Request, State},
    response::Response,
};
use utoipa::ToSchema;

use super::{ProblemBody, VerificationBody, client, id, verification::shown};
use crate::{
    http::{App, body::Fields, error::ApiError, problem::Problem, routes::locale},
    model::Locale,
};

const UNKNOWN_FIELD: &str = "There is a field that is not known here: only locale is known.";

/// May be left out.
#[derive(ToSchema)]
#[expect(
    dead_code,
    reason = "the description of what is read field by field, so that all faults are told at once"
)]
pub(in crate::http) struct ResendBody {
    /// The language of the SMS, as in `Accept-Language`, which it goes before.
    #[schema(example = "es")]
    locale: Option<String>,
}

/// Send the code again
///
/// The same code, or another in its place, as the settings say, to the same session: neither its life nor its attempts
/// change.
#[utoipa::path(
    post,
    path = "/v1/verifications/{id}/resend",
    operation_id = "resend_security_code",
    tag = "verifications",
    params(("id" = String, Path, description = "Names the verification")),
    request_body = Option<ResendBody>,
    responses(
        (status = 200, body = VerificationBody),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json"),
        (status = "5XX", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
pub(in crate::http) async fn resend(
    State(app): State<Arc<App>>,
    Path(text): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let headers = request.headers().clone();
    let client = client(&app, &request);
    let mut fields = Fields::read_json(request, app.read_timeout).await?;
    let mut errors = Vec::new();
    let wanted = fields.optional_text("locale", 255, &mut errors);
    fields.nothing_else(UNKNOWN_FIELD, &mut errors);
    if !errors.is_empty() {
        return Err(ApiError::Fields(errors).into());
    }
    let live = app.live.get();
    let id = id(&text)?;
    let locale = wanted.map_or_else(|| locale(&headers), Locale);
    let found = live.verifier.find(id).await.map_err(ApiError::Store)?;
    let (_, client_ref) = found.ok_or(ApiError::NoVerification)?;
    let verification = live.verifier.resend(id, client, &locale).await;
    let verification = verification.map_err(ApiError::Resend)?;
    shown(&live, &verification, client_ref)
}
