//! Who may use the native API.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::header,
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::{App, error::ApiError, problem::Problem};

/// Who makes a request: the name of the key; empty where no keys are set up.
#[derive(Clone, Debug)]
pub(super) struct Caller(pub(super) Arc<str>);

/// Lets through who has a key; everybody, where no keys are set up.
pub(super) async fn authenticate(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let live = app.live.get();
    let caller = if live.keys.is_empty() {
        Some(Arc::from(""))
    } else {
        let given = bearer(&request).unwrap_or_default();
        let known = live.keys.iter().find(|(_, digest)| digest.is_of(given));
        known.map(|(name, _)| Arc::from(name.as_str()))
    };
    match caller {
        Some(name) => {
            request.extensions_mut().insert(Caller(name));
            next.run(request).await
        }
        None => Problem::from(ApiError::Unauthorized).into_response(),
    }
}

fn bearer(request: &Request) -> Option<&str> {
    let value = request.headers().get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, key) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
}
