//! Delivery reports: a signed POST request with a form, or a GET request with a query.
//!
//! Source: the provider's description of message callbacks and of its error codes.

use phone_verify_plugin_api::{
    DeliveryReport, DeliveryState, Error, ErrorKind, Host, Money, Received, Secret, Webhook,
};

use crate::{reply::CURRENCY, signature::is_genuine};

/// The code of a message that arrived.
const NO_ERROR: u32 = 0;

/// Reads a report.
///
/// # Errors
/// On a host that cannot check a signature.
pub(crate) fn receive(host: &Host, auth_token: &Secret, request: &Webhook) -> Result<Received, Error> {
    if !is_genuine(host, auth_token, request)? {
        return Ok(Received::forbidden());
    }
    let fields = if request.method().eq_ignore_ascii_case("GET") {
        request.query()
    } else {
        request.form()
    };
    let field = |wanted: &str| {
        let (_, value) = fields.iter().find(|(name, _)| name == wanted)?;
        Some(value.as_str()).filter(|value| !value.is_empty())
    };
    let (Some(id), Some(status)) = (field("MessageUUID"), field("Status")) else {
        return Ok(Received::new(400));
    };
    let state = match status.to_lowercase().as_str() {
        "queued" | "sent" => DeliveryState::Sent,
        "delivered" | "read" => DeliveryState::Delivered,
        "failed" | "undelivered" | "rejected" => DeliveryState::Undelivered,
        // A state that came later: nothing to report, and nothing to send again either.
        _ => return Ok(Received::new(200)),
    };
    let mut report = DeliveryReport::new(id, state);
    let code = field("ErrorCode").and_then(|code| code.parse().ok());
    if let Some(code) = code.filter(|code| *code != NO_ERROR && state == DeliveryState::Undelivered) {
        report = report.with_code(format!("plivo_{code}"));
        if let Some(kind) = kind(code) {
            report = report.with_kind(kind);
        }
    }
    if let Some(units) = field("Units")
        .and_then(|units| units.parse().ok())
        .filter(|units| *units > 0)
    {
        report = report.with_segments(units);
    }
    if let Some(amount) = field("TotalAmount") {
        report = report.with_cost(Money::new(amount, CURRENCY));
    }
    Ok(Received::reports([report]))
}

/// Why a message was not delivered. `None`: the code says nothing that changes what is done.
fn kind(code: u32) -> Option<ErrorKind> {
    Some(match code {
        // The source number is wrong.
        40 => ErrorKind::SenderRejected,
        50 => ErrorKind::InvalidNumber,
        70 => ErrorKind::UnreachableNumber,
        // The network, a handset that is off, an expiry.
        20 | 80 | 300 | 420 => ErrorKind::Transient,
        // No route, or a country that is barred.
        90 | 450 => ErrorKind::DestinationBlocked,
        // An invalid text, spam, what a carrier prohibits, a text that is too long.
        10 | 30 | 100 | 110 => ErrorKind::ContentRejected,
        // The owner wrote STOP.
        200 => ErrorKind::OptedOut,
        900 => ErrorKind::NoCredit,
        910 => ErrorKind::AuthFailed,
        _ => return None,
    })
}
