//! HTTP for backends, so that a library carries neither a runtime nor TLS.
//!
//! Invariant: an error tells rightly whether the request can have left: `TRANSIENT` only when it certainly did
//! not. Redirects are not followed and nothing is tried twice. No error holds a URL, which may carry a key.

mod bounds;
mod client;
mod coding;
mod egress;
mod outbound;
mod retry_after;
mod stand_in;

use std::{
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use phone_verify_plugin_abi::{
    RawError, RawHttpRequest, RawHttpResponse,
    abi_stable::std_types::{RString, RVec, Tuple2},
    http_error, kind,
};
use reqwest::{
    Client, Method, Request, Response, Url,
    header::{HeaderMap, HeaderName, HeaderValue},
};

use self::{
    bounds::Answer,
    client::{PrivateOnly, Way},
    egress::Route,
};
pub(crate) use self::{bounds::Bounds, client::Clients, egress::Egress};
pub use self::{
    outbound::{ClientCertificate, Outbound, Proxies, Proxy},
    stand_in::{Played, SentRequest, StandIn},
};
use super::call::CallInfo;
use crate::{
    clock::Clock,
    convert::raw_error,
    model::Origin,
    trace::{REQUEST_ID, TRACEPARENT, Trace},
};

const MAX_BODY_BYTES: usize = 1 << 20;
const MAX_REQUEST_BYTES: usize = 1 << 20;
const MAX_HEADERS: usize = 64;
/// For a request outside of a call, such as in a constructor.
const DEFAULT_TIME_LIMIT: Duration = Duration::from_secs(10);
/// Kept back from the call's time, so that the backend can still say what happened.
const REPORTING_TIME: Duration = Duration::from_millis(50);

/// RFC 9110, section 15.5.8.
const PROXY_AUTHENTICATION_REQUIRED: u16 = 407;

/// The headers that are the connection's business, or the proxy's.
const FORBIDDEN_HEADERS: [&str; 10] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// What one backend's requests go through.
pub(crate) struct Http {
    pub(crate) clients: Arc<Clients>,
    pub(crate) egress: Egress,
    pub(crate) bounds: Bounds,
    pub(crate) clock: Clock,
}

impl Http {
    /// Makes one request, in this call, if there is one. It hears where the request came to an end: only what reached
    /// the provider, or tried to, says something about that.
    pub(super) async fn exchange(
        &self,
        raw: RawHttpRequest,
        call: Option<&CallInfo>,
    ) -> Result<RawHttpResponse, RawError> {
        let arises_in = |origin| {
            if let Some(call) = call {
                call.arises_in(origin);
            }
        };
        arises_in(Origin::Library);
        if tokio::runtime::Handle::try_current().is_err() {
            return Err(invalid("HTTP is offered inside of a call only"));
        }
        let limit = time_limit(raw.timeout_ms, call.map(CallInfo::time_left));
        let mut request = request(raw)?;
        if let Some(trace) = call.and_then(CallInfo::trace) {
            add_trace(request.headers_mut(), trace);
        }
        arises_in(Origin::Host);
        let stand_in = self.clients.stand_in();
        let route = self.egress.admit(request.url()).map_err(|why| {
            if let Some(network) = stand_in {
                network.denied(&why);
            }
            denied(&why)
        })?;
        let waits = AtomicBool::new(true);
        // The first request waits for its client to be made; that is time of the call too.
        let exchange = async {
            let _place = self.bounds.admit().await;
            waits.store(false, Ordering::Relaxed);
            if let Some(network) = stand_in {
                arises_in(Origin::Provider);
                let answer = network.exchange(SentRequest::of(&request)).await.into_raw()?;
                return coding::decode(answer, &mut self.bounds.answer());
            }
            let way = self.clients.way(route, request.url());
            if let (Route::Public, Some(_), Some(host)) = (route, way.proxy, request.url().host_str()) {
                egress::admit_by_proxy(host).await.map_err(|why| denied(&why))?;
            }
            let client = self.clients.get(&way).await.map_err(|error| {
                raw_error(
                    kind::TRANSIENT,
                    http_error::CONNECT,
                    &format!("the HTTP client cannot start: {error}"),
                )
            })?;
            arises_in(Origin::Provider);
            let answer = send(&client, &way, request, self.bounds.answer()).await;
            answer.map_err(|fault| match fault {
                Fault::Request(error) => error,
                Fault::Full(error) => {
                    arises_in(Origin::Host);
                    error
                }
            })
        };
        let outcome = tokio::time::timeout(limit, exchange).await;
        let mut outcome = outcome.unwrap_or_else(|_| {
            let limit_ms = limit.as_millis();
            let (kind, what) = if waits.load(Ordering::Relaxed) {
                (kind::TRANSIENT, "no end of the requests before it")
            } else {
                (kind::OUTCOME_UNKNOWN, "no answer")
            };
            Err(raw_error(
                kind,
                http_error::TIMEOUT,
                &format!("{what} within {limit_ms} ms"),
            ))
        });
        if let Ok(answer) = &mut outcome {
            retry_after::in_seconds(answer, self.clock.now());
        }
        outcome
    }
}

fn time_limit(timeout_ms: u64, time_left: Option<Duration>) -> Duration {
    let left = time_left.unwrap_or(DEFAULT_TIME_LIMIT);
    let left = left.saturating_sub(REPORTING_TIME.min(left / 4));
    match timeout_ms {
        0 => left,
        asked => left.min(Duration::from_millis(asked)),
    }
}

/// Why a request that was made has no answer.
enum Fault {
    /// What became of it.
    Request(RawError),
    /// This process holds too many bytes of answers already.
    Full(RawError),
}

impl From<RawError> for Fault {
    fn from(error: RawError) -> Self {
        Self::Request(error)
    }
}

async fn send(
    client: &Client,
    way: &Way<'_>,
    request: Request,
    mut held: Answer<'_>,
) -> Result<RawHttpResponse, Fault> {
    let fault = |error| fault(error, way);
    let mut response = client.execute(request).await.map_err(fault)?;
    let status = response.status().as_u16();
    if let (Some(proxy), PROXY_AUTHENTICATION_REQUIRED) = (way.proxy, status) {
        let why = format!(
            "the proxy {} wants other credentials than the settings give it",
            proxy.place()
        );
        return Err(raw_error(kind::TRANSIENT, http_error::CONNECT, &why).into());
    }
    let headers = headers(&response);
    if response
        .content_length()
        .is_some_and(|length| length > MAX_BODY_BYTES as u64)
    {
        return Err(too_large().into());
    }
    let mut body = RVec::new();
    while let Some(chunk) = response.chunk().await.map_err(fault)? {
        if body.len() + chunk.len() > MAX_BODY_BYTES {
            return Err(too_large().into());
        }
        if !held.grow(chunk.len()) {
            return Err(Fault::Full(too_much_held()));
        }
        body.extend_from_copy_slice(&chunk);
    }
    let answer = RawHttpResponse {
        status,
        headers,
        body,
        flags: 0,
        ext: RVec::new(),
    };
    Ok(coding::decode(answer, &mut held)?)
}

fn too_much_held() -> RawError {
    raw_error(
        kind::OUTCOME_UNKNOWN,
        http_error::TOO_LARGE,
        "the answers to the backend's requests have more than 64 MiB at once",
    )
}

fn too_large() -> RawError {
    raw_error(
        kind::OUTCOME_UNKNOWN,
        http_error::TOO_LARGE,
        &format!("the answer has more than {MAX_BODY_BYTES} bytes"),
    )
}

fn headers(response: &Response) -> RVec<Tuple2<RString, RString>> {
    response
        .headers()
        .iter()
        .map(|(name, value)| {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            Tuple2(RString::from(name.as_str()), RString::from(value))
        })
        .collect()
}

/// Reads a library's request; what would break out of a header or of the protocol is refused.
fn request(raw: RawHttpRequest) -> Result<Request, RawError> {
    let url = Url::parse(&raw.url).map_err(|error| invalid(&format!("the URL cannot be read: {error}")))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(invalid("the URL holds credentials; they belong into a header"));
    }
    let method = Method::from_bytes(raw.method.as_bytes())
        .ok()
        .filter(|method| !matches!(*method, Method::CONNECT | Method::TRACE))
        .ok_or_else(|| invalid("the method is not one of HTTP's"))?;
    if raw.headers.len() > MAX_HEADERS || raw.body.len() > MAX_REQUEST_BYTES {
        return Err(invalid(&format!(
            "a request has at most {MAX_HEADERS} headers and {MAX_REQUEST_BYTES} bytes"
        )));
    }
    let mut headers = HeaderMap::with_capacity(raw.headers.len());
    for Tuple2(name, value) in &raw.headers {
        let known = HeaderName::from_bytes(name.as_bytes())
            .ok()
            .filter(|name| !FORBIDDEN_HEADERS.contains(&name.as_str()))
            .ok_or_else(|| invalid(&format!("the header {name:?} cannot be set")))?;
        let mut value = HeaderValue::from_bytes(value.as_bytes()).map_err(|_| {
            invalid(&format!(
                "the value of the header {known} holds control characters"
            ))
        })?;
        // Most of them carry a key; the client must not log it.
        value.set_sensitive(true);
        headers.append(known, value);
    }
    let mut request = Request::new(method, url);
    *request.headers_mut() = headers;
    if !raw.body.is_empty() {
        *request.body_mut() = Some(raw.body.into_vec().into());
    }
    Ok(request)
}

