//! Interprets Twilio's answers: 201 with the message, or an HTTP error with `{code, message, more_info, status}`.
//!
//! Only error codes that change the host's next step are listed. Twilio keeps splitting codes into finer ones and
//! advises against logic on them, so every other code is classified by its HTTP status.
//!
//! Source: the provider's API description (`twilio_api_v2010`) and its error dictionary.

use std::time::Duration;

use phone_verify_plugin_api::{Error, ErrorKind, Money, Receipt, serde_json};
use serde_json::Value;

/// How many characters of the provider's error text go into the message for the operator.
const MAX_TEXT_CHARS: usize = 160;

/// The outcome of a send.
///
/// # Errors
/// With the kind for Twilio's code or status. A 2xx that cannot be read is [`ErrorKind::OutcomeUnknown`].
pub(crate) fn read(http_status: u16, retry_after: Option<Duration>, body: &[u8]) -> Result<Receipt, Error> {
    let answer: Option<Value> = std::str::from_utf8(body)
        .ok()
        .and_then(|text| serde_json::from_str(text).ok());
    let field = |name: &str| answer.as_ref()?.get(name);
    if (200..300).contains(&http_status) {
        // Twilio also answers 201 for a message that failed immediately. `error_code` is null unless it failed.
        if let Some(code) = field("error_code").and_then(number) {
            let text = field("error_message").and_then(Value::as_str);
            return Err(refused(code, http_status, text));
        }
        return match field("sid").and_then(Value::as_str) {
            Some(sid) if !sid.is_empty() => Ok(receipt(sid, &field)),
            // Twilio has processed the request, so the SMS may have been sent.
            _ => Err(Error::new(
                ErrorKind::OutcomeUnknown,
                "unreadable_answer",
                "Twilio's answer cannot be read: it names no message",
            )
            .with_http_status(http_status)),
        };
    }
    let error = match field("code").and_then(number) {
        Some(code) => refused(code, http_status, field("message").and_then(Value::as_str)),
        None => Error::from_http_status("twilio", http_status),
    };
    // A wait is for those who may try again: 429, and 503 for a server that is out of order (RFC 9110, section 10.2.3).
    let may_try_again = matches!(error.kind(), ErrorKind::Throttled | ErrorKind::Transient);
    Err(match retry_after {
        Some(wait) if may_try_again => error.with_retry_after(wait),
        _ => error,
    })
}

/// The receipt of a message that was taken. A message that a messaging service has yet to send has no segments yet, and
/// most have no price.
fn receipt<'a>(sid: &str, field: &impl Fn(&str) -> Option<&'a Value>) -> Receipt {
    let mut receipt = Receipt::new(sid);
    let segments = field("num_segments").and_then(number);
    if let Some(segments) = segments.and_then(|segments| u32::try_from(segments).ok())
        && segments > 0
    {
        receipt = receipt.with_segments(segments);
    }
    let text = |name: &str| field(name).and_then(Value::as_str);
    if let (Some(price), Some(unit)) = (text("price"), text("price_unit")) {
        // A price is what the account is changed by, so it is negative.
        receipt = receipt.with_cost(Money::new(price.trim_start_matches('-'), unit));
    }
    receipt
}

/// The outcome of a request that sends nothing.
///
/// # Errors
/// With the kind for Twilio's code or status.
pub(crate) fn done(http_status: u16, body: &[u8]) -> Result<(), Error> {
    if (200..300).contains(&http_status) {
        return Ok(());
    }
    let answer: Option<Value> = serde_json::from_slice(body).ok();
    let field = |name: &str| answer.as_ref()?.get(name);
    let kind = Error::from_http_status("twilio", http_status).kind();
    Err(match field("code").and_then(number) {
        Some(code) => {
            let words = field("message")
                .and_then(Value::as_str)
                .unwrap_or("it gives no reason");
            let words: String = words.chars().take(MAX_TEXT_CHARS).collect();
            let message = format!("Twilio refused the request with error {code}: {words}");
            Error::new(kind, format!("twilio_{code}"), message).with_http_status(http_status)
        }
        None => Error::from_http_status("twilio", http_status),
    })
}

