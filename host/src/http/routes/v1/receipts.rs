//! `POST` and `GET /v1/receipts/{backend}` and `/v1/receipts/{backend}/{secret}`: a provider reports about messages.
//!
//! The library of the backend checks the signature, reads the reports, and words the answer. Where its provider signs
//! nothing, the address has a secret part, and the host compares that first.
//!
//! Invariants: nothing is recorded of a request that the library refuses; what is acknowledged is durable; the secret
//! part reaches neither the log nor a metric, and a wrong one is answered like an unknown backend.

use std::{
    sync::{Arc, Once},
    time::Duration,
};

use axum::{
    extract::{Path, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};

use crate::{
    fleet::Member,
    http::{App, body, error::ApiError, problem::Problem, usual::AsSent},
    model::{IncomingRequest, ReceiptAnswer},
};

/// How many requests of providers libraries have at once.
pub const RECEIPTS_AT_ONCE: usize = 64;

/// How long a request may wait for its turn, and then for the library.
const TIME_LIMIT: Duration = Duration::from_secs(5);

/// Header fields of an answer that a library may set; and all that begin with `x-`.
const FROM_LIBRARY: [HeaderName; 3] = [
    header::CONTENT_TYPE,
    header::RETRY_AFTER,
    header::WWW_AUTHENTICATE,
];

/// Report about messages
///
/// For the provider of the backend. Body, query and answer are those of its own protocol.
#[utoipa::path(
    post,
    path = "/v1/receipts/{backend}",
    operation_id = "report_by_post",
    tag = "receipts",
    params(("backend" = String, Path, description = "The name of the backend in the settings.")),
    responses((status = 200, description = "As the provider expects it.")),
)]
pub(in crate::http) async fn post(
    State(app): State<Arc<App>>,
    Path(backend): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    Ok(take(&app, &backend, None, request).await?)
}

/// Report about messages in a query
///
/// For the provider of the backend. The query and the answer are those of its own protocol.
#[utoipa::path(
    get,
    path = "/v1/receipts/{backend}",
    operation_id = "report_by_get",
    tag = "receipts",
    params(("backend" = String, Path, description = "The name of the backend in the settings.")),
    responses((status = 200, description = "As the provider expects it.")),
)]
pub(in crate::http) async fn get(
    State(app): State<Arc<App>>,
    Path(backend): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    Ok(take(&app, &backend, None, request).await?)
}

/// Report about messages to a secret address
///
/// For the provider of the backend, if it signs nothing. Body, query and answer are those of its own protocol.
#[utoipa::path(
    post,
    path = "/v1/receipts/{backend}/{secret}",
    operation_id = "report_to_secret_by_post",
    tag = "receipts",
    params(
        ("backend" = String, Path, description = "The name of the backend in the settings."),
        ("secret" = String, Path, description = "As `phone-verify backends` shows it."),
    ),
    responses((status = 200, description = "As the provider expects it.")),
)]
pub(in crate::http) async fn post_to_secret(
    State(app): State<Arc<App>>,
    Path((backend, secret)): Path<(String, String)>,
    request: Request,
) -> Result<Response, Problem> {
    Ok(take(&app, &backend, Some(&secret), request).await?)
}

/// Report about messages to a secret address in a query
///
/// For the provider of the backend, if it signs nothing. The query and the answer are those of its own protocol.
#[utoipa::path(
    get,
    path = "/v1/receipts/{backend}/{secret}",
    operation_id = "report_to_secret_by_get",
    tag = "receipts",
    params(
        ("backend" = String, Path, description = "The name of the backend in the settings."),
        ("secret" = String, Path, description = "As `phone-verify backends` shows it."),
    ),
    responses((status = 200, description = "As the provider expects it.")),
)]
pub(in crate::http) async fn get_at_secret(
    State(app): State<Arc<App>>,
    Path((backend, secret)): Path<(String, String)>,
    request: Request,
) -> Result<Response, Problem> {
    Ok(take(&app, &backend, Some(&secret), request).await?)
}

