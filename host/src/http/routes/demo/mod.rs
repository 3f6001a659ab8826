//! `GET /` and `/demo/…`: the page of `serve --demo`, on which a visitor registers a number, sees the SMS arrive on a
//! phone, and verifies it, with the requests as curl would make them.
//!
//! Invariants: a daemon that is no demo has none of these routes, because the page needs the texts of the SMS. Only a
//! page of this server reads them (`cross_site`). The page loads nothing from other hosts and runs no code but its own
//! file, which the `Content-Security-Policy` makes the browser enforce. None of it is part of the API, so
//! `/openapi.json` does not describe it.

mod phone;

use std::{convert::Infallible, future::ready, sync::Arc};

use axum::{
    Router,
    extract::State,
    http::{HeaderValue, header},
    middleware::from_fn_with_state,
    response::sse::{Event, KeepAlive, Sse},
    routing::{MethodRouter, get},
};
use futures_util::{Stream, StreamExt};

pub use phone::DemoPhone;

use crate::http::{App, cross_site};

const HTML: &str = "text/html; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const ICON: &str = "image/svg+xml";

/// Everything that the page may load or do: its own files, requests to this server, a form without the script.
/// `require-trusted-types-for` keeps the script from making HTML of an answer.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'";

/// The page, its files, and what arrives on the phone.
pub(in crate::http) fn routes(app: &Arc<App>, phone: &Arc<DemoPhone>) -> Router<Arc<App>> {
    let messages = get(messages)
        .with_state(Arc::clone(phone))
        .layer(from_fn_with_state(Arc::clone(app), cross_site::own_pages_only));
    Router::new()
        .route("/", file(HTML, include_str!("index.html")))
        .route("/demo/style.css", file(STYLE, include_str!("style.css")))
        .route("/demo/page.js", file(SCRIPT, include_str!("page.js")))
        .route("/demo/icon.svg", file(ICON, include_str!("icon.svg")))
        .route("/demo/messages", messages)
}

/// A part of the page. The policy is on each of them, for an icon can be opened as a document too.
fn file(media_type: &'static str, content: &'static str) -> MethodRouter<Arc<App>> {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(media_type)),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ];
    get(move || ready((headers, content)))
}

/// Each SMS as a server-sent event, beginning with the ones that the phone has; ends when the daemon is to stop.
async fn messages(State(phone): State<Arc<DemoPhone>>) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let events = phone.follow().map(|sms| Ok(Event::default().data(sms.to_json())));
    Sse::new(events).keep_alive(KeepAlive::default())
}