/// What is left of the account.
///
/// # Errors
/// As for [`done`], or of kind [`ErrorKind::Internal`] for an answer that cannot be read.
pub(crate) fn balance(http_status: u16, body: &[u8]) -> Result<Money, Error> {
    done(http_status, body)?;
    let answer: Option<Value> = serde_json::from_slice(body).ok();
    let text = |name: &str| answer.as_ref()?.get(name)?.as_str();
    match text("balance") {
        Some(balance) => Ok(Money::new(balance, text("currency").unwrap_or_default())),
        None => Err(Error::new(
            ErrorKind::Internal,
            "unreadable_answer",
            "Twilio's answer cannot be read: it has no balance",
        )
        .with_http_status(http_status)),
    }
}

/// The error for a code of Twilio's.
fn refused(code: u64, http_status: u16, text: Option<&str>) -> Error {
    let kind = kind(code).unwrap_or_else(|| match http_status {
        // The message was created and has failed.
        200..=299 => ErrorKind::Internal,
        // A code that is not listed says no more than the status: of most failures of a server nothing says that the SMS
        // was not queued before, and the next backend would send a second one.
        _ => Error::from_http_status("twilio", http_status).kind(),
    });
    let words: String = match text.map(str::trim) {
        None | Some("") => "it gives no reason".to_owned(),
        Some(text) => text.chars().take(MAX_TEXT_CHARS).collect(),
    };
    let message = format!("Twilio refused the SMS with error {code}: {words}");
    Error::new(kind, format!("twilio_{code}"), message).with_http_status(http_status)
}

/// The kind of a code that is listed. `None`: the HTTP status decides.
pub(crate) fn kind(code: u64) -> Option<ErrorKind> {
    Some(match code {
        // Credentials, or an account that is suspended, closed or not allowed to send.
        20003 | 20005 | 20006 | 20008 | 20404 | 30002 | 30037 => ErrorKind::AuthFailed,
        // Limits on requests, on a sender's queue, and on segments per day at carriers.
        14107 | 20429 | 21611 | 30001 | 30022 | 30023 | 30027 | 63038 => ErrorKind::Throttled,
        21211 | 21217 | 21265 | 21266 | 21268 | 21614 => ErrorKind::InvalidNumber,
        // A disabled country, a trial account, Twilio's protection against SMS pumping, a price above the limit.
        21215 | 21216 | 21219 | 21408 | 21608 | 30010 | 30450 | 60605 => ErrorKind::DestinationBlocked,
        // A sender that does not belong to the account, cannot send SMS, or lacks a required registration.
        21210 | 21212 | 21267 | 21601 | 21603 | 21606 | 21607 | 21612 | 21616 | 21659 | 21660 | 21661
        | 21701 | 21703 | 21704 | 21705 | 30018 | 30024 | 30032 | 30033 | 30034 | 30040 => {
            ErrorKind::SenderRejected
        }
        21610 | 30004 => ErrorKind::OptedOut,
        21605 | 21617 | 30007 | 30019 | 30038 | 30044 => ErrorKind::ContentRejected,
        // The request asks for a retention (REDACT) that is not enabled for the account.
        30029 => ErrorKind::Config,
        30003 | 30008 | 30017 => ErrorKind::Transient,
        21214 | 21635 | 30005 | 30006 => ErrorKind::UnreachableNumber,
        _ => return None,
    })
}