/// So that a provider can be asked about a request, and its logs be joined with ours.
fn add_trace(headers: &mut HeaderMap, trace: &Trace) {
    for (name, value) in [
        (TRACEPARENT, trace.traceparent()),
        (REQUEST_ID, trace.request_id()),
    ] {
        if !headers.contains_key(name)
            && let Ok(value) = HeaderValue::from_str(value)
        {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
}

/// What went wrong with a request that was made.
fn fault(error: reqwest::Error, way: &Way<'_>) -> RawError {
    let error = error.without_url();
    let mut cause: &dyn Error = &error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
        if cause.is::<PrivateOnly>() {
            return denied(&cause.to_string());
        }
    }
    let why = cause.to_string();
    let (kind, code, what) = if error.is_builder() {
        (kind::INTERNAL, http_error::INVALID, "the request cannot be made")
    } else if error.is_connect() {
        (kind::TRANSIENT, http_error::CONNECT, "no connection")
    } else if error.is_timeout() {
        (kind::OUTCOME_UNKNOWN, http_error::TIMEOUT, "no answer in time")
    } else {
        (
            kind::OUTCOME_UNKNOWN,
            http_error::RESET,
            "the connection broke off before the answer was whole",
        )
    };
    let through = way.proxy.map_or_else(String::new, |proxy| {
        format!(" through the proxy {}", proxy.place())
    });
    raw_error(kind, code, &format!("{what}{through}: {why}"))
}

fn denied(why: &str) -> RawError {
    raw_error(
        kind::CONFIG,
        http_error::DENIED,
        &format!("the request was not made: {why}"),
    )
}

fn invalid(why: &str) -> RawError {
    raw_error(kind::INTERNAL, http_error::INVALID, why)
}
