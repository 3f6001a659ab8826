//! Delivery receipts of the SMS API: a GET request with a query, or a POST request with a form or a JSON object. They are
//! signed if the operator has that switched on for the account.
//!
//! Source: the provider's description of its delivery receipts, of their error codes, and of signed messages. The string
//! that is signed begins with `&`, as in the provider's libraries for Python, PHP and Java.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use phone_verify_plugin_api::{
    DeliveryReport, DeliveryState, Error, ErrorKind, HashAlgorithm, Host, Money, Received, Secret, Webhook,
    data_encoding::HEXLOWER, serde_json,
};
use serde_json::{Map, Value};

use crate::reply::CURRENCY;

/// How old or how far ahead a signed request may be, as in the provider's own libraries.
const MAX_SKEW: Duration = Duration::from_secs(5 * 60);
/// How many fields a receipt has at most; real ones have fewer than 20.
const MAX_FIELDS: usize = 64;

/// How an account signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SignatureMethod {
    /// The MD5 digest of the fields and the secret.
    Md5Hash,
    /// HMAC of the fields, keyed by the secret.
    Hmac(HashAlgorithm),
}

impl SignatureMethod {
    /// By its name in the provider's dashboard.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        Some(match name.to_ascii_lowercase().as_str() {
            "md5hash" => Self::Md5Hash,
            "md5" => Self::Hmac(HashAlgorithm::Md5),
            "sha1" => Self::Hmac(HashAlgorithm::Sha1),
            "sha256" => Self::Hmac(HashAlgorithm::Sha256),
            "sha512" => Self::Hmac(HashAlgorithm::Sha512),
            _ => return None,
        })
    }
}

/// The fields of a receipt, by their names in ascending order.
type Fields = BTreeMap<String, String>;

/// Reads a receipt. `signed`: the secret and the method with which the account signs; `None`: it does not.
pub(crate) fn receive(
    host: &Host,
    signed: Option<(&Secret, SignatureMethod)>,
    request: &Webhook,
) -> Result<Received, Error> {
    let Some(fields) = fields(request) else {
        return Ok(Received::new(400));
    };
    if let Some((secret, method)) = signed
        && !is_genuine(host, &fields, secret, method)?
    {
        return Ok(Received::forbidden());
    }
    let field = |name: &str| {
        fields
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    };
    let (Some(message_id), Some(status)) = (field("messageId"), field("status")) else {
        return Ok(Received::new(400));
    };
    let state = match status {
        "accepted" | "buffered" => DeliveryState::Sent,
        "delivered" => DeliveryState::Delivered,
        "expired" | "failed" | "rejected" => DeliveryState::Undelivered,
        "unknown" => DeliveryState::Unknown,
        // A state that came later: nothing to report, and nothing to send again either.
        _ => return Ok(Received::new(200)),
    };
    let mut report = DeliveryReport::new(message_id, state);
    if state == DeliveryState::Undelivered
        && let Some(code) = field("err-code").and_then(|code| code.parse().ok())
    {
        report = report.with_code(format!("nexmo_dlr_{code}"));
        if let Some(kind) = kind(code) {
            report = report.with_kind(kind);
        }
    }
    if let Some(price) = field("price") {
        report = report.with_cost(Money::new(price, CURRENCY));
    }
    Ok(Received::reports([report]))
}

/// `None`: it cannot be read, or a field is there twice, so that it is unclear which of the two is signed.
fn fields(request: &Webhook) -> Option<Fields> {
    let pairs = if request.method() == "GET" {
        request.query()
    } else if request.is_of_type("application/json") {
        let object: Map<String, Value> = request.json()?;
        let text = |(name, value)| match value {
            Value::String(text) => Some((name, text)),
            Value::Number(number) => Some((name, number.to_string())),
            Value::Bool(flag) => Some((name, flag.to_string())),
            _ => None,
        };
        object.into_iter().filter_map(text).collect()
    } else {
        request.form()
    };
    if pairs.len() > MAX_FIELDS {
        return None;
    }
    let count = pairs.len();
    let fields: Fields = pairs.into_iter().collect();
    (fields.len() == count).then_some(fields)
}

/// Whether the account signed it, and did so just now.
fn is_genuine(host: &Host, fields: &Fields, secret: &Secret, method: SignatureMethod) -> Result<bool, Error> {
    let (Some(signature), Some(timestamp)) = (fields.get("sig"), fields.get("timestamp")) else {
        return Ok(false);
    };
    let expected = signature_of(host, fields, secret, method)?;
    let is_right = host.equal(expected, signature.to_ascii_lowercase());
    Ok(is_right && is_recent(host.now(), timestamp))
}

