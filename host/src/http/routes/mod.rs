//! One file a route, named as its URL.

pub(super) mod healthz;
pub(super) mod metrics;
pub(super) mod phone_register;
pub(super) mod phone_verify;
pub(super) mod readyz;
pub(super) mod v1;

use axum::{
    extract::Request,
    http::{HeaderMap, Method, header},
    response::{IntoResponse, Response},
};
use ipnet::IpNet;
use serde_json::{Map, Value, json};

use super::error::{ApiError, FieldError, NOT_A_PHONE_NUMBER, NOT_A_STRING, NULL_CHARACTER};
use crate::{
    http::{json::Json, media_type::accepts_json, serve::Peer},
    model::{ClientAddress, Locale, PhoneNumber, Region},
};

/// The methods of the ancestor's endpoints.
const ALLOW: &str = "POST, OPTIONS";

pub(super) async fn not_found() -> ApiError {
    ApiError::NotFound
}

/// Answers what takes no JSON and everything but POST, as the ancestor's framework does. `fields` are a name and
/// a label each.
fn not_a_post(request: &Request, name: &str, fields: &[(&str, &str)]) -> Option<Response> {
    let method = request.method();
    if !accepts_json(request.headers()) {
        return Some(ApiError::NotAcceptable.into_response());
    }
    if method == Method::POST {
        return None;
    }
    if method != Method::OPTIONS {
        return Some(ApiError::Method(method.clone(), ALLOW).into_response());
    }
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
    Some(([(header::ALLOW, ALLOW)], Json(description)).into_response())
}

/// What came as a phone number; the error goes to `errors`.
fn phone_number(
    text: Option<String>,
    region: Option<Region>,
    errors: &mut Vec<FieldError>,
) -> Option<PhoneNumber> {
    // The ancestor takes whatever is not a text for a number that is not valid.
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

fn locale(headers: &HeaderMap) -> Locale {
    // Several fields are one list (RFC 9110, section 5.3).
    let fields = headers.get_all(header::ACCEPT_LANGUAGE).iter();
    let fields: Vec<&str> = fields.filter_map(|field| field.to_str().ok()).collect();
    Locale(fields.join(","))
}

/// Who asks; `None`: the request came by no connection.
fn client(request: &Request, trusted_proxies: &[IpNet]) -> Option<ClientAddress> {
    let Peer(peer) = *request.extensions().get()?;
    let forwarded = request.headers().get_all("x-forwarded-for").iter();
    // What is no text is no address either.
    let forwarded = forwarded.map(|value| value.to_str().unwrap_or_default());
    Some(ClientAddress::of_request(peer, forwarded, trusted_proxies))
}
