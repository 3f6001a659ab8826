//! `GET /metrics`: for Prometheus, as text or as `OpenMetrics`, whichever `Accept` prefers. Put together when it is
//! asked for, from what the parts count anyway.

use std::sync::Arc;

use axum::{
    extract::State,
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};

use crate::{
    http::App,
    metrics::{Facts, Format},
    telemetry,
};

/// What the parts count, for Prometheus
#[utoipa::path(
    get,
    path = "/metrics",
    operation_id = "show_metrics",
    tag = "metrics",
    responses((
        status = 200,
        description = "As text, or as OpenMetrics if that is asked for.",
        content((String = "text/plain"), (String = "application/openmetrics-text")),
    )),
)]
pub(in crate::http) async fn answer(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    let accept = headers.get_all(header::ACCEPT).iter();
    let format = Format::wanted(accept.filter_map(|field| field.to_str().ok()));
    let live = app.live.get();
    // What cannot be read is left out.
    let caps = live.verifier.caps().await.unwrap_or_else(|error| {
        tracing::error!(%error, "how much of the caps is used cannot be read");
        Vec::new()
    });
    let conversion = live.verifier.conversion().await.unwrap_or_else(|error| {
        tracing::error!(%error, "the conversion cannot be computed");
        None
    });
    let page = app.metrics.page(&Facts {
        backends: &app.fleet.status(),
        log_lines_lost: telemetry::lost_lines(),
        connections: &app.connections.counts(),
        caps: &caps,
        conversion,
        started_at: app.started_at,
    });
    let about = [
        (header::CONTENT_TYPE, format.media_type()),
        (header::VARY, "accept"),
    ];
    (about, format.write(&page)).into_response()
}
