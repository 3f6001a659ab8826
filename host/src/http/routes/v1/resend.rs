//! `POST /v1/verifications/{id}/resend`: sends the code of a verification again.

use std::sync::Arc;

use axum::extract::{Request, State};
use utoipa::ToSchema;

use super::{Id, VerificationBody, verification::shown};
use crate::{
    http::{
        App,
        body::Fields,
        error::ApiError,
        json::Json,
        problem::Problem,
        routes::{client, locale},
        schema::{self, MAX_LOCALE},
    },
    model::Locale,
    store::RequestKey,
};

const UNKNOWN_FIELD: &str = "There is a field that is not known here: only locale is known.";

/// May be left out.
#[derive(ToSchema)]
#[schema(as = Resend)]
pub(in crate::http) struct ResendBody {
    #[schema(schema_with = schema::locale, required = false)]
    locale: Option<Locale>,
}

impl ResendBody {
    /// Reads the only field. Unknown fields are refused.
    fn read(mut fields: Fields) -> Result<Self, ApiError> {
        let mut errors = Vec::new();
        let locale = fields.optional_text("locale", MAX_LOCALE, &mut errors);
        fields.nothing_else(UNKNOWN_FIELD, &mut errors);
        if !errors.is_empty() {
            return Err(ApiError::Fields(errors));
        }
        Ok(Self {
            locale: locale.map(Locale),
        })
    }
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
    params(
        ("id" = inline(Id), Path),
        (
            "Idempotency-Key" = Option<String>,
            Header,
            min_length = 1,
            max_length = 255,
            description = "With the same key and body the first answer comes again, for 24 hours, and nothing is sent.",
        ),
    ),
    request_body = ResendBody,
    responses(
        (status = 200, description = "The SMS is sent.", body = VerificationBody),
    ),
)]
pub(in crate::http) async fn resend(
    State(app): State<Arc<App>>,
    Id(id): Id,
    request: Request,
) -> Result<Json<VerificationBody>, Problem> {
    let headers = request.headers().clone();
    let client = client(&request, &app.trusted_proxies);
    let key: Option<RequestKey> = request.extensions().get().cloned();
    let body = ResendBody::read(Fields::read_json(request, app.read_timeout).await?)?;
    let live = app.live.get();
    let locale = body.locale.unwrap_or_else(|| locale(&headers));
    let found = live.verifier.find(id).await.map_err(ApiError::Store)?;
    let (_, client_ref) = found.ok_or(ApiError::NoVerification)?;
    let verification = live.verifier.once(key).resend(id, client, &locale).await;
    let verification = verification.map_err(ApiError::Resend)?;
    Ok(shown(&app, &verification, client_ref))
}