/// In lower-case hex.
fn signature_of(
    host: &Host,
    fields: &Fields,
    secret: &Secret,
    method: SignatureMethod,
) -> Result<String, Error> {
    let mut text = String::new();
    for (name, value) in fields.iter().filter(|(name, _)| *name != "sig") {
        let plain = |text: &str| text.replace(['&', '='], "_");
        text.push_str(&format!("&{}={}", plain(name), plain(value)));
    }
    let digest = match method {
        SignatureMethod::Md5Hash => {
            text.push_str(secret.expose());
            host.digest(HashAlgorithm::Md5, text.as_bytes())?
        }
        SignatureMethod::Hmac(hash) => host.hmac(hash, secret.expose().as_bytes(), text.as_bytes())?,
    };
    Ok(HEXLOWER.encode(&digest))
}

fn is_recent(now: SystemTime, timestamp: &str) -> bool {
    let Ok(seconds) = timestamp.parse() else {
        return false;
    };
    let Some(signed_at) = UNIX_EPOCH.checked_add(Duration::from_secs(seconds)) else {
        return false;
    };
    let age = now.duration_since(signed_at);
    age.unwrap_or_else(|ahead| ahead.duration()) <= MAX_SKEW
}

/// Why an SMS was not delivered, by the provider's table of error codes. `None`: the table gives no reason.
fn kind(code: u32) -> Option<ErrorKind> {
    Some(match code {
        // Absent, temporarily or for good, or unreachable.
        2 | 3 | 12 => ErrorKind::UnreachableNumber,
        // Barred, or on a list of numbers that are not texted.
        4 | 9 => ErrorKind::OptedOut,
        // Busy, or an error of the network.
        5 | 7 | 8 => ErrorKind::Transient,
        6 | 10 => ErrorKind::ContentRejected,
        // No route, an age restriction, a carrier that blocks.
        11 | 13 | 14 => ErrorKind::DestinationBlocked,
        15 => ErrorKind::NoCredit,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use phone_verify_plugin_api::testing::TestHost;

    use super::*;

    const ADDRESS: &str = "https://verify.example/v1/receipts/default/s3cret";
    /// The time of a [`TestHost`].
    const NOW: u64 = 1_767_225_600;

    fn fields_of(pairs: &[(&str, &str)]) -> Fields {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    /// The vectors of the provider's own libraries.
    #[test]
    fn the_signatures_are_those_of_the_provider() {
        let fields = fields_of(&[("b", "2"), ("timestamp", "1461605396"), ("a", "1"), ("sig", "x")]);
        for (method, secret, expected) in [
            ("md5hash", "secret", "6af838ef94998832dbfc29020b564830"),
            ("md5", "secret", "c15c21ced558c93a226c305f58f902f2"),
            ("sha1", "secret", "3e19a4e6880fdc2c1426bfd0587c98b9532f0210"),
            (
                "SHA256",
                "secret",
                "a321e824b9b816be7c3f28859a31749a098713d39f613c80d455bbaffae1cd24",
            ),
        ] {
            let method = SignatureMethod::parse(method).unwrap();
            let host = TestHost::new().host();
            let signature = signature_of(&host, &fields, &Secret::new(secret), method);
            assert_eq!(signature.unwrap(), expected);
        }
        assert_eq!(SignatureMethod::parse("crc32"), None);
    }

    #[test]
    fn separators_in_a_value_cannot_pass_for_other_fields() {
        let host = TestHost::new().host();
        let sign = |pairs: &[(&str, &str)]| {
            signature_of(
                &host,
                &fields_of(pairs),
                &Secret::new("s"),
                SignatureMethod::Md5Hash,
            )
            .unwrap()
        };
        assert_eq!(sign(&[("a", "1&b=2")]), sign(&[("a", "1_b_2")]));
        assert_ne!(sign(&[("a", "1&b=2")]), sign(&[("a", "1"), ("b", "2")]));
    }

    fn read(request: &Webhook) -> Received {
        receive(&TestHost::new().host(), None, request).unwrap()
    }

    #[test]
    fn a_receipt_is_read_from_a_query_a_form_or_json() {
        let pairs = [
            ("messageId", "0A1"),
            ("status", "delivered"),
            ("price", "0.03330000"),
        ];
        let query = format!("{ADDRESS}?messageId=0A1&status=delivered&price=0.03330000");
        let json = serde_json::json!({ "messageId": "0A1", "status": "delivered", "price": "0.03330000", "err-code": 0 });
        for request in [
            Webhook::get(&query),
            Webhook::post(ADDRESS).with_form(&pairs),
            Webhook::post(ADDRESS).with_json(&json),
        ] {
            let received = read(&request);
            let expected = DeliveryReport::new("0A1", DeliveryState::Delivered)
                .with_cost(Money::new("0.03330000", "EUR"));
            assert_eq!(
                (received.status(), received.delivery_reports()),
                (200, &[expected][..])
            );
        }
    }

    #[test]
    fn every_documented_status_and_error_code_has_its_meaning() {
        for (status, state) in [
            ("accepted", DeliveryState::Sent),
            ("buffered", DeliveryState::Sent),
            ("delivered", DeliveryState::Delivered),
            ("expired", DeliveryState::Undelivered),
            ("failed", DeliveryState::Undelivered),
            ("rejected", DeliveryState::Undelivered),
            ("unknown", DeliveryState::Unknown),
        ] {
            let received = read(&Webhook::get(&format!("{ADDRESS}?messageId=0A1&status={status}")));
            assert_eq!(
                received.delivery_reports(),
                [DeliveryReport::new("0A1", state)],
                "{status}"
            );
        }
        for (code, kind) in [
            (1, None),
            (2, Some(ErrorKind::UnreachableNumber)),
            (3, Some(ErrorKind::UnreachableNumber)),
            (4, Some(ErrorKind::OptedOut)),
            (5, Some(ErrorKind::Transient)),
            (6, Some(ErrorKind::ContentRejected)),
            (7, Some(ErrorKind::Transient)),
            (8, Some(ErrorKind::Transient)),
            (9, Some(ErrorKind::OptedOut)),
            (10, Some(ErrorKind::ContentRejected)),
            (11, Some(ErrorKind::DestinationBlocked)),
            (12, Some(ErrorKind::UnreachableNumber)),
            (13, Some(ErrorKind::DestinationBlocked)),
            (14, Some(ErrorKind::DestinationBlocked)),
            (15, Some(ErrorKind::NoCredit)),
            (99, None),
        ] {
            let request = Webhook::get(&format!("{ADDRESS}?messageId=0A1&status=failed&err-code={code}"));
            let received = read(&request);
            let report = &received.delivery_reports()[0];
            let expected = format!("nexmo_dlr_{code}");
            assert_eq!((report.kind(), report.code()), (kind, expected.as_str()));
        }
    }

    #[test]
    fn what_is_no_receipt_reports_nothing() {
        for (request, status) in [
            (Webhook::get(ADDRESS), 400),
            (Webhook::get(&format!("{ADDRESS}?messageId=0A1")), 400),
            (
                Webhook::get(&format!("{ADDRESS}?messageId=&status=delivered")),
                400,
            ),
            (
                Webhook::get(&format!("{ADDRESS}?messageId=1&messageId=2&status=delivered")),
                400,
            ),
            (Webhook::post(ADDRESS).with_json(&[1]), 400),
            (
                Webhook::get(&format!("{ADDRESS}?messageId=0A1&status=teleported")),
                200,
            ),
        ] {
            let received = read(&request);
            assert_eq!(
                (received.status(), received.delivery_reports()),
                (status, &[][..])
            );
        }
    }

    fn signed(timestamp: u64) -> Vec<(String, String)> {
        let timestamp = timestamp.to_string();
        let mut fields = fields_of(&[
            ("messageId", "0A1"),
            ("status", "delivered"),
            ("timestamp", &timestamp),
        ]);
        let host = TestHost::new().host();
        let signature = signature_of(&host, &fields, &Secret::new("s3cret"), SignatureMethod::Md5Hash);
        fields.insert("sig".to_owned(), signature.unwrap().to_ascii_uppercase());
        fields.into_iter().collect()
    }

    fn judged(fields: &[(String, String)]) -> u16 {
        let secret = Secret::new("s3cret");
        let fields: Vec<_> = fields
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let request = Webhook::post(ADDRESS).with_form(&fields);
        let signed = Some((&secret, SignatureMethod::Md5Hash));
        let received = receive(&TestHost::new().host(), signed, &request).unwrap();
        assert_eq!(
            received.delivery_reports().len(),
            usize::from(received.status() == 200)
        );
        received.status()
    }

    #[test]
    fn where_the_account_signs_only_a_recent_signature_of_it_counts() {
        for (timestamp, status) in [
            (NOW, 200),
            (NOW - 300, 200),
            (NOW + 300, 200),
            (NOW - 301, 403),
            (NOW + 301, 403),
        ] {
            assert_eq!(judged(&signed(timestamp)), status, "{timestamp}");
        }
        let genuine = signed(NOW);
        for name in ["messageId", "status", "timestamp", "sig"] {
            let mut changed = genuine.clone();
            for (_, value) in changed.iter_mut().filter(|(known, _)| known == name) {
                value.push('1');
            }
            assert_eq!(judged(&changed), 403, "{name}");
            let without: Vec<_> = genuine
                .iter()
                .filter(|(known, _)| known != name)
                .cloned()
                .collect();
            assert_eq!(judged(&without), 403, "without {name}");
        }
        let mut more = genuine;
        more.push(("price".to_owned(), "0".to_owned()));
        assert_eq!(judged(&more), 403, "a field that was added");
    }
}
