//! `Idempotency-Key`: a client may repeat a request under a key that it chose, and the request is done only once. One
//! mechanism serves every route of the native API that has an effect.
//!
//! The store records a request in the same transaction that does its work, and later its first answer, encrypted. A
//! request that had no effect is not recorded, so that the client can correct it and send it again.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use zeroize::Zeroizing;

use super::{
    App,
    access::Began,
    body::{MAX_BODY_BYTES, whole},
    error::ApiError,
    keys::KeyName,
    problem::Problem,
    routes::client,
};
use crate::store::{Answer, RequestKey, Seen};

const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// The most characters of a key.
const MAX_KEY: usize = 255;
const NOT_A_KEY: &str = "Must be 1 to 255 characters of ASCII.";
/// The headers that are stored with an answer.
const KEPT_HEADERS: [HeaderName; 2] = [header::CONTENT_TYPE, header::LOCATION];

/// The requests with a key that this process is serving now.
#[derive(Default)]
pub(super) struct UnderWay(Mutex<HashSet<String>>);

/// Reserves a key, so that only one task serves it. Dropping this releases the key.
struct Turn<'a> {
    under_way: &'a UnderWay,
    key: String,
}

impl UnderWay {
    /// Reserves the key; `None`: another task is serving it.
    fn begin(&self, key: &str) -> Option<Turn<'_>> {
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        keys.insert(key.to_owned()).then(|| Turn {
            under_way: self,
            key: key.to_owned(),
        })
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut keys = self.under_way.0.lock().unwrap_or_else(PoisonError::into_inner);
        keys.remove(&self.key);
    }
}

/// An answer in the form in which it is stored.
#[derive(Serialize, Deserialize)]
struct Kept {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
}

/// Middleware for the native API: serves a request with a key only once.
pub(super) async fn once(
    State((app, under_way)): State<(Arc<App>, Arc<UnderWay>)>,
    request: Request,
    next: Next,
) -> Response {
    let does_something = [Method::POST, Method::DELETE].contains(request.method());
    if !does_something || !request.headers().contains_key(IDEMPOTENCY_KEY) {
        return next.run(request).await;
    }
    match answer(&app, &under_way, request, next).await {
        Ok(response) => response,
        Err(error) => Problem::from(error).into_response(),
    }
}

/// Answers from the store if the request was answered before; otherwise serves it, and stores its answer.
async fn answer(app: &App, under_way: &UnderWay, request: Request, next: Next) -> Result<Response, ApiError> {
    let chosen =
        chosen(request.headers()).ok_or_else(|| ApiError::Fields(vec![("Idempotency-Key", NOT_A_KEY)]))?;
    // Two callers that chose the same key must not get each other's answers. So the key belongs to the API key's name,
    // or without one to the client's address.
    let name = request.extensions().get();
    let name = name.map(|KeyName(name)| name.to_string());
    let address = || client(&request, &app.trusted_proxies).map(|client| client.to_string());
    let asker = name.or_else(address).unwrap_or_default();
    let path = request.uri().path();
    // The same key on another route is another request, and is refused by the store.
    let head = format!("{} {}\n", request.method(), path.trim_end_matches('/'));
    let (parts, bytes) = whole(request, app.read_timeout).await?;
    let key = RequestKey {
        key: format!("{asker}\n{chosen}"),
        body: [head.as_bytes(), &same_for_same_fields(&bytes)].concat(),
    };
    // The store cannot see a request whose work is not yet done, so a second one could start at the same time.
    let _turn = under_way.begin(&key.key).ok_or(ApiError::UnderWay)?;
    let verifier = app.live.get().verifier.clone();
    if let Seen::Answered(answer) = verifier.seen(&key).await.map_err(ApiError::Store)?
        && let Some(response) = answered_before(&answer)
    {
        return Ok(response);
    }
    let mut request = Request::from_parts(parts, Body::from(bytes));
    request.extensions_mut().insert(key.clone());
    let response = next.run(request).await;
    if !is_final(response.status()) {
        return Ok(response);
    }
    let (parts, body) = response.into_parts();
    let body = to_bytes(body, MAX_BODY_BYTES)
        .await
        .map_err(|_| ApiError::Defect)?;
    if let Some(answer) = kept(parts.status, &parts.headers, &body)
        && let Err(error) = verifier.keep_answer(&key, &answer).await
    {
        tracing::warn!(%error, "an answer cannot be kept for when its request comes again");
    }
    Ok(Response::from_parts(parts, Body::from(body)))
}

/// The key that the client chose, if it is valid: printable ASCII, as header values are.
fn chosen(headers: &HeaderMap) -> Option<String> {
    let mut keys = headers.get_all(IDEMPOTENCY_KEY).iter();
    let key = keys.next()?.to_str().ok()?.trim();
    let is_one = keys.next().is_none() && (1..=MAX_KEY).contains(&key.len());
    is_one.then(|| key.to_owned())
}

/// A form of the body that is the same whatever the order of JSON fields and the white space between them.
fn same_for_same_fields(body: &[u8]) -> Vec<u8> {
    let fields = serde_json::from_slice::<Value>(body).map(|value| value.to_string());
    fields.map_or_else(|_| body.to_vec(), String::into_bytes)
}

/// Whether a status is the result of the request. Being under way, temporarily unavailable or limited is not: the
/// client should try again.
fn is_final(status: StatusCode) -> bool {
    let asks_again = [
        StatusCode::CONFLICT,
        StatusCode::UNPROCESSABLE_ENTITY,
        StatusCode::TOO_MANY_REQUESTS,
    ];
    !status.is_server_error() && !asks_again.contains(&status)
}

/// The form in which an answer is stored; `None`: it is not text, so it is not stored.
fn kept(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Option<Answer> {
    let header = |name: &HeaderName| {
        let value = headers.get(name)?.to_str().ok()?;
        Some((name.as_str().to_owned(), value.to_owned()))
    };
    let kept = Kept {
        status: status.as_u16(),
        headers: KEPT_HEADERS.iter().filter_map(header).collect(),
        body: String::from_utf8(body.to_vec()).ok()?,
    };
    Some(Answer(Zeroizing::new(serde_json::to_string(&kept).ok()?)))
}

/// The stored answer; `None`: an earlier version stored it in another form.
fn answered_before(Answer(kept): &Answer) -> Option<Response> {
    let kept: Kept = serde_json::from_str(kept).ok()?;
    let mut response = kept.body.into_response();
    *response.status_mut() = StatusCode::from_u16(kept.status).ok()?;
    let headers = response.headers_mut();
    for (name, value) in kept.headers {
        let name = HeaderName::try_from(name).ok()?;
        headers.insert(name, HeaderValue::try_from(value).ok()?);
    }
    let place = response.headers().get(header::LOCATION);
    let began = place.and_then(|place| place.to_str().ok()?.rsplit('/').next()?.parse().ok());
    if let Some(id) = began {
        response.extensions_mut().insert(Began(id));
    }
    Some(response)
}