async fn take(app: &App, name: &str, secret: Option<&str>, request: Request) -> Result<Response, ApiError> {
    let members = app.fleet.members();
    let entry = members.named(name).ok_or(ApiError::NoReceiptsHere)?;
    let member = Arc::clone(&entry.member);
    let takes = member.sender().takes_receipts().ok_or(ApiError::NoReceiptsHere)?;
    let verifier = &app.live.get().verifier;
    let count = |outcome| app.metrics.receipts.asked(member.backend(), outcome);
    let is_addressed = match secret {
        Some(secret) => verifier.is_receipt_secret(name, secret),
        None => takes.are_signed,
    };
    if !is_addressed {
        count("wrong_address");
        return Err(ApiError::NoReceiptsHere);
    }
    let incoming = read(app, request).await?;
    let mut answer = ask(app, &member, incoming)
        .await
        .inspect_err(|_| count("failed"))?;
    if let Some(fault) = answer.out_of_bounds() {
        count("out_of_bounds");
        let backend = &**member.backend();
        tracing::warn!(
            backend,
            reason = fault,
            "the answer of a library to a provider cannot be used"
        );
        return Err(ApiError::ReceiptNotTaken);
    }
    let outcome = if matches!(answer.status, 401 | 403) {
        "refused"
    } else {
        "taken"
    };
    let reports = std::mem::take(&mut answer.reports);
    let recorded = verifier.record_reports(member.name(), member.backend(), reports);
    recorded.await.map_err(ApiError::Store)?;
    count(outcome);
    Ok(answered(answer))
}

/// Has the library of a member read a request.
async fn ask(app: &App, member: &Member, incoming: IncomingRequest) -> Result<ReceiptAnswer, ApiError> {
    // Held until the library has answered, so that a reload waits for it.
    let turn = tokio::time::timeout(TIME_LIMIT, app.receipts_under_way.acquire()).await;
    let Ok(Ok(_turn)) = turn else {
        return Err(ApiError::ReceiptNotTaken);
    };
    let _held = member.hold();
    member
        .sender()
        .receive(incoming, TIME_LIMIT)
        .await
        .map_err(|failure| {
            tracing::warn!(
                backend = &**member.backend(),
                class = failure.class.as_str(),
                origin = failure.origin.as_str(),
                code = failure.code,
                reason = failure.message,
                "a library could not read what its provider reports"
            );
            ApiError::ReceiptNotTaken
        })
}

async fn read(app: &App, request: Request) -> Result<IncomingRequest, ApiError> {
    let (parts, body) = body::whole(request, app.read_timeout).await?;
    let sent = parts
        .extensions
        .get::<AsSent>()
        .map_or(&parts.uri, |AsSent(uri)| uri);
    let method = if parts.method == Method::HEAD {
        &Method::GET
    } else {
        &parts.method
    };
    Ok(IncomingRequest {
        method: method.to_string(),
        url: as_the_provider_sees(app, sent, &parts.headers),
        headers: parts
            .headers
            .iter()
            .map(|(name, value)| {
                let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
                (name.as_str().to_owned(), value)
            })
            .collect(),
        body: body.into(),
    })
}

/// The URL that the provider signed: below `[server] public_url`, or else as it can be guessed.
fn as_the_provider_sees(app: &App, sent: &Uri, headers: &HeaderMap) -> String {
    static TOLD: Once = Once::new();
    let path = sent.path_and_query().map_or("/", |path| path.as_str());
    if let Some(public_url) = &app.public_url {
        return format!("{public_url}{path}");
    }
    TOLD.call_once(|| {
        tracing::warn!(
            "a provider reports about messages, and [server] public_url is not set: signatures are checked over \
             http:// and the Host of the request, which is wrong behind a proxy; set public_url to what the provider is \
             given"
        );
    });
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    format!("http://{}{path}", host.unwrap_or_default())
}

/// The answer of the library, as far as it may say how this server answers.
fn answered(answer: ReceiptAnswer) -> Response {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK);
    let mut response = (status, answer.body).into_response();
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_TYPE);
    for (name, value) in answer.headers {
        let Ok(name) = HeaderName::try_from(name) else {
            continue;
        };
        let may_be_set = FROM_LIBRARY.contains(&name) || name.as_str().starts_with("x-");
        if may_be_set && let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    }
    response
}
