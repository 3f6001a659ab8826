//! Interprets Plivo's answers: 202 with the ids of the messages, or an HTTP error with `{api_id, error}`. Plivo gives a
//! refusal no code, so its status decides, and for a wrong request the name of the parameter in its text.
//!
//! Source: the provider's description of its Messages API and its Account API.

use std::time::Duration;

use phone_verify_plugin_api::{Error, ErrorKind, Money, Receipt, serde_json};
use serde_json::Value;

/// How many characters of the provider's error text go into the message for the operator.
const MAX_TEXT_CHARS: usize = 160;
/// The currency of accounts and prices.
pub(crate) const CURRENCY: &str = "USD";

fn parsed(body: &[u8]) -> Option<Value> {
    serde_json::from_str(std::str::from_utf8(body).ok()?).ok()
}

/// The outcome of a send.
///
/// # Errors
/// With the kind for Plivo's status. A 2xx that cannot be read is [`ErrorKind::OutcomeUnknown`].
pub(crate) fn read(http_status: u16, retry_after: Option<Duration>, body: &[u8]) -> Result<Receipt, Error> {
    let answer = parsed(body);
    let field = |name: &str| answer.as_ref()?.get(name);
    if (200..300).contains(&http_status) {
        let id = field("message_uuid")
            .and_then(|ids| ids.get(0))
            .and_then(Value::as_str);
        return match id {
            Some(id) if !id.is_empty() => Ok(Receipt::new(id)),
            // Plivo has processed the request, so the SMS may have been sent.
            _ => Err(Error::new(
                ErrorKind::OutcomeUnknown,
                "unreadable_answer",
                "Plivo's answer cannot be read: it names no message",
            )
            .with_http_status(http_status)),
        };
    }
    let by_status = Error::from_http_status("plivo", http_status);
    let error = match field("error").map(text) {
        Some(text) => refused(http_status, &text, by_status.kind()),
        None => by_status,
    };
    Err(match retry_after {
        // A wait is for those who may try again: 429, and 503 for a server that is out of order (RFC 9110, section 10.2.3).
        Some(wait) if matches!(error.kind(), ErrorKind::Throttled | ErrorKind::Transient) => {
            error.with_retry_after(wait)
        }
        _ => error,
    })
}

/// Some errors are a text, others an object of texts.
fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The error for a body of Plivo's own. Of a failure of its server nothing says that the SMS was not queued before, so
/// that status decides: the next backend would send a second one.
fn refused(http_status: u16, text: &str, by_status: ErrorKind) -> Error {
    let lower = text.to_lowercase();
    let names = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    let kind = match http_status {
        400 if names(&["dst", "destination"]) => ErrorKind::InvalidNumber,
        400 if names(&["src", "source", "sender", "powerpack"]) => ErrorKind::SenderRejected,
        400 if names(&["text", "message body"]) => ErrorKind::ContentRejected,
        // The account may not send to that country: credentials that are wrong are a 401.
        403 => ErrorKind::DestinationBlocked,
        // There is no such account.
        404 => ErrorKind::AuthFailed,
        _ => by_status,
    };
    let words: String = match text.trim() {
        "" => "it gives no reason".to_owned(),
        text => text.chars().take(MAX_TEXT_CHARS).collect(),
    };
    let message = format!("Plivo refused the SMS (HTTP {http_status}): {words}");
    Error::new(kind, format!("plivo_http_{http_status}"), message).with_http_status(http_status)
}

/// What is left of the account.
///
/// # Errors
/// If the answer does not say it.
pub(crate) fn read_balance(http_status: u16, body: &[u8]) -> Result<Money, Error> {
    let answer = parsed(body);
    let credits = answer
        .as_ref()
        .and_then(|answer| answer.get("cash_credits"))
        .map(text);
    match credits {
        Some(credits) if (200..300).contains(&http_status) => Ok(Money::new(credits, CURRENCY)),
        _ => Err(Error::from_http_status("plivo", http_status)),
    }
}
