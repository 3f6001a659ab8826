//! Keeps web pages of other sites from using the service through a user's browser, unless the settings name their
//! origin.
//!
//! A browser lets any page send forms, and requests that look like forms, to any server; a page could send SMS that
//! way. The browser names the sender in `Sec-Fetch-Site` and `Origin`. Other clients send neither, so these rules do
//! not affect them. The order of the rules is that of Go's `http.CrossOriginProtection`. Reading answers is prevented
//! by the browser (CORS, fetch.spec.whatwg.org): it shows an answer to a page of another site only if the answer names
//! that site.
//!
//! A page can also make its own name resolve to this machine (DNS rebinding). Then the browser takes this server for
//! the page's own. Therefore, over plain HTTP, only names that another site cannot have count as this server's own:
//! `localhost`, IP addresses, names without a dot, and the host of `[server] public_url`. With HTTPS, the certificate
//! proves the name, but only if the request itself came over HTTPS, to a proxy in front of this server: a page that was
//! loaded over HTTPS can still send a form to the same name over plain HTTP. Therefore, a request that a form can make
//! must show that it came through a proxy.

use std::{net::IpAddr, sync::Arc};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header, uri::Authority},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::{App, error::ApiError};
use crate::model::{PageOrigin, Peer, PublicUrl};

const ALLOWED_METHODS: HeaderValue = HeaderValue::from_static("GET, POST, DELETE");
const ALLOWED_HEADERS: HeaderValue =
    HeaderValue::from_static("Authorization, Content-Type, Idempotency-Key, X-Request-Id");
const EXPOSED_HEADERS: HeaderValue = HeaderValue::from_static("Location, Retry-After, X-Request-Id");
/// How long a browser may reuse the answer to a preflight request.
const MAX_AGE_SECONDS: HeaderValue = HeaderValue::from_static("3600");

const SEC_FETCH_SITE: &str = "sec-fetch-site";

/// The media types that an HTML form can send.
const FORM_MEDIA_TYPES: [&str; 3] = [
    "application/x-www-form-urlencoded",
    "multipart/form-data",
    "text/plain",
];
/// Header fields that proxies add to a request. Each proxy adds some of them.
const FIELDS_OF_PROXIES: [&str; 6] = [
    "forwarded",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-real-ip",
];

/// Middleware around all routes: refuses requests of other sites, answers preflight requests, and names allowed origins
/// in the answer.
pub(super) async fn guard(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let origin = request.headers().get(header::ORIGIN).cloned();
    let allowed = origin.filter(|origin| {
        app.allowed_origins
            .iter()
            .any(|allowed| allowed.as_str() == origin)
    });
    let mut response = match refusal(&app, &request, allowed.is_some()) {
        Some(refusal) => refusal.told_at(request.uri().path()),
        None if allowed.is_some() && is_preflight(&request) => preflight(),
        None => next.run(request).await,
    };
    // The answer depends on the origin, so a cache must not give it to a page of another one.
    if !app.allowed_origins.is_empty() {
        let headers = response.headers_mut();
        headers.append(header::VARY, HeaderValue::from_name(header::ORIGIN));
        if let Some(origin) = allowed {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED_HEADERS);
        }
    }
    response
}

