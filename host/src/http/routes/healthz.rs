//! `GET /healthz`: whether the process answers at all. Whether it can send SMS is answered by `/readyz`.

use serde::Serialize;
use utoipa::ToSchema;

use crate::http::json::Json;

/// The process answers.
#[derive(Serialize, ToSchema)]
#[schema(as = Health)]
pub(in crate::http) struct HealthBody {
    #[schema(example = "ok")]
    status: &'static str,
}

/// Whether the process answers
#[utoipa::path(
    get,
    path = "/healthz",
    operation_id = "show_health",
    tag = "health",
    responses((status = 200, description = "It answers.", body = HealthBody)),
)]
pub(in crate::http) async fn answer() -> Json<HealthBody> {
    Json(HealthBody { status: "ok" })
}
