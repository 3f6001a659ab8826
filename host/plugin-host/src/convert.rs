//! Between the ABI's values and the host's. What comes from a library is bounded and cleaned here, once.
//!
//! Invariant: nothing of a library passes unread: an unknown kind is `Internal`, an unknown verdict `Invalid`, nonsense
//! is a failure of the call.

use std::time::Duration;

use phone_verify_plugin_abi::{
    Ext, RawBalance, RawError, RawReceipt, RawReceived, RawReport,
    abi_stable::std_types::{RString, RVec},
    delivery, kind, receipt_key, verdict,
};

use super::scrub::{Scrubber, code_words};
use crate::{
    AccountBalance,
    clock::UnixMillis,
    model::{
        Cost, Currency, DeliveryReport, FailureClass, Origin, ProviderMessageId, Receipt, ReceiptAnswer,
        ReportedState, SecurityCode, SendFailure, Verdict, is_harmful,
    },
};

const MAX_CODE_LENGTH: usize = 64;
pub(super) const MAX_MESSAGE_CHARACTERS: usize = 500;
const MAX_RECEIPT_BYTES: usize = 256;
/// Ten parts: no provider takes a longer text.
const MAX_SMS_CHARACTERS: usize = 1600;
/// More digits are no money.
const MAX_AMOUNT_BYTES: usize = 32;
/// The end of the year 9999: later is no time of a report.
const MAX_TIME_MS: u64 = 253_402_300_799_999;
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
    let class = class(raw.kind);
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

fn class(kind: u16) -> FailureClass {
    let mut classes = CLASSES.iter();
    let known = classes.find(|(_, known)| *known == kind);
    known.map_or(FailureClass::Internal, |(class, _)| *class)
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
        segments: of(&raw.ext, receipt_key::SEGMENTS)
            .parse()
            .ok()
            .filter(|segments| *segments > 0),
        // A price that is none takes nothing from the receipt: the SMS was taken all the same.
        cost: Cost::parse(
            of(&raw.ext, receipt_key::COST),
            of(&raw.ext, receipt_key::CURRENCY),
        ),
    })
}

/// The value of a name in the pairs that a struct carries; empty: it is not among them.
fn of<'a>(ext: &'a Ext, name: &str) -> &'a str {
    let mut pairs = ext.iter();
    pairs
        .find(|pair| pair.0 == name)
        .map_or("", |pair| pair.1.as_str())
}

/// What a library made of a request of its provider.
pub(super) fn received(raw: &RawReceived, scrubber: &Scrubber) -> Result<ReceiptAnswer, SendFailure> {
    let reports: Option<Vec<DeliveryReport>> = raw
        .reports
        .iter()
        .map(|report| self::report(report, scrubber))
        .collect();
    let Some(reports) = reports else {
        let most = ProviderMessageId::MAX_BYTES;
        return Err(bad_answer(&format!(
            "it reports about a message whose id is empty, longer than {most} bytes or not a text"
        )));
    };
    let headers = raw.answer.headers.iter();
    let answer = ReceiptAnswer {
        status: raw.answer.status,
        headers: headers
            .map(|pair| (pair.0.to_string(), pair.1.to_string()))
            .collect(),
        body: raw.answer.body.to_vec(),
        reports,
    };
    let is_header = |name: &str, value: &str| {
        http::HeaderName::from_bytes(name.as_bytes()).is_ok() && http::HeaderValue::from_str(value).is_ok()
    };
    if answer.headers.iter().any(|(name, value)| !is_header(name, value)) {
        return Err(bad_answer("it has a header that HTTP cannot carry"));
    }
    match answer.out_of_bounds() {
        Some(fault) => Err(bad_answer(fault)),
        None => Ok(answer),
    }
}

fn bad_answer(fault: &str) -> SendFailure {
    let message = format!("the backend gave an answer for its provider that cannot be used: {fault}");
    SendFailure::new(FailureClass::Internal, "bad_answer", message).arisen_in(Origin::Library)
}

/// What a library says that its provider reports; `None`: it is about no message that can be.
fn report(raw: &RawReport, scrubber: &Scrubber) -> Option<DeliveryReport> {
    let id = raw.message_id.as_str();
    let id = ProviderMessageId::new(id).filter(|_| !id.chars().any(is_harmful))?;
    let state = match raw.state {
        delivery::SENT => ReportedState::Sent,
        delivery::DELIVERED => ReportedState::Delivered,
        delivery::UNDELIVERED => ReportedState::Undelivered,
        _ => ReportedState::Unknown,
    };
    let code = scrubber.clean(&raw.code, &[], MAX_CODE_LENGTH);
    let code = if code.is_empty() {
        code
    } else {
        failure_code(&code)
    };
    Some(DeliveryReport {
        class: (raw.kind != 0).then(|| class(raw.kind)),
        at: (1..=MAX_TIME_MS)
            .contains(&raw.at_unix_ms)
            .then_some(UnixMillis(raw.at_unix_ms)),
        cost: Cost::parse(&raw.cost, &raw.currency),
        segments: (raw.segments > 0).then_some(raw.segments),
        ..DeliveryReport::new(id, state).with_code(&code)
    })
}

