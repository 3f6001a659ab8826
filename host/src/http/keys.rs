//! Which requests need an API key, and which scope the key must have.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::header,
    middleware::Next,
    response::Response,
};

use super::{App, error::ApiError};
use crate::model::Scope;

/// The name of the API key that a request presented: an extension of the request and of its answer. Absent if the route
/// needed no key.
#[derive(Clone, Debug)]
pub(super) struct KeyName(pub(super) Arc<str>);

/// What a route needs.
#[derive(Clone)]
pub(super) struct Need {
    pub(super) app: Arc<App>,
    pub(super) scope: Scope,
    /// Whether a key is needed even if the settings have no keys.
    pub(super) always: bool,
}

/// Middleware that lets a request through if its key has the scope. Without any keys in the settings, it lets every
/// request through, unless a key is always needed.
pub(super) async fn authorize(State(need): State<Need>, mut request: Request, next: Next) -> Response {
    let live = need.app.live.get();
    if live.keys.is_empty() && !need.always {
        return next.run(request).await;
    }
    let given = bearer(&request).unwrap_or_default();
    // The answer is the same for a missing and an unknown key.
    let Some(key) = live.keys.iter().find(|key| key.digest.is_of(given)) else {
        return ApiError::Unauthorized.told_at(request.uri().path());
    };
    let name = KeyName(Arc::clone(&key.name));
    let mut response = if key.may(need.scope) {
        request.extensions_mut().insert(name.clone());
        next.run(request).await
    } else {
        ApiError::InsufficientScope(need.scope).told_at(request.uri().path())
    };
    // For the access log, which runs outside of this layer. It names the key of a refused request too.
    response.extensions_mut().insert(name);
    response
}

/// The key in the `Authorization` header, if its scheme is `Bearer`.
fn bearer(request: &Request) -> Option<&str> {
    let value = request.headers().get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, key) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
}
