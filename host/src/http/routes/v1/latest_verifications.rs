//! `GET /v1/verifications?phone_number=…` or `client_ref=…`: the latest verifications of a number or of a caller's name.
//!
//! Invariant: the query, which has the number in it, reaches no log: the access log has the pattern of the route.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use serde::Serialize;
use utoipa::{
    ToSchema,
    openapi::{ObjectBuilder, RefOr, Schema, schema::Type},
};

use super::{VerificationBody, verifications::MAX_CLIENT_REF};
use crate::{
    http::{
        App,
        answer::NON_FIELD,
        error::{ApiError, FieldError, TOO_LONG},
        json::Json,
        problem::Problem,
        routes::phone_number,
        schema,
    },
    model::{Region, VerificationId},
    store::Lookup,
};

/// How many verifications are shown if the request does not say.
const USUAL: u32 = 20;
/// The most that a request may ask for.
const MAX: u32 = 100;

const EXPECTED: &str = "The query must have either phone_number or client_ref, may have limit and cursor, each once, and \
                        nothing else.";
const NOT_A_LIMIT: &str = "Ensure this value is from 1 to 100.";
const NOT_A_CURSOR: &str = "Not a cursor: use next_cursor of the answer before.";

/// The latest verifications, the latest one first.
#[derive(Serialize, ToSchema)]
#[schema(as = Verifications)]
pub(in crate::http) struct LatestBody {
    verifications: Vec<VerificationBody>,
    /// For the `cursor` of the next request. Not there where there are no more.
    #[schema(example = "018bcfe568001f2e3d4c5b6a79880000", nullable = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

/// The latest verifications of a number or of your own name for them
///
/// Either `phone_number` or `client_ref` is needed. A number has no index: all records are looked through, one request
/// at a time.
#[utoipa::path(
    get,
    path = "/v1/verifications",
    operation_id = "list_verifications",
    tag = "verifications",
    params(LatestQuery),
    responses(
        (status = 200, description = "The latest one first.", body = LatestBody),
    ),
)]
pub(in crate::http) async fn list(
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
) -> Result<Json<LatestBody>, Problem> {
    let live = app.live.get();
    let query = query.unwrap_or_default();
    let query = LatestQuery::read(&query, live.default_region).map_err(ApiError::Fields)?;
    // One more than is shown says whether there are more.
    let latest = live
        .verifier
        .latest(query.of, query.before, query.limit + 1)
        .await;
    let mut latest = latest.map_err(ApiError::Store)?;
    let shown = query.limit as usize;
    let next = (latest.len() > shown).then(|| latest[shown - 1].0.id.to_string());
    latest.truncate(shown);
    let only = app.fleet.only();
    let serving = only.as_ref().map(|member| &**member.backend());
    let body =
        |(verification, client_ref)| VerificationBody::of(&verification, client_ref, serving, &app.clock);
    Ok(Json(LatestBody {
        verifications: latest.into_iter().map(body).collect(),
        next_cursor: next,
    }))
}

/// What is asked for.
struct LatestQuery {
    of: Lookup,
    before: Option<VerificationId>,
    limit: u32,
}

impl utoipa::IntoParams for LatestQuery {
    fn into_params(
        _: impl Fn() -> Option<utoipa::openapi::path::ParameterIn>,
    ) -> Vec<utoipa::openapi::path::Parameter> {
        let parameter = |name: &str, description: &str, schema: RefOr<Schema>| {
            utoipa::openapi::path::ParameterBuilder::new()
                .name(name)
                .parameter_in(utoipa::openapi::path::ParameterIn::Query)
                .required(utoipa::openapi::Required::False)
                .description(Some(description))
                .schema(Some(schema))
                .build()
        };
        let text = || ObjectBuilder::new().schema_type(Type::String).min_length(Some(1));
        vec![
            parameter("phone_number", "Those of this number.", schema::phone_number()),
            parameter(
                "client_ref",
                "Those that their caller gave this name.",
                text().max_length(Some(MAX_CLIENT_REF)).into(),
            ),
            parameter("limit", "How many.", count()),
            parameter("cursor", "`next_cursor` of the answer before.", text().into()),
        ]
    }
}

impl LatestQuery {
    /// Reads the query. An unknown or repeated parameter is refused, since a misspelt one would otherwise be ignored.
    fn read(query: &str, region: Option<Region>) -> Result<Self, Vec<FieldError>> {
        let whole = || vec![(NON_FIELD, EXPECTED)];
        let (mut number, mut name, mut limit, mut cursor) = (None, None, None, None);
        for (parameter, value) in form_urlencoded::parse(query.as_bytes()) {
            let place = match &*parameter {
                "phone_number" => &mut number,
                "client_ref" => &mut name,
                "limit" => &mut limit,
                "cursor" => &mut cursor,
                _ => return Err(whole()),
            };
            if place.replace(value.into_owned()).is_some() {
                return Err(whole());
            }
        }
        let mut errors = Vec::new();
        let of = match (number, name) {
            (Some(number), None) => {
                phone_number(Some(with_plus(&number)), region, &mut errors).map(Lookup::Number)
            }
            (None, Some(name)) => {
                // As the request that gave it was read.
                let name = name.trim().to_owned();
                if name.chars().count() > MAX_CLIENT_REF {
                    errors.push(("client_ref", TOO_LONG));
                }
                Some(Lookup::ClientRef(name))
            }
            _ => return Err(whole()),
        };
        let limit = match limit {
            None => USUAL,
            Some(limit) => match limit.parse() {
                Ok(limit) if (1..=MAX).contains(&limit) => limit,
                _ => {
                    errors.push(("limit", NOT_A_LIMIT));
                    USUAL
                }
            },
        };
        let before = cursor.and_then(|cursor| {
            cursor
                .parse()
                .map_err(|_| errors.push(("cursor", NOT_A_CURSOR)))
                .ok()
        });
        match of {
            Some(of) if errors.is_empty() => Ok(Self { of, before, limit }),
            _ => Err(errors),
        }
    }
}

/// In a query a plus sign means a space, which few who write a URL by hand think of.
fn with_plus(number: &str) -> String {
    match number.strip_prefix(' ') {
        Some(rest) if rest.starts_with(|first: char| first.is_ascii_digit()) => format!("+{rest}"),
        _ => number.to_owned(),
    }
}

fn count() -> RefOr<Schema> {
    ObjectBuilder::new()
        .schema_type(Type::Integer)
        .minimum(Some(1))
        .maximum(Some(MAX))
        .default(Some(USUAL.into()))
        .into()
}
