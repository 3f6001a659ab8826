//! Interprets the provider's answers. The HTTP status is 200 for a refusal too, so the decisive value is the `status`
//! of each part of the message. An SMS counts as accepted only if every part was.
//!
//! Source: the provider's description of its SMS API, and its table of SMS API errors.

use std::time::Duration;

use phone_verify_plugin_api::{Error, ErrorKind, Money, Receipt, serde_json};
use serde_json::Value;

/// How many characters of the provider's error text go into the message for the operator.
const MAX_TEXT_CHARS: usize = 160;

/// The outcome of a send.
///
/// # Errors
/// With the kind for the provider's status. A 2xx that cannot be read is [`ErrorKind::OutcomeUnknown`].
pub(crate) fn read(http_status: u16, retry_after: Option<Duration>, body: &[u8]) -> Result<Receipt, Error> {
    if !(200..300).contains(&http_status) {
        let error = Error::from_http_status("nexmo", http_status);
        return Err(match retry_after {
            Some(wait) => error.with_retry_after(wait),
            None => error,
        });
    }
    // From here on the provider has processed the request, so an answer that cannot be read means that the SMS may have
    // been sent.
    let answer: Value = std::str::from_utf8(body)
        .ok()
        .and_then(|text| serde_json::from_str(text).ok())
        .ok_or_else(|| unreadable("it is not JSON"))?;
    let parts = answer
        .get("messages")
        .and_then(Value::as_array)
        .filter(|parts| !parts.is_empty())
        .ok_or_else(|| unreadable("it names no message"))?;
    let mut taken = 0;
    let mut refusal = None;
    for part in parts {
        match part.get("status").and_then(number) {
            None => return Err(unreadable("a part of the message has no status")),
            Some(0) => taken += 1,
            Some(status) => refusal = refusal.or(Some((status, part))),
        }
    }
    match refusal {
        None => Ok(receipt(parts)),
        Some((status, part)) => Err(refused(status, text(part), taken, parts.len())),
    }
}

/// Each part is an SMS with an id and a price of its own; the id of the first stands for all.
fn receipt(parts: &[Value]) -> Receipt {
    let receipt = match parts[0].get("message-id").and_then(Value::as_str) {
        Some(id) => Receipt::new(id),
        None => Receipt::without_id(),
    };
    let receipt = receipt.with_segments(u32::try_from(parts.len()).unwrap_or(u32::MAX));
    match parts.iter().map(price).sum::<Option<u64>>() {
        Some(price) => receipt.with_cost(Money::new(decimal(price), CURRENCY)),
        None => receipt,
    }
}

/// What the provider's prices and balances are in.
pub(crate) const CURRENCY: &str = "EUR";
/// The provider writes prices with so many decimals: units of a hundred-millionth.
const DECIMALS: usize = 8;

/// The price of a part in units of the last decimal. `None`: there is none, or it is no price.
fn price(part: &Value) -> Option<u64> {
    let text = part.get("message-price")?.as_str()?.trim();
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    let are_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !are_digits(whole) || !are_digits(decimals) || decimals.len() > DECIMALS {
        return None;
    }
    // Far above any price of an SMS, and far below what a sum of some parts could overflow.
    format!("{whole}{decimals:0<DECIMALS$}")
        .parse()
        .ok()
        .filter(|price| *price < u64::MAX / 1024)
}

fn decimal(price: u64) -> String {
    const UNIT: u64 = 100_000_000;
    format!("{}.{:0DECIMALS$}", price / UNIT, price % UNIT)
}

/// What is left of the account.
///
/// # Errors
/// With the kind for the status, or of kind [`ErrorKind::Internal`] for an answer that cannot be read.
pub(crate) fn balance(http_status: u16, body: &[u8]) -> Result<Money, Error> {
    if !(200..300).contains(&http_status) {
        return Err(Error::from_http_status("nexmo", http_status));
    }
    let answer: Option<Value> = serde_json::from_slice(body).ok();
    let value = answer.as_ref().and_then(|answer| answer.get("value"));
    let amount = value.and_then(|value| match value {
        Value::Number(number) => Some(number.to_string()),
        Value::String(text) => Some(text.trim().to_owned()),
        _ => None,
    });
    match amount {
        Some(amount) => Ok(Money::new(amount, CURRENCY)),
        None => Err(Error::new(
            ErrorKind::Internal,
            "unreadable_answer",
            "Nexmo's answer cannot be read: it has no balance",
        )
        .with_http_status(http_status)),
    }
}

/// The error for a part that was refused. `taken`: how many parts were accepted.
fn refused(status: u64, text: &str, taken: usize, parts: usize) -> Error {
    let kind = match kind(status, text) {
        // Some parts arrive, and a retry would send those a second time.
        _ if taken > 0 => ErrorKind::OutcomeUnknown,
        kind => kind,
    };
    let after = match taken {
        0 => String::new(),
        _ => format!(", after it took {taken} of its {parts} parts"),
    };
    let words: String = match text {
        "" => "it gives no reason".to_owned(),
        _ => text.chars().take(MAX_TEXT_CHARS).collect(),
    };
    let message = format!("Nexmo refused the SMS with status {status}{after}: {words}");
    let error = Error::new(kind, format!("nexmo_{status}"), message).with_http_status(200);
    match wait(text) {
        Some(wait) if kind == ErrorKind::Throttled => error.with_retry_after(wait),
        _ => error,
    }
}