/// What a library says is left of an account.
pub(super) fn balance(raw: &RawBalance) -> Result<AccountBalance, SendFailure> {
    let amount = raw.amount.as_str();
    let digits = amount.strip_prefix('-').unwrap_or(amount);
    let is_decimal = digits.starts_with(|first: char| first.is_ascii_digit())
        && digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
        && digits.matches('.').count() <= 1;
    if !is_decimal || amount.len() > MAX_AMOUNT_BYTES {
        let message = format!(
            "the backend gave a balance that is no decimal number of at most {MAX_AMOUNT_BYTES} characters"
        );
        return Err(
            SendFailure::new(FailureClass::Internal, "bad_balance", message).arisen_in(Origin::Library)
        );
    }
    Ok(AccountBalance {
        amount: amount.to_owned(),
        currency: Currency::parse(&raw.currency),
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
    use phone_verify_plugin_abi::{RawHttpResponse, abi_stable::std_types::Tuple2};

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

    fn reported(message_id: &str) -> RawReport {
        RawReport {
            message_id: RString::from(message_id),
            state: delivery::UNDELIVERED,
            kind: kind::UNREACHABLE_NUMBER,
            code: RString::from("k3y-abc 30005"),
            at_unix_ms: 1_767_225_600_000,
            segments: 2,
            cost: RString::from("0.0333"),
            currency: RString::from("EUR"),
            flags: 0,
            ext: RVec::new(),
        }
    }

    fn answered(status: u16, reports: Vec<RawReport>) -> RawReceived {
        RawReceived {
            answer: RawHttpResponse {
                status,
                headers: RVec::new(),
                body: RVec::new(),
                flags: 0,
                ext: RVec::new(),
            },
            reports: reports.into(),
            flags: 0,
            ext: RVec::new(),
        }
    }

    #[test]
    fn a_report_comes_through_with_its_code_masked() {
        let scrubber = Scrubber::new(&["k3y-abc".to_owned()]);
        let answer = received(&answered(200, vec![reported("SM1")]), &scrubber).unwrap();
        let report = &answer.reports[0];
        assert_eq!(report.message_id.expose(), "SM1");
        assert_eq!(report.state, ReportedState::Undelivered);
        assert_eq!(report.class, Some(FailureClass::UnreachableNumber));
        assert_eq!(report.code.as_deref(), Some("____30005"));
        assert_eq!(report.at, Some(UnixMillis(1_767_225_600_000)));
        assert_eq!(
            (report.segments, report.cost),
            (Some(2), Cost::parse("0.0333", "EUR"))
        );

        let unknown = RawReport {
            state: 77,
            kind: 0,
            code: RString::new(),
            at_unix_ms: u64::MAX,
            segments: 0,
            cost: RString::from("free"),
            ..reported("SM1")
        };
        let answer = received(&answered(204, vec![unknown]), &scrubber).unwrap();
        let expected = DeliveryReport::new(ProviderMessageId::new("SM1").unwrap(), ReportedState::Unknown);
        assert_eq!(answer.reports, [expected]);
    }

    #[test]
    fn an_answer_for_a_provider_is_within_its_bounds_or_a_failure_of_the_library() {
        let answer = |reports| answered(200, reports);
        let mut with_header = answer(Vec::new());
        with_header
            .answer
            .headers
            .push(Tuple2(RString::from("x"), RString::from("a\r\nset-cookie: b")));
        let mut long = answer(Vec::new());
        long.answer.body = RVec::from(vec![0; ReceiptAnswer::MAX_BODY_BYTES + 1]);
        for (wrong, fault) in [
            (answer(vec![reported("")]), "a message whose id is empty"),
            (answer(vec![reported(&"x".repeat(257))]), "longer than 256 bytes"),
            (answer(vec![reported("a\0b")]), "not a text"),
            (answer(vec![reported("SM1"); 101]), "more than 100 reports"),
            (
                answered(403, vec![reported("SM1")]),
                "although it refuses the request",
            ),
            (answered(0, Vec::new()), "its status is not between 200 and 599"),
            (with_header, "a header that HTTP cannot carry"),
            (long, "longer than 64 KiB"),
        ] {
            let failure = received(&wrong, &Scrubber::default()).unwrap_err();
            assert_eq!(
                (failure.code.as_str(), failure.origin),
                ("bad_answer", Origin::Library)
            );
            assert!(failure.message.contains(fault), "{}", failure.message);
        }
        assert!(received(&answer(vec![reported("SM1"); 100]), &Scrubber::default()).is_ok());
    }

    #[test]
    fn a_balance_is_a_decimal_number() {
        let of = |amount: &str, currency: &str| {
            balance(&RawBalance {
                amount: RString::from(amount),
                currency: RString::from(currency),
                flags: 0,
                ext: RVec::new(),
            })
        };
        let left = of("-15.5359", "eur").unwrap();
        assert_eq!(left.to_string(), "-15.5359 EUR");
        assert_eq!(of("7", "").unwrap().to_string(), "7");
        for amount in [
            "",
            "-",
            ".5",
            "1.2.3",
            "1e9",
            "much",
            &"1".repeat(33),
            "5 \u{1b}[2J",
        ] {
            assert_eq!(of(amount, "EUR").unwrap_err().code, "bad_balance", "{amount}");
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

        let priced = |pairs: &[(&str, &str)]| {
            let ext = pairs
                .iter()
                .map(|(name, value)| Tuple2(RString::from(*name), RString::from(*value)));
            let raw = RawReceipt {
                message_id: RString::from("SM1"),
                flags: 0,
                ext: ext.collect(),
            };
            let receipt = receipt(&raw, &Scrubber::default(), &[]).unwrap();
            (receipt.segments, receipt.cost)
        };
        let cost = Cost::parse("0.0333", "EUR");
        assert_eq!(
            priced(&[
                ("segments", "2"),
                ("cost", "0.0333"),
                ("currency", "EUR"),
                ("later", "x")
            ]),
            (Some(2), cost)
        );
        assert_eq!(
            priced(&[("segments", "-1"), ("cost", "free"), ("currency", "EUR")]),
            (None, None)
        );
        assert_eq!(priced(&[("segments", "0"), ("cost", "0.0333")]), (None, None));

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
