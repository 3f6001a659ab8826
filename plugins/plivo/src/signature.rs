//! Plivo's signature V3 of a request: HMAC-SHA256 with the auth token, in base64, over the address, the fields in
//! order, and a nonce.
//!
//! Source: `validate_v3_signature` of the provider's library for Python, which made the vectors of the tests.

use phone_verify_plugin_api::{Error, HashAlgorithm, Host, Secret, Webhook, data_encoding::BASE64};

/// The headers with signatures: of the account that sent the message, and of the main account above it. Each has a
/// list, because two tokens sign while one replaces the other.
const SIGNATURES: [&str; 2] = ["x-plivo-signature-v3", "x-plivo-signature-ma-v3"];
const NONCE: &str = "x-plivo-signature-v3-nonce";

/// Whether this token signed the request.
///
/// # Errors
/// On a host that cannot make signatures.
pub(crate) fn is_genuine(host: &Host, auth_token: &Secret, request: &Webhook) -> Result<bool, Error> {
    let Some(nonce) = request.header(NONCE).filter(|nonce| !nonce.is_empty()) else {
        return Ok(false);
    };
    let signed = format!("{}.{nonce}", base(request));
    let signature = host.hmac(
        HashAlgorithm::Sha256,
        auth_token.expose().as_bytes(),
        signed.as_bytes(),
    )?;
    let expected = BASE64.encode(&signature);
    let mut given = SIGNATURES
        .iter()
        .filter_map(|name| request.header(name))
        .flat_map(|list| list.split(','));
    Ok(given.any(|given| host.equal(given.trim(), &expected)))
}

/// What is signed, without the nonce.
fn base(request: &Webhook) -> String {
    let url = request.url();
    let address = url.split(['?', '#']).next().unwrap_or_default();
    let mut query = request.query();
    query.sort();
    let query: Vec<String> = query
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let query = query.join("&");
    let mut fields = if request.method().eq_ignore_ascii_case("GET") {
        Vec::new()
    } else {
        request.form()
    };
    fields.sort();
    let fields: String = fields.into_iter().map(|(name, value)| name + &value).collect();
    let joint = if query.is_empty() && fields.is_empty() {
        ""
    } else {
        "?"
    };
    let dot = if query.is_empty() || fields.is_empty() {
        ""
    } else {
        "."
    };
    format!("{address}{joint}{query}{dot}{fields}")
}