/// The kind of a status in the provider's table.
fn kind(status: u64, text: &str) -> ErrorKind {
    match status {
        1 | 10 => ErrorKind::Throttled,
        // One of the parameters is invalid, and only the text says which. It can be the number or the sender.
        3 if names_sender(text) => ErrorKind::SenderRejected,
        3 | 6 => ErrorKind::InvalidNumber,
        4 | 8 | 11 | 14 | 32 => ErrorKind::AuthFailed,
        5 => ErrorKind::Transient,
        7 => ErrorKind::OptedOut,
        9 => ErrorKind::NoCredit,
        12 => ErrorKind::ContentRejected,
        15 | 101 => ErrorKind::SenderRejected,
        29 => ErrorKind::DestinationBlocked,
        33 => ErrorKind::UnreachableNumber,
        // 2, 22 and 23 are about parameters that this backend always or never sends. Others are not documented.
        _ => ErrorKind::Internal,
    }
}

/// Whether the error text is about the sender.
fn names_sender(text: &str) -> bool {
    text.split(|character: char| !character.is_ascii_alphanumeric())
        .any(|word| word.eq_ignore_ascii_case("from") || word.eq_ignore_ascii_case("sender"))
}

/// The wait in a text such as `Throughput Rate Exceeded - please wait [ 702 ] and retry`, in milliseconds.
fn wait(text: &str) -> Option<Duration> {
    let (_, rest) = text.split_once('[')?;
    let (milliseconds, _) = rest.split_once(']')?;
    milliseconds.trim().parse().ok().map(Duration::from_millis)
}

fn text(part: &Value) -> &str {
    part.get("error-text")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .trim()
}

/// A status as a number. Documented as a text of digits; accepts an integer too.
fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.trim().parse().ok())
}