/// Whether a browser asks, before the real request, whether a page may make it.
fn is_preflight(request: &Request) -> bool {
    let headers = request.headers();
    request.method() == Method::OPTIONS && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

fn preflight() -> Response {
    let headers = [
        (header::ACCESS_CONTROL_ALLOW_METHODS, ALLOWED_METHODS),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, ALLOWED_HEADERS),
        (header::ACCESS_CONTROL_MAX_AGE, MAX_AGE_SECONDS),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}

/// Middleware for routes that only this server's own pages may read, whoever connects. Unlike [`guard`], it also
/// refuses names that may belong to another site when the client is on another machine, and reading requests of other
/// sites, although a browser would hide the answer from them.
pub(super) async fn own_pages_only(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let host = host(&request);
    let refusal = if host.as_deref().is_some_and(|host| !is_own_name(&app, host)) {
        Some(ApiError::ForeignHost)
    } else {
        is_of_another_site(&app, &request, host.as_deref()).then_some(ApiError::CrossSite)
    };
    match refusal {
        Some(refusal) => refusal.told_at(request.uri().path()),
        None => next.run(request).await,
    }
}

/// Why a request is refused; `None`: it is served. `is_allowed`: the settings name its origin.
fn refusal(app: &App, request: &Request, is_allowed: bool) -> Option<ApiError> {
    let host = host(request);
    if is_rebound(app, request, host.as_deref()) {
        return Some(ApiError::ForeignHost);
    }
    let does_something = ![Method::GET, Method::HEAD, Method::OPTIONS].contains(request.method());
    let is_foreign = does_something && !is_allowed && is_of_another_site(app, request, host.as_deref());
    is_foreign.then_some(ApiError::CrossSite)
}

/// The host, with its port if there is one, that the request was sent to.
fn host(request: &Request) -> Option<String> {
    let in_target = request.uri().authority().map(Authority::as_str);
    let in_header = || request.headers().get(header::HOST)?.to_str().ok();
    in_target.or_else(in_header).map(str::to_ascii_lowercase)
}

/// Whether a browser on this machine may have been led here by a name of another site. Other clients and trusted
/// proxies may use any name.
fn is_rebound(app: &App, request: &Request, host: Option<&str>) -> bool {
    // No browser connects to a Unix socket.
    let Some(peer @ Peer::Address(address)) = request.extensions().get() else {
        return false;
    };
    let is_proxy = app.trusted_proxies.contain(*peer);
    let is_foreign = host.is_some_and(|host| !is_own_name(app, host));
    address.to_canonical().is_loopback() && !is_proxy && is_foreign && came_insecurely(request.headers())
}

/// Whether the request may come from a browser over plain HTTP. Browsers send `Accept-Language`, and `Sec-Fetch-Site`
/// only to HTTPS and `localhost`. A page can neither remove nor set that one.
fn came_insecurely(headers: &HeaderMap) -> bool {
    let origin = headers.get(header::ORIGIN);
    let is_of_secure_page = || origin.is_some_and(|origin| origin.as_bytes().starts_with(b"https://"));
    let is_secure =
        headers.contains_key(SEC_FETCH_SITE) || (is_of_secure_page() && !may_be_insecure_form(headers));
    let is_of_browser = origin.is_some() || headers.contains_key(header::ACCEPT_LANGUAGE);
    is_of_browser && !is_secure
}

/// Whether a form on a page that was loaded over HTTPS may have sent this over plain HTTP. Browsers block every other
/// request of such a page over plain HTTP (mixed content, w3c.github.io/webappsec-mixed-content). A form has only these
/// media types, and cannot set header fields, as proxies do.
fn may_be_insecure_form(headers: &HeaderMap) -> bool {
    let media_type = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    let media_type = media_type.and_then(|value| value.split(|byte| *byte == b';').next());
    let is_of_form = media_type.is_some_and(|media_type| {
        FORM_MEDIA_TYPES
            .iter()
            .any(|form| media_type.trim_ascii().eq_ignore_ascii_case(form.as_bytes()))
    });
    is_of_form && !FIELDS_OF_PROXIES.iter().any(|name| headers.contains_key(*name))
}

/// Whether a browser sent the request for a page of another site.
fn is_of_another_site(app: &App, request: &Request, host: Option<&str>) -> bool {
    let headers = request.headers();
    let origin = headers
        .get(header::ORIGIN)
        .map(|origin| origin.to_str().unwrap_or("null"));
    let public = app.public_url.as_ref().and_then(PublicUrl::origin);
    if origin.is_some() && origin == public.as_ref().map(PageOrigin::as_str) {
        return false;
    }
    if let Some(site) = headers.get(SEC_FETCH_SITE) {
        // "none": the user entered the address, or opened a bookmark.
        return site != "same-origin" && site != "none";
    }
    let peer = request.extensions().get::<Peer>();
    let is_proxy = peer.is_some_and(|peer| app.trusted_proxies.contain(*peer));
    let may_be_insecure = !is_proxy && may_be_insecure_form(headers);
    origin.is_some_and(|origin| !is_own_origin(app, origin, host, may_be_insecure))
}

/// Whether an origin is this server. `may_be_insecure`: the request may have been sent over plain HTTP by a page that
/// was loaded over HTTPS, so its name proves nothing.
fn is_own_origin(app: &App, origin: &str, host: Option<&str>, may_be_insecure: bool) -> bool {
    let Some((scheme, authority)) = origin.split_once("://") else {
        return false;
    };
    let default_port = match scheme {
        "https" => ":443",
        "http" => ":80",
        _ => return false,
    };
    let without_default = |authority: &str| {
        authority
            .strip_suffix(default_port)
            .unwrap_or(authority)
            .to_owned()
    };
    let authority = authority.to_ascii_lowercase();
    // The port counts: another port on the same host is another origin.
    let is_host = host.is_some_and(|host| without_default(host) == without_default(&authority));
    is_host && ((scheme == "https" && !may_be_insecure) || is_own_name(app, &authority))
}

/// Whether a name, with or without a port, cannot be one that another site lets resolve to this machine.
fn is_own_name(app: &App, authority: &str) -> bool {
    let name = match authority.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => authority,
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    let literal = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    let is_address = literal.unwrap_or(name).parse::<IpAddr>().is_ok();
    let is_public = app.public_url.as_ref().is_some_and(|url| url.host() == name);
    is_address || is_public || !name.contains('.') || name.ends_with(".localhost")
}
