//! Between the ABI's values and the host's. What comes from a library is bounded and cleaned here, once.
//!
//! Invariant: nothing of a library passes unread: an unknown kind is `Internal`, an unknown verdict `Invalid`, nonsense
//! is a failure of the call.

use std::time::Duration;

use phone_verify_plugin_abi::{
    RawError, RawReceipt,
    abi_stable::std_types::{RString, RVec},
    kind, verdict,
};

use super::scrub::{Scrubber, code_words};
use crate::model::{FailureClass, Origin, Receipt, SecurityCode, SendFailure, Verdict, is_harmful};

const MAX_CODE_LENGTH: usize = 64;
pub(super) const MAX_MESSAGE_CHARACTERS: usize = 500;
const MAX_RECEIPT_BYTES: usize = 256;
/// Ten parts: no provider takes a longer text.
const MAX_SMS_CHARACTERS: usize = 1600;
const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

const CLASSES: [(FailureClass, u16); 14] = [
    (FailureClass::Config, kind::CONFIG),
    (FailureClass::InvalidNumber, kind::INVALID_NUMBER),
    (FailureClass::UnreachableNumber, kind::UNREACHABLE_NUMBER),
    (FailureClass::OptedOut, kind::OPTED_OUT),
    (FailureClass::DestinationBlocked, kind::DESTINATION_BLOCKED),
    (FailureClass::ContentRejected, kind::CONTENT_REJECTED),
    (FailureClass::SenderRejected, kind::SENDER_REJECTED),
    (FailureClass::AuthFailed, kind::AUTH_FAILED),
    (FailureClass::NoCredit, kind::NO_CREDIT),
    (FailureClass::Throttled, kind::THROTTLED),
    (FailureClass::Transient, kind::TRANSIENT),
    (FailureClass::OutcomeUnknown, kind::OUTCOME_UNKNOWN),
    (FailureClass::Internal, kind::INTERNAL),
    (FailureClass::Unsupported, kind::UNSUPPORTED),
];

const VERDICTS: [(Verdict, u16); 6] = [
    (Verdict::Valid, verdict::VALID),
    (Verdict::Invalid, verdict::INVALID),
    (Verdict::Expired, verdict::EXPIRED),
    (Verdict::AlreadyVerified, verdict::ALREADY_VERIFIED),
    (Verdict::SessionTokenInvalid, verdict::SESSION_TOKEN_INVALID),
    (Verdict::TooManyAttempts, verdict::TOO_MANY_ATTEMPTS),
];

/// A library's error; `private` is what the call is about.
pub(super) fn failure(raw: &RawError, scrubber: &Scrubber, private: &[&str]) -> SendFailure {
    let class = CLASSES
        .iter()
        .find(|(_, known)| *known == raw.kind)
        .map_or(FailureClass::Internal, |(class, _)| *class);
    let wait = Duration::from_millis(raw.retry_after_ms).min(MAX_RETRY_AFTER);
    // A failure's code is a word, and so may be a text that holds no security code: that is no reason to mask it.
    let telling: Vec<&str> = private
        .iter()
        .copied()
        .filter(|text| {
            text.contains(|character: char| character.is_ascii_digit()) || code_words(text).next().is_some()
        })
        .collect();
    SendFailure {
        class,
        code: failure_code(&scrubber.clean(&raw.code, &telling, MAX_CODE_LENGTH)),
        message: scrubber.clean(&raw.message, private, MAX_MESSAGE_CHARACTERS),
        http_status: (100..600).contains(&raw.http_status).then_some(raw.http_status),
        retry_after: (!wait.is_zero()).then_some(wait),
        origin: Origin::default(),
    }
}

/// A code is a label in logs and metrics: word characters only.
fn failure_code(text: &str) -> String {
    let code: String = text
        .chars()
        .map(|character| {
            if character.is_ascii_alphanumeric() || "_-.".contains(character) {
                character
            } else {
                '_'
            }
        })
        .collect();
    if code.is_empty() {
        "unspecified".to_owned()
    } else {
        code
    }
}

/// The host's failure, for a library that called the base.
pub(super) fn raw_failure(failure: &SendFailure) -> RawError {
    let kind = CLASSES
        .iter()
        .find(|(class, _)| *class == failure.class)
        .map_or(kind::INTERNAL, |(_, kind)| *kind);
    raw_error(kind, &failure.code, &failure.message)
}

/// An error of the host, for a library.
pub(super) fn raw_error(kind: u16, code: &str, message: &str) -> RawError {
    RawError {
        kind,
        http_status: 0,
        retry_after_ms: 0,
        code: RString::from(code),
        message: RString::from(message),
        flags: 0,
        ext: RVec::new(),
    }
}

/// The provider took the SMS, so a receipt that is nonsense leaves open whether it was sent.
pub(super) fn receipt(
    raw: &RawReceipt,
    scrubber: &Scrubber,
    private: &[&str],
) -> Result<Receipt, SendFailure> {
    let id = raw.message_id.as_str();
    if id.len() > MAX_RECEIPT_BYTES || id.chars().any(is_harmful) {
        let message = format!(
            "the backend gave a message id that is longer than {MAX_RECEIPT_BYTES} bytes or not a text"
        );
        return Err(
            SendFailure::new(FailureClass::OutcomeUnknown, "bad_receipt", message).arisen_in(Origin::Library),
        );
    }
    let message_id = (!id.is_empty()).then(|| scrubber.clean_id(id, private));
    Ok(Receipt {
        exact_id: message_id
            .as_ref()
            .filter(|shown| *shown != id)
            .map(|_| id.to_owned()),
        message_id,
    })
}

