//! Status callbacks: a signed POST request with a form for each change of a message's state.
//!
//! Source: the provider's description of its status callbacks and of `X-Twilio-Signature`.

use phone_verify_plugin_api::{
    DeliveryReport, DeliveryState, Error, HashAlgorithm, Host, Received, Secret, Webhook,
    data_encoding::{BASE64, HEXLOWER},
};

use crate::reply;

/// How many fields a callback has at most; real ones have about 10.
const MAX_FIELDS: usize = 128;

/// Reads a status callback, after checking that it is signed with the account's auth token.
pub(crate) fn receive(host: &Host, token: &Secret, request: &Webhook) -> Result<Received, Error> {
    let fields = if request.is_of_type("application/x-www-form-urlencoded") {
        request.form()
    } else {
        Vec::new()
    };
    if fields.len() > MAX_FIELDS || !is_genuine(host, token, request, &fields)? {
        return Ok(Received::forbidden());
    }
    let field = |name: &str| {
        let mut fields = fields.iter();
        let (_, value) = fields.find(|(known, _)| known == name)?;
        Some(value.as_str()).filter(|value| !value.is_empty())
    };
    let (Some(message_id), Some(status)) = (field("MessageSid"), field("MessageStatus")) else {
        return Ok(Received::new(400));
    };
    let state = match status {
        "accepted" | "queued" | "sending" | "sent" => DeliveryState::Sent,
        // A message that was read arrived, too.
        "delivered" | "read" => DeliveryState::Delivered,
        "undelivered" | "failed" | "canceled" => DeliveryState::Undelivered,
        // A state that came later: nothing to report, and nothing to send again either.
        _ => return Ok(Received::new(200)),
    };
    let mut report = DeliveryReport::new(message_id, state);
    if state == DeliveryState::Undelivered
        && let Some(code) = field("ErrorCode").and_then(|code| code.parse().ok())
    {
        report = report.with_code(format!("twilio_{code}"));
        if let Some(kind) = reply::kind(code) {
            report = report.with_kind(kind);
        }
    }
    Ok(Received::reports([report]))
}

/// Whether the request is signed with the token. The signature is over the URL and the fields of a form; a body of
/// another type is signed by its digest, which is in the URL. Twilio writes the port of the URL or leaves it out, so both
/// count.
fn is_genuine(
    host: &Host,
    token: &Secret,
    request: &Webhook,
    fields: &[(String, String)],
) -> Result<bool, Error> {
    let signature = request.header("x-twilio-signature").unwrap_or_default();
    let mut is_signed = false;
    for url in with_and_without_port(request.url()) {
        // Not at the first that is right: how long it takes says nothing.
        is_signed |= host.equal(signature_of(host, token, &url, fields)?, signature);
    }
    if !is_signed || !fields.is_empty() || request.body().is_empty() {
        return Ok(is_signed);
    }
    let query = request.query();
    let digest = query.iter().find(|(name, _)| name == "bodySHA256");
    let expected = HEXLOWER.encode(&host.digest(HashAlgorithm::Sha256, request.body())?);
    Ok(digest.is_some_and(|(_, digest)| host.equal(expected, digest.to_ascii_lowercase())))
}

/// HMAC-SHA-1 of the URL and each field with its value, in ascending order and each pair once, in Base64.
fn signature_of(
    host: &Host,
    token: &Secret,
    url: &str,
    fields: &[(String, String)],
) -> Result<String, Error> {
    let mut sorted: Vec<_> = fields.iter().collect();
    sorted.sort();
    sorted.dedup();
    let mut text = url.to_owned();
    for (name, value) in sorted {
        text.push_str(name);
        text.push_str(value);
    }
    let mac = host.hmac(HashAlgorithm::Sha1, token.expose().as_bytes(), text.as_bytes())?;
    Ok(BASE64.encode(&mac))
}

