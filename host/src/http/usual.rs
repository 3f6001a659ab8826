//! What applies to every request and answer, whatever the route.

use axum::{
    extract::Request,
    http::{HeaderMap, HeaderValue, Method, Uri, header, uri::PathAndQuery},
    middleware::Next,
    response::Response,
};

const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
const NO_SNIFFING: HeaderValue = HeaderValue::from_static("nosniff");

/// The URI of a request as the client sent it: an extension of a request whose trailing slash was removed.
#[derive(Clone)]
pub(super) struct AsSent(pub(super) Uri);

/// Middleware around all routes: removes a trailing slash before the route is chosen, and adds `OPTIONS` to `Allow`
/// afterwards.
///
/// Every path works with and without one trailing slash. No answer may be stored by a cache: it may hold a session
/// token, or be true for a moment only. No browser may guess another media type than the one it is sent with.
pub(super) async fn around(mut request: Request, next: Next) -> Response {
    if let Some(uri) = without_trailing_slash(request.uri()) {
        let sent = std::mem::replace(request.uri_mut(), uri);
        request.extensions_mut().insert(AsSent(sent));
    }
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    mark(headers);
    // The routes list their own methods; OPTIONS is answered for all of them.
    let allow = headers.get(header::ALLOW).and_then(|allow| allow.to_str().ok());
    if let Some(allow) = allow.and_then(with_options) {
        headers.insert(header::ALLOW, allow);
    }
    response
}

/// Forbids caches to store an answer, and browsers to guess its media type.
fn mark(headers: &mut HeaderMap) {
    headers.insert(header::CACHE_CONTROL, NO_STORE);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, NO_SNIFFING);
}

/// The URI without its trailing slash; `None`: it has none, or is only a slash.
fn without_trailing_slash(uri: &Uri) -> Option<Uri> {
    let path = uri.path().strip_suffix('/').filter(|path| !path.is_empty())?;
    let path = match uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(path).ok()?);
    Uri::from_parts(parts).ok()
}

/// The methods of an `Allow` header, with `OPTIONS` added.
fn with_options(allow: &str) -> Option<HeaderValue> {
    let options = Method::OPTIONS;
    let methods = allow
        .split(',')
        .map(str::trim)
        .filter(|method| !method.is_empty());
    let mut methods: Vec<&str> = methods.collect();
    if !methods.contains(&options.as_str()) {
        methods.push(options.as_str());
    }
    HeaderValue::from_str(&methods.join(", ")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_trailing_slash_is_taken_off() {
        for (given, left) in [
            ("/healthz/", "/healthz"),
            ("/v1/decisions/?last=1", "/v1/decisions?last=1"),
            ("http://localhost/readyz/", "http://localhost/readyz"),
            ("/healthz//", "/healthz/"),
        ] {
            let uri = without_trailing_slash(&given.parse().unwrap());
            assert_eq!(uri.map(|uri| uri.to_string()).as_deref(), Some(left), "{given}");
        }
        for kept in ["/", "/healthz", "/healthz?a=/", "*"] {
            assert_eq!(without_trailing_slash(&kept.parse().unwrap()), None, "{kept}");
        }
    }
}