fn unreadable(why: &str) -> Error {
    Error::new(
        ErrorKind::OutcomeUnknown,
        "unreadable_answer",
        format!("Nexmo's answer cannot be read: {why}"),
    )
    .with_http_status(200)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(items: &[(&str, &str)]) -> Result<Receipt, Error> {
        let items: Vec<String> = items
            .iter()
            .map(|(status, text)| {
                format!(r#"{{"status":"{status}","error-text":"{text}","message-id":"0A0{status}"}}"#)
            })
            .collect();
        let body = format!(
            r#"{{"message-count":"{}","messages":[{}]}}"#,
            items.len(),
            items.join(",")
        );
        read(200, None, body.as_bytes())
    }

    fn kind_of(items: &[(&str, &str)]) -> ErrorKind {
        answer(items).unwrap_err().kind()
    }

    #[test]
    fn a_message_whose_parts_were_all_taken_has_the_id_of_the_first() {
        assert_eq!(answer(&[("0", "")]).unwrap().message_id(), "0A00");
        assert_eq!(answer(&[("0", ""), ("0", "")]).unwrap().message_id(), "0A00");
        let body = br#"{"messages":[{"status":0}]}"#;
        assert_eq!(
            read(200, None, body).unwrap(),
            Receipt::without_id().with_segments(1)
        );
    }

    #[test]
    fn a_message_costs_what_its_parts_cost_together() {
        let cost = |prices: &[&str]| {
            let parts: Vec<Value> = prices
                .iter()
                .map(|price| serde_json::json!({ "status": "0", "message-id": "1", "message-price": price }))
                .collect();
            let body = serde_json::json!({ "messages": parts }).to_string();
            let receipt = read(200, None, body.as_bytes()).unwrap();
            assert_eq!(receipt.segments(), u32::try_from(prices.len()).ok());
            receipt
                .cost()
                .map(|cost| format!("{} {}", cost.amount(), cost.currency()))
        };
        assert_eq!(cost(&["0.03330000"]).as_deref(), Some("0.03330000 EUR"));
        assert_eq!(cost(&["0.03330000", "0.0667"]).as_deref(), Some("0.10000000 EUR"));
        for odd in ["", "free", "-1", "0.000000001", "99999999999999999999", "1.2.3"] {
            assert_eq!(cost(&["0.0333", odd]), None, "{odd}");
        }
    }

    #[test]
    fn the_balance_is_a_number_or_a_text() {
        for body in [r#"{"value":10.28,"autoReload":false}"#, r#"{"value":"10.28"}"#] {
            let left = balance(200, body.as_bytes()).unwrap();
            assert_eq!((left.amount(), left.currency()), ("10.28", "EUR"));
        }
        for body in ["", "{}", r#"{"value":null}"#, "[]"] {
            assert_eq!(
                balance(200, body.as_bytes()).unwrap_err().kind(),
                ErrorKind::Internal
            );
        }
        assert_eq!(balance(401, b"").unwrap_err().kind(), ErrorKind::AuthFailed);
    }

    #[test]
    fn every_documented_status_has_its_kind() {
        for (status, kind) in [
            ("1", ErrorKind::Throttled),
            ("2", ErrorKind::Internal),
            ("3", ErrorKind::InvalidNumber),
            ("4", ErrorKind::AuthFailed),
            ("5", ErrorKind::Transient),
            ("6", ErrorKind::InvalidNumber),
            ("7", ErrorKind::OptedOut),
            ("8", ErrorKind::AuthFailed),
            ("9", ErrorKind::NoCredit),
            ("10", ErrorKind::Throttled),
            ("11", ErrorKind::AuthFailed),
            ("12", ErrorKind::ContentRejected),
            ("14", ErrorKind::AuthFailed),
            ("15", ErrorKind::SenderRejected),
            ("22", ErrorKind::Internal),
            ("23", ErrorKind::Internal),
            ("29", ErrorKind::DestinationBlocked),
            ("32", ErrorKind::AuthFailed),
            ("33", ErrorKind::UnreachableNumber),
            ("101", ErrorKind::SenderRejected),
            ("4711", ErrorKind::Internal),
        ] {
            let error = answer(&[(status, "")]).unwrap_err();
            assert_eq!(error.kind(), kind, "status {status}");
            assert_eq!(error.code(), format!("nexmo_{status}"));
        }
    }

    #[test]
    fn an_invalid_parameter_is_the_number_unless_the_text_names_the_sender() {
        assert_eq!(kind_of(&[("3", "Invalid to address")]), ErrorKind::InvalidNumber);
        assert_eq!(
            kind_of(&[("3", "Invalid value for param: from")]),
            ErrorKind::SenderRejected
        );
        assert_eq!(
            kind_of(&[("3", "Invalid Sender address")]),
            ErrorKind::SenderRejected
        );
    }

    #[test]
    fn the_throttle_says_how_long_to_wait() {
        let error = answer(&[("1", "Throughput Rate Exceeded - please wait [ 702 ] and retry")]).unwrap_err();
        assert_eq!(
            (error.kind(), error.retry_after()),
            (ErrorKind::Throttled, Some(Duration::from_millis(702)))
        );
        let error = answer(&[("1", "Exceeded maximum MT throughput for account")]).unwrap_err();
        assert_eq!((error.kind(), error.retry_after()), (ErrorKind::Throttled, None));
        assert_eq!(wait("[ soon ]"), None);
    }

    #[test]
    fn a_refused_part_refuses_the_message_and_what_was_taken_is_not_sent_twice() {
        assert_eq!(kind_of(&[("0", ""), ("9", "")]), ErrorKind::OutcomeUnknown);
        assert_eq!(kind_of(&[("9", ""), ("0", "")]), ErrorKind::OutcomeUnknown);
        assert_eq!(kind_of(&[("5", ""), ("5", "")]), ErrorKind::Transient);
        assert_eq!(kind_of(&[("0", ""), ("5", "")]), ErrorKind::OutcomeUnknown);
        let error = answer(&[("0", ""), ("1", "please wait [ 5 ] and retry")]).unwrap_err();
        assert_eq!(
            (error.kind(), error.retry_after()),
            (ErrorKind::OutcomeUnknown, None)
        );
        assert!(error.message().contains("took 1 of its 2 parts"), "{error}");
    }

    #[test]
    fn an_answer_that_cannot_be_read_may_stand_for_a_sent_sms() {
        for body in [
            "",
            "{\"messages\":[{\"sta",
            "\"ok\"",
            "{}",
            "{\"messages\":[]}",
            "{\"messages\":[{}]}",
            "{\"messages\":[{\"status\":\"fine\"}]}",
            "\u{0}",
        ] {
            assert_eq!(
                read(200, None, body.as_bytes()).unwrap_err().kind(),
                ErrorKind::OutcomeUnknown,
                "{body}"
            );
        }
        assert_eq!(
            read(200, None, &[0xff, 0xfe]).unwrap_err().kind(),
            ErrorKind::OutcomeUnknown
        );
    }

    #[test]
    fn an_http_error_speaks_for_itself() {
        let wait = Duration::from_secs(3);
        let error = read(429, Some(wait), b"slow down").unwrap_err();
        assert_eq!(
            (error.kind(), error.retry_after()),
            (ErrorKind::Throttled, Some(wait))
        );
        for (status, kind) in [
            (401, ErrorKind::AuthFailed),
            (402, ErrorKind::NoCredit),
            (420, ErrorKind::Internal),
            (500, ErrorKind::OutcomeUnknown),
            (503, ErrorKind::Transient),
            (504, ErrorKind::OutcomeUnknown),
            (302, ErrorKind::Config),
        ] {
            let error = read(status, None, b"").unwrap_err();
            assert_eq!((error.kind(), error.http_status()), (kind, Some(status)));
        }
    }

    #[test]
    fn the_words_of_the_provider_are_kept_short() {
        let error = answer(&[("9", &"Quota ".repeat(200))]).unwrap_err();
        assert!(error.message().len() < 250);
        assert!(error.message().contains("status 9: Quota"), "{error}");
    }
}