/// The URL with the port of its scheme, and without it. One with another port is what it is.
fn with_and_without_port(url: &str) -> Vec<String> {
    let Some((scheme, rest)) = url.split_once("://") else {
        return vec![url.to_owned()];
    };
    let default = match scheme {
        "https" => ":443",
        "http" => ":80",
        _ => return vec![url.to_owned()],
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (host, path) = rest.split_at(end);
    let bare = host.strip_suffix(default).unwrap_or(host);
    let name = bare.rsplit_once('@').map_or(bare, |(_, name)| name);
    // An IPv6 address has colons of its own, in brackets.
    let has_port = name
        .rsplit_once(']')
        .map_or(name, |(_, after)| after)
        .contains(':');
    if has_port {
        return vec![url.to_owned()];
    }
    vec![
        format!("{scheme}://{bare}{path}"),
        format!("{scheme}://{bare}{default}{path}"),
    ]
}

#[cfg(test)]
mod tests {
    use phone_verify_plugin_api::{ErrorKind, testing::TestHost};

    use super::*;

    const ADDRESS: &str = "https://verify.example/v1/receipts/default";

    fn pairs(fields: &[(&str, &str)]) -> Vec<(String, String)> {
        fields
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    fn sign(url: &str, fields: &[(&str, &str)]) -> String {
        let host = TestHost::new().host();
        signature_of(&host, &Secret::new("12345"), url, &pairs(fields)).unwrap()
    }

    /// The vector of the provider's own libraries.
    #[test]
    fn the_signature_is_that_of_the_provider() {
        let fields = [
            ("To", "+18005551212"),
            ("From", "+14158675309"),
            ("Digits", "1234"),
            ("CallSid", "CA1234567890ABCDE"),
            ("Caller", "+14158675309"),
        ];
        let url = "https://mycompany.com/myapp.php?foo=1&bar=2";
        assert_eq!(sign(url, &fields), "RSOYDt4T1cUTdK1PDd93/VVr8B8=");
        let twice = [&fields[..], &fields[..2]].concat();
        assert_eq!(sign(url, &twice), "RSOYDt4T1cUTdK1PDd93/VVr8B8=");
    }

    #[test]
    fn a_url_has_its_usual_port_or_none() {
        let both = |host: &str| {
            [
                format!("https://{host}/a:443?b=1"),
                format!("https://{host}:443/a:443?b=1"),
            ]
        };
        for host in ["verify.example", "[::1]", "user:secret@verify.example"] {
            for url in both(host) {
                assert_eq!(with_and_without_port(&url), both(host), "{url}");
            }
        }
        for url in [
            "https://verify.example:8443/a",
            "https://[::1]:8443",
            "ftp://x",
            "nonsense",
        ] {
            assert_eq!(with_and_without_port(url), [url]);
        }
        assert_eq!(
            with_and_without_port("http://verify.example?a=1"),
            ["http://verify.example?a=1", "http://verify.example:80?a=1"]
        );
    }

    fn receive_signed(fields: &[(&str, &str)], signature: &str) -> Received {
        let request = Webhook::post(ADDRESS)
            .with_form(fields)
            .with_header("X-Twilio-Signature", signature);
        receive(&TestHost::new().host(), &Secret::new("12345"), &request).unwrap()
    }

    fn read(fields: &[(&str, &str)]) -> Received {
        receive_signed(fields, &sign(ADDRESS, fields))
    }

    #[test]
    fn every_documented_status_has_its_meaning() {
        for (status, state) in [
            ("accepted", DeliveryState::Sent),
            ("queued", DeliveryState::Sent),
            ("sending", DeliveryState::Sent),
            ("sent", DeliveryState::Sent),
            ("delivered", DeliveryState::Delivered),
            ("read", DeliveryState::Delivered),
            ("undelivered", DeliveryState::Undelivered),
            ("failed", DeliveryState::Undelivered),
            ("canceled", DeliveryState::Undelivered),
        ] {
            let received = read(&[("MessageSid", "SM1"), ("MessageStatus", status)]);
            assert_eq!(
                received.delivery_reports(),
                [DeliveryReport::new("SM1", state)],
                "{status}"
            );
        }
        for (code, kind) in [
            ("30003", Some(ErrorKind::Transient)),
            ("30004", Some(ErrorKind::OptedOut)),
            ("30005", Some(ErrorKind::UnreachableNumber)),
            ("30006", Some(ErrorKind::UnreachableNumber)),
            ("30007", Some(ErrorKind::ContentRejected)),
            ("30034", Some(ErrorKind::SenderRejected)),
            ("39999", None),
        ] {
            let fields = [
                ("MessageSid", "SM1"),
                ("MessageStatus", "undelivered"),
                ("ErrorCode", code),
            ];
            let received = read(&fields);
            let report = &received.delivery_reports()[0];
            let expected = format!("twilio_{code}");
            assert_eq!((report.kind(), report.code()), (kind, expected.as_str()));
        }
    }

    #[test]
    fn what_is_signed_and_no_callback_reports_nothing() {
        for (fields, status) in [
            (&[("MessageSid", "SM1")][..], 400),
            (&[("MessageSid", ""), ("MessageStatus", "delivered")], 400),
            (&[("MessageSid", "SM1"), ("MessageStatus", "scheduled")], 200),
        ] {
            let received = read(fields);
            assert_eq!(
                (received.status(), received.delivery_reports()),
                (status, &[][..])
            );
        }
    }

    #[test]
    fn without_the_right_signature_nothing_counts() {
        let fields = [("MessageSid", "SM1"), ("MessageStatus", "delivered")];
        let genuine = sign(ADDRESS, &fields);
        assert_eq!(receive_signed(&fields, &genuine).status(), 200);
        let more = [&fields[..], &[("ErrorCode", "30005")]].concat();
        for (fields, signature) in [
            (&fields[..], ""),
            (&fields, "x"),
            (&fields, &genuine.to_lowercase()),
            (&fields, &sign("https://elsewhere.example/", &fields)),
            (&more, &genuine),
            (&fields[..1], &genuine),
        ] {
            let received = receive_signed(fields, signature);
            assert_eq!((received.status(), received.delivery_reports()), (403, &[][..]));
        }
    }

    #[test]
    fn a_body_that_is_no_form_is_signed_by_its_digest() {
        let body = br#"{"MessageSid":"SM1"}"#;
        let host = TestHost::new().host();
        let digest = HEXLOWER.encode(&host.digest(HashAlgorithm::Sha256, body).unwrap());
        let url = format!("{ADDRESS}?bodySHA256={digest}");
        let request = |body: &[u8]| {
            Webhook::post(&url)
                .with_header("content-type", "application/json")
                .with_header("x-twilio-signature", &sign(&url, &[]))
                .with_body(body)
        };
        let status = |request: Webhook| receive(&host, &Secret::new("12345"), &request).unwrap().status();
        // Genuine, but no status callback.
        assert_eq!(status(request(body)), 400);
        assert_eq!(status(request(b"{}")), 403);
    }
}
