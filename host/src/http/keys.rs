//! Which requests need an API key, and what it must allow.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::header,
    middleware::Next,
    response::Response,
};

use super::{App, error::ApiError};
use crate::model::Scope;

/// The name of the API key that a request showed, among the extensions of the request and of its answer. It is not
/// there where none was needed.
#[derive(Clone, Debug)]
pub(super) struct KeyName(pub(super) Arc<str>);

/// What a route needs.
#[derive(Clone)]
pub(super) struct Need {
    pub(super) app: Arc<App>,
    pub(super) scope: Scope,
    /// A key, also while the settings name none.
    pub(super) always: bool,
}

/// Lets through who has a key that allows this; and everybody, where no keys are set up and none is always needed.
pub(super) async fn authorize(State(need): State<Need>, mut request: Request, next: Next) -> Response {
    let live = need.app.live.get();
    if live.keys.is_empty() && !need.always {
        return next.run(request).await;
    }
    let given = bearer(&request).unwrap_or_default();
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
    response.extensions_mut().insert(name);
    response
}

fn bearer(request: &Request) -> Option<&str> {
    let value = request.headers().get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, key) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
}
