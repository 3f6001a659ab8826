//! The routes. One file per route, named as its URL.

pub(super) mod demo;
pub(super) mod healthz;
pub(super) mod metrics;
pub(super) mod phone_register;
pub(super) mod phone_verify;
pub(super) mod readyz;
pub(super) mod v1;

use std::sync::Once;

use axum::{
    extract::Request,
    http::{HeaderMap, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use serde_json::{Map, Value, json};

use super::error::{ApiError, FieldError, NOT_A_PHONE_NUMBER, NOT_A_STRING, NULL_CHARACTER};
use crate::{
    http::{json::Json, keys::KeyName, media_type::accepts_json},
    model::{ClientAddress, Locale, Peer, PhoneNumber, Region, TrustedProxies},
};

/// The prefix of django-phone-verify's endpoints.
const DROP_IN: &str = "/api/phone/";

/// The methods that some route has.
const ALL_METHODS: &str = "GET, HEAD, POST, DELETE, OPTIONS";

/// Answers a path that no route has, in the form of the API that the path belongs to.
pub(super) async fn not_found(method: Method, uri: Uri) -> Response {
    // `OPTIONS *` asks about the server, not about one of its resources (RFC 9110, section 9.3.7).
    if method == Method::OPTIONS && uri.path() == "*" {
        return (StatusCode::NO_CONTENT, [(header::ALLOW, ALL_METHODS)]).into_response();
    }
    ApiError::NotFound.told_at(uri.path())
}

/// Answers a method that a route does not have. Every route has `OPTIONS`; the router adds the other methods to
/// `Allow`.
pub(super) async fn method_not_allowed(request: Request) -> Response {
    let (method, path) = (request.method(), request.uri().path());
    if path.starts_with(DROP_IN)
        && let Err(error) = negotiated(request.headers())
    {
        return error.into_response();
    }
    if method == Method::OPTIONS {
        return StatusCode::NO_CONTENT.into_response();
    }
    ApiError::Method(method.clone()).told_at(path)
}

/// Checks first whether the client accepts JSON, as Django REST framework does.
fn negotiated(headers: &HeaderMap) -> Result<(), ApiError> {
    if accepts_json(headers) {
        Ok(())
    } else {
        Err(ApiError::NotAcceptable)
    }
}

/// Describes an endpoint as Django REST framework does. `fields` are pairs of a name and a label.
fn description(headers: &HeaderMap, name: &str, fields: &[(&str, &str)]) -> Result<Response, ApiError> {
    negotiated(headers)?;
    let fields: Map<String, Value> = fields
        .iter()
        .map(|(field, label)| {
            let about = json!({ "type": "string", "required": true, "read_only": false, "label": label });
            ((*field).to_owned(), about)
        })
        .collect();
    let description = json!({
        "name": name,
        "description": "",
        "renders": ["application/json"],
        "parses": ["application/json", "application/x-www-form-urlencoded", "multipart/form-data"],
        "actions": { "POST": fields },
    });
    Ok(([(header::ALLOW, "POST, OPTIONS")], Json(description)).into_response())
}

/// Parses the phone number of a request. A problem is added to `errors`.
fn phone_number(
    text: Option<String>,
    region: Option<Region>,
    errors: &mut Vec<FieldError>,
) -> Option<PhoneNumber> {
    // For django-phone-verify, a value that is not a text is simply an invalid number.
    for (name, what) in errors.iter_mut() {
        if *name == "phone_number" && [NOT_A_STRING, NULL_CHARACTER].contains(what) {
            *what = NOT_A_PHONE_NUMBER;
        }
    }
    let number = PhoneNumber::parse(&text?, region);
    number
        .map_err(|_| errors.push(("phone_number", NOT_A_PHONE_NUMBER)))
        .ok()
}

/// The language that the client prefers, from `Accept-Language`.
fn locale(headers: &HeaderMap) -> Locale {
    // Several header fields are one list (RFC 9110, section 5.3).
    let fields = headers.get_all(header::ACCEPT_LANGUAGE).iter();
    let fields: Vec<&str> = fields.filter_map(|field| field.to_str().ok()).collect();
    Locale(fields.join(","))
}

/// The client that the limit of an address counts for. `None` for a request with an API key, whose caller acts for many
/// users, and for one without a connection.
pub(in crate::http) fn client(request: &Request, trusted_proxies: &TrustedProxies) -> Option<ClientAddress> {
    if request.extensions().get::<KeyName>().is_some() {
        return None;
    }
    address(request, trusted_proxies)
}

/// The address that a request comes from; `None`: it came over no connection.
pub(super) fn address(request: &Request, trusted_proxies: &TrustedProxies) -> Option<ClientAddress> {
    let peer: Peer = *request.extensions().get()?;
    // A value that is not a text cannot be an address.
    let values = |name: &str| -> Vec<&str> {
        let values = request.headers().get_all(name).iter();
        values.map(|value| value.to_str().unwrap_or_default()).collect()
    };
    let (older, standard) = (values("x-forwarded-for"), values("forwarded"));
    let requester = ClientAddress::of_request(peer, &older, &standard, trusted_proxies);
    if requester.is_contradictory {
        // Logged once: where a proxy passes on the header that it does not write, any client can cause this.
        static TOLD: Once = Once::new();
        TOLD.call_once(|| {
            tracing::warn!(
                "a request came through a trusted proxy with both X-Forwarded-For and Forwarded, and they name different \
                 clients: neither is believed, and the proxy counts as the client; have it drop the field that it does not \
                 write"
            );
        });
    }
    Some(requester.client)
}
