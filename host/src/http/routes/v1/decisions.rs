//! `GET /v1/decisions`: what the pumping guard decided, and why.

use std::sync::Arc;

use axum::{
    extract::{RawQuery, State},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use super::ProblemBody;
use crate::{
    http::{App, error::ApiError, json::Json, problem::Problem},
    model::guard::Decision,
};

/// How many are shown unless the request says otherwise.
const USUAL: u32 = 100;
/// The most.
const MAX: u32 = 1000;

/// The latest decisions, the latest one first.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct DecisionsBody {
    decisions: Vec<DecisionBody>,
}

/// A decision about a message that something spoke against.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct DecisionBody {
    /// RFC 3339, in UTC.
    #[schema(format = DateTime, example = "2023-11-14T22:13:20Z")]
    at: String,
    /// The number, masked.
    #[schema(example = "+44****34")]
    number: String,
    /// An ISO 3166 code; empty: no country's numbers are like this.
    #[schema(example = "GB")]
    country: String,
    /// `blocked`: nothing was sent; or `allowed`.
    #[schema(example = "blocked")]
    action: &'static str,
    /// Whether the number had been verified before, which lets it through.
    verified_before: bool,
    /// What spoke against it: `country_not_allowed`, `country_blocked`, `number_type_blocked`, `prefix_unverified`,
    /// `country_unverified`, `address_countries`.
    reasons: Vec<String>,
}

impl From<Decision> for DecisionBody {
    fn from(decision: Decision) -> Self {
        Self {
            at: decision.at.rfc3339(),
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
    params(("last" = Option<u32>, Query, description = "How many of the latest: 1 to 1000, else 100")),
    responses(
        (status = 200, body = DecisionsBody),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json"),
        (status = "5XX", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
pub(in crate::http) async fn show(
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let last = last(query.as_deref().unwrap_or_default())
        .ok_or_else(|| ApiError::Fields(vec![("last", NOT_A_COUNT)]))?;
    let decisions = app.live.get().verifier.decisions(last).await;
    let decisions = decisions.map_err(ApiError::Store)?;
    let decisions = decisions.into_iter().map(DecisionBody::from).collect();
    Ok(Json(json!(DecisionsBody { decisions })).into_response())
}

const NOT_A_COUNT: &str = "Ensure this value is from 1 to 1000.";

fn last(query: &str) -> Option<u32> {
    let given = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "last");
    let count = given.map_or(Some(USUAL), |(_, count)| count.parse().ok());
    count.filter(|count| (1..=MAX).contains(count))
}