/// A code as a number. Documented as an integer; accepts a text of digits too.
fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(http_status: u16, body: &str) -> Error {
        read(http_status, None, body.as_bytes()).unwrap_err()
    }

    #[test]
    fn a_message_that_was_taken_has_its_sid() {
        for body in [
            r#"{"sid":"SM1","status":"queued","error_code":null,"price":null}"#,
            r#"{"sid":"SM1","status":"accepted"}"#,
        ] {
            assert_eq!(read(201, None, body.as_bytes()).unwrap().message_id(), "SM1");
        }
    }

    #[test]
    fn segments_and_price_are_told_as_far_as_twilio_knows_them() {
        let of = |body: &str| {
            let receipt = read(201, None, body.as_bytes()).unwrap();
            let cost = receipt
                .cost()
                .map(|cost| format!("{} {}", cost.amount(), cost.currency()));
            (receipt.segments(), cost)
        };
        let known = r#"{"sid":"SM1","num_segments":"2","price":"-0.01500","price_unit":"USD"}"#;
        assert_eq!(of(known), (Some(2), Some("0.01500 USD".to_owned())));
        let unknown = r#"{"sid":"SM1","num_segments":"0","price":null,"price_unit":"USD"}"#;
        assert_eq!(of(unknown), (None, None));
    }

    #[test]
    fn the_balance_is_read_and_a_refusal_has_its_kind() {
        let left = balance(200, br#"{"account_sid":"AC1","balance":"-1.5","currency":"USD"}"#).unwrap();
        assert_eq!((left.amount(), left.currency()), ("-1.5", "USD"));
        assert_eq!(balance(200, b"{}").unwrap_err().kind(), ErrorKind::Internal);
        let refused = balance(401, br#"{"code":20003,"message":"Authenticate"}"#).unwrap_err();
        assert_eq!(
            (refused.kind(), refused.code()),
            (ErrorKind::AuthFailed, "twilio_20003")
        );
        assert!(done(201, b"").is_ok());
        assert_eq!(done(503, b"").unwrap_err().kind(), ErrorKind::Transient);
    }

    #[test]
    fn a_message_that_failed_at_once_is_a_failure_whatever_the_type_of_its_code() {
        for body in [
            r#"{"sid":"SM1","status":"failed","error_code":30005,"error_message":"Unknown handset"}"#,
            r#"{"sid":"SM1","status":"failed","error_code":"30005"}"#,
        ] {
            let error = failure(201, body);
            assert_eq!(
                (error.kind(), error.code()),
                (ErrorKind::UnreachableNumber, "twilio_30005")
            );
        }
        assert_eq!(
            failure(201, r#"{"sid":"SM1","error_code":39999}"#).kind(),
            ErrorKind::Internal
        );
    }

    #[test]
    fn every_listed_code_has_its_kind() {
        for (code, http_status, kind) in [
            (20003, 401, ErrorKind::AuthFailed),
            (20005, 401, ErrorKind::AuthFailed),
            (20006, 403, ErrorKind::AuthFailed),
            (20008, 403, ErrorKind::AuthFailed),
            (20404, 404, ErrorKind::AuthFailed),
            (30002, 403, ErrorKind::AuthFailed),
            (30037, 403, ErrorKind::AuthFailed),
            (14107, 429, ErrorKind::Throttled),
            (20429, 429, ErrorKind::Throttled),
            (21611, 400, ErrorKind::Throttled),
            (21611, 429, ErrorKind::Throttled),
            (30001, 400, ErrorKind::Throttled),
            (30022, 400, ErrorKind::Throttled),
            (30023, 400, ErrorKind::Throttled),
            (30027, 400, ErrorKind::Throttled),
            (63038, 429, ErrorKind::Throttled),
            (21211, 400, ErrorKind::InvalidNumber),
            (21217, 400, ErrorKind::InvalidNumber),
            (21265, 400, ErrorKind::InvalidNumber),
            (21266, 400, ErrorKind::InvalidNumber),
            (21268, 400, ErrorKind::InvalidNumber),
            (21614, 400, ErrorKind::InvalidNumber),
            (21215, 400, ErrorKind::DestinationBlocked),
            (21216, 403, ErrorKind::DestinationBlocked),
            (21219, 400, ErrorKind::DestinationBlocked),
            (21408, 403, ErrorKind::DestinationBlocked),
            (21608, 403, ErrorKind::DestinationBlocked),
            (30010, 400, ErrorKind::DestinationBlocked),
            (30450, 400, ErrorKind::DestinationBlocked),
            (60605, 403, ErrorKind::DestinationBlocked),
            (21210, 400, ErrorKind::SenderRejected),
            (21212, 400, ErrorKind::SenderRejected),
            (21267, 400, ErrorKind::SenderRejected),
            (21601, 400, ErrorKind::SenderRejected),
            (21603, 400, ErrorKind::SenderRejected),
            (21606, 400, ErrorKind::SenderRejected),
            (21607, 400, ErrorKind::SenderRejected),
            (21612, 400, ErrorKind::SenderRejected),
            (21616, 400, ErrorKind::SenderRejected),
            (21659, 400, ErrorKind::SenderRejected),
            (21660, 400, ErrorKind::SenderRejected),
            (21661, 400, ErrorKind::SenderRejected),
            (21701, 400, ErrorKind::SenderRejected),
            (21703, 400, ErrorKind::SenderRejected),
            (21704, 400, ErrorKind::SenderRejected),
            (21705, 400, ErrorKind::SenderRejected),
            (30018, 400, ErrorKind::SenderRejected),
            (30024, 400, ErrorKind::SenderRejected),
            (30032, 400, ErrorKind::SenderRejected),
            (30033, 400, ErrorKind::SenderRejected),
            (30034, 400, ErrorKind::SenderRejected),
            (30040, 400, ErrorKind::SenderRejected),
            (21610, 400, ErrorKind::OptedOut),
            (30004, 400, ErrorKind::OptedOut),
            (21605, 400, ErrorKind::ContentRejected),
            (21617, 400, ErrorKind::ContentRejected),
            (30007, 400, ErrorKind::ContentRejected),
            (30019, 400, ErrorKind::ContentRejected),
            (30038, 400, ErrorKind::ContentRejected),
            (30044, 400, ErrorKind::ContentRejected),
            (30029, 400, ErrorKind::Config),
            (30003, 400, ErrorKind::Transient),
            (30008, 400, ErrorKind::Transient),
            (30017, 400, ErrorKind::Transient),
            (21214, 400, ErrorKind::UnreachableNumber),
            (21635, 400, ErrorKind::UnreachableNumber),
            (30005, 400, ErrorKind::UnreachableNumber),
            (30006, 400, ErrorKind::UnreachableNumber),
        ] {
            let body = format!(r#"{{"code":{code},"message":"No","more_info":"","status":{http_status}}}"#);
            let error = failure(http_status, &body);
            assert_eq!(error.kind(), kind, "code {code}");
            assert_eq!(error.code(), format!("twilio_{code}"));
            assert_eq!(error.http_status(), Some(http_status));
        }
    }

    #[test]
    fn any_other_code_means_what_its_http_status_means() {
        for (http_status, with_code, without) in [
            (400, ErrorKind::Internal, ErrorKind::Internal),
            (401, ErrorKind::AuthFailed, ErrorKind::AuthFailed),
            (402, ErrorKind::NoCredit, ErrorKind::NoCredit),
            (429, ErrorKind::Throttled, ErrorKind::Throttled),
            // The SMS may have been queued before the server failed.
            (500, ErrorKind::OutcomeUnknown, ErrorKind::OutcomeUnknown),
            (503, ErrorKind::Transient, ErrorKind::Transient),
            (504, ErrorKind::OutcomeUnknown, ErrorKind::OutcomeUnknown),
        ] {
            let error = failure(http_status, r#"{"code":29999,"message":"New","status":0}"#);
            assert_eq!(
                (error.kind(), error.code()),
                (with_code, "twilio_29999"),
                "{http_status}"
            );
            let error = failure(http_status, "<html>no</html>");
            assert_eq!(
                (error.kind(), error.code()),
                (without, format!("twilio_http_{http_status}").as_str())
            );
        }
    }

    #[test]
    fn who_may_try_again_is_told_how_long_to_wait() {
        let wait = Some(Duration::from_secs(2));
        for body in [&b""[..], br#"{"code":20503,"status":503}"#] {
            let error = read(503, wait, body).unwrap_err();
            assert_eq!((error.kind(), error.retry_after()), (ErrorKind::Transient, wait));
        }
        let error = read(429, wait, br#"{"code":20429,"status":429}"#).unwrap_err();
        assert_eq!((error.kind(), error.retry_after()), (ErrorKind::Throttled, wait));
        let error = read(429, wait, b"").unwrap_err();
        assert_eq!((error.kind(), error.retry_after()), (ErrorKind::Throttled, wait));
        let error = read(400, wait, br#"{"code":21610}"#).unwrap_err();
        assert_eq!(error.retry_after(), None);
    }

    #[test]
    fn a_success_that_cannot_be_read_may_stand_for_a_sent_sms() {
        for body in ["", "{\"sid\":\"SM1", "{}", "[]", "{\"sid\":7}", "{\"sid\":\"\"}"] {
            assert_eq!(failure(201, body).kind(), ErrorKind::OutcomeUnknown, "{body}");
        }
    }
}