/// A code that a library made.
pub(super) fn security_code(raw: RString) -> Result<SecurityCode, SendFailure> {
    SecurityCode::new(raw.into_string()).ok_or_else(|| {
        let message =
            "the backend made a security code that is empty, longer than 64 characters or not a text";
        SendFailure::new(FailureClass::Internal, "bad_security_code", message)
    })
}

/// A message that a library wrote. New lines are part of a message, other control characters are not.
pub(super) fn message(raw: RString) -> Result<String, SendFailure> {
    let text = raw.into_string();
    let is_text = text
        .chars()
        .all(|character| !character.is_control() || "\n\r\t".contains(character));
    if text.trim().is_empty() || text.chars().count() > MAX_SMS_CHARACTERS || !is_text {
        let message = format!(
            "the backend wrote a message that is empty, longer than {MAX_SMS_CHARACTERS} characters or not a text"
        );
        return Err(SendFailure::new(FailureClass::Internal, "bad_message", message));
    }
    Ok(text)
}

/// A library's verdict.
pub(super) fn verdict(raw: u16) -> Verdict {
    VERDICTS
        .iter()
        .find(|(_, known)| *known == raw)
        .map_or(Verdict::Invalid, |(verdict, _)| *verdict)
}

/// The host's verdict, for a library that called the base.
pub(super) fn raw_verdict(verdict: Verdict) -> u16 {
    VERDICTS
        .iter()
        .find(|(known, _)| *known == verdict)
        .map_or(verdict::INVALID, |(_, raw)| *raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(kind: u16, code: &str, message: &str) -> RawError {
        raw_error(kind, code, message)
    }

    #[test]
    fn an_error_comes_through_in_the_hosts_words() {
        let mut raw = error(
            kind::THROTTLED,
            "nexmo_1",
            "key k3y-abc may not text +13478379634",
        );
        raw.http_status = 429;
        raw.retry_after_ms = u64::MAX;
        let failure = failure(&raw, &Scrubber::new(&["k3y-abc".to_owned()]), &[]);
        assert_eq!(failure.class, FailureClass::Throttled);
        assert_eq!(failure.code, "nexmo_1");
        assert_eq!(failure.message, "key *** may not text +13****34");
        assert_eq!(failure.http_status, Some(429));
        assert_eq!(failure.retry_after, Some(MAX_RETRY_AFTER));
    }

    #[test]
    fn what_is_not_known_has_a_meaning_all_the_same() {
        let failure = failure(
            &error(999, "a b\n", &"x".repeat(100_000)),
            &Scrubber::default(),
            &[],
        );
        assert_eq!(failure.class, FailureClass::Internal);
        assert_eq!(failure.code, "a_b_");
        assert_eq!(failure.message.chars().count(), MAX_MESSAGE_CHARACTERS);
        assert_eq!(failure.http_status, None);
        assert_eq!(verdict(77), Verdict::Invalid);
    }

    #[test]
    fn every_class_and_verdict_survives_the_way_there_and_back() {
        for (class, _) in FailureClass::ALL {
            let there = raw_failure(&SendFailure::new(class, "code", "message"));
            assert_eq!(failure(&there, &Scrubber::default(), &[]).class, class);
        }
        for (known, raw) in VERDICTS {
            assert_eq!(verdict(raw), known);
            assert_eq!(raw_verdict(known), raw);
        }
    }

    #[test]
    fn nonsense_is_a_failure() {
        let receipt_of = |id: &str| {
            let raw = RawReceipt {
                message_id: RString::from(id),
                flags: 0,
                ext: RVec::new(),
            };
            receipt(
                &raw,
                &Scrubber::default(),
                &["Your code is 482913", "+13478379634"],
            )
        };
        assert_eq!(receipt_of("").unwrap().message_id, None);
        assert_eq!(receipt_of("SM1").unwrap().message_id.as_deref(), Some("SM1"));
        assert_eq!(
            receipt_of("9947837963400-482913-13478379634")
                .unwrap()
                .message_id
                .as_deref(),
            Some("9947837963400-***-13****34"),
            "a long number of its own is an id"
        );
        let exact = "9947837963400-482913-13478379634";
        assert_eq!(receipt_of(exact).unwrap().exact_id.as_deref(), Some(exact));
        assert_eq!(receipt_of("SM1").unwrap().exact_id, None);
        let refused = receipt_of(&"x".repeat(257)).unwrap_err();
        assert_eq!(refused.class, FailureClass::OutcomeUnknown);
        assert!(receipt_of("a\0b").is_err());

        assert!(security_code(RString::from("123456")).is_ok());
        assert_eq!(
            security_code(RString::new()).unwrap_err().code,
            "bad_security_code"
        );
        assert!(message(RString::from("Your code is 1.\n@example.com #1")).is_ok());
        for text in [" ", "\u{7}", &"x".repeat(1601)] {
            assert_eq!(message(RString::from(text)).unwrap_err().code, "bad_message");
        }
    }
}
