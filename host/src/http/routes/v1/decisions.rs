//! `GET /v1/decisions`: what the guard against SMS pumping decided, and why.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use serde::Serialize;
use utoipa::{
    ToSchema,
    openapi::{ObjectBuilder, RefOr, Schema, schema::Type},
};

use crate::{
    clock::Clock,
    http::{
        App,
        answer::NON_FIELD,
        error::{ApiError, FieldError},
        json::Json,
        problem::Problem,
        schema,
    },
    model::guard::Decision,
};

/// The latest decisions, the latest one first.
#[derive(Serialize, ToSchema)]
#[schema(as = Decisions)]
pub(in crate::http) struct DecisionsBody {
    decisions: Vec<DecisionBody>,
}

/// A decision about a message that something spoke against.
#[derive(Serialize, ToSchema)]
#[schema(as = Decision)]
pub(in crate::http) struct DecisionBody {
    #[schema(schema_with = schema::time)]
    at: String,
    /// The number, masked.
    #[schema(example = "+44****34")]
    number: String,
    /// An ISO 3166 code; empty: no country's numbers are like this.
    #[schema(example = "GB")]
    country: String,
    #[schema(schema_with = schema::action)]
    action: &'static str,
    /// Whether the number had been verified before, which lets it through.
    verified_before: bool,
    #[schema(schema_with = schema::reasons)]
    reasons: Vec<String>,
}

impl DecisionBody {
    fn of(decision: Decision, clock: &Clock) -> Self {
        Self {
            at: clock.shown(decision.at).rfc3339(),
            number: decision.number,
            country: decision.country,
            action: decision.action.as_str(),
            verified_before: decision.verified_before,
            reasons: decision.reasons,
        }
    }
}

/// What the pumping guard decided
#[utoipa::path(
    get,
    path = "/v1/decisions",
    operation_id = "list_decisions",
    tag = "decisions",
    params(Latest),
    responses(
        (status = 200, description = "The latest decisions.", body = DecisionsBody),
    ),
)]
pub(in crate::http) async fn show(
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
) -> Result<Json<DecisionsBody>, Problem> {
    let Latest { last } = Latest::read(query.as_deref().unwrap_or_default()).map_err(ApiError::Fields)?;
    let decisions = app.live.get().verifier.decisions(last).await;
    let decisions = decisions.map_err(ApiError::Store)?;
    let decisions = decisions.into_iter();
    let decisions = decisions
        .map(|decision| DecisionBody::of(decision, &app.clock))
        .collect();
    Ok(Json(DecisionsBody { decisions }))
}

/// How many decisions are shown if the request does not say.
const USUAL: u32 = 100;
/// The most that a request may ask for.
const MAX: u32 = 1000;

/// What is asked for.
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct Latest {
    /// How many of the latest.
    #[param(schema_with = count, required = false)]
    last: u32,
}

impl Latest {
    /// Reads the query. An unknown or repeated parameter is refused, since a misspelt one would otherwise be ignored.
    fn read(query: &str) -> Result<Self, Vec<FieldError>> {
        let mut last = None;
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            if name != "last" || last.is_some() {
                return Err(vec![(
                    NON_FIELD,
                    "The query may have last, once, and nothing else.",
                )]);
            }
            let count = value.parse().ok().filter(|count| (1..=MAX).contains(count));
            last = Some(count.ok_or_else(|| vec![("last", "Ensure this value is from 1 to 1000.")])?);
        }
        Ok(Self {
            last: last.unwrap_or(USUAL),
        })
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
