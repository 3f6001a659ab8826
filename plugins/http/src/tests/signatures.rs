//! Signed requests.

use phone_verify_plugin_api::{
    serde_json::{Value, json},
    testing::Answer,
};

use super::{ALICE, only_request, refusal, set_up};

/// The header X-Signature of one SMS.
fn signed(signature: &Value, text: &str) -> (String, String) {
    let (host, backend) = set_up(&json!({
        "HEADERS": { "X-Signature": "{signature}", "X-Time": "{timestamp}" }, "SIGNATURE": signature,
        "SECRET": "key", "QUERY": { "v": "1" },
    }));
    host.answer(Answer::new(200));
    backend.send_sms(ALICE, text).unwrap();
    let request = only_request(&host);
    let signature = request.header("x-signature").unwrap().to_owned();
    (signature, String::from_utf8(request.body().to_vec()).unwrap())
}

/// Vectors: RFC 2104 as in Wikipedia's table for HMAC, RFC 1321, FIPS 180.
#[test]
fn a_signature_is_what_others_compute() {
    let text = "The quick brown fox jumps over the lazy dog";
    for (signature, expected) in [
        (
            json!({ "hash": "md5", "key": "{secret}", "over": "{message}" }),
            "80070713463e7749b90c2dc24911e275",
        ),
        (
            json!({ "hash": "SHA1", "key": "{secret}", "over": "{message}" }),
            "de7c9b85b8b78aa6bc8a7a36f70a90701c9db4d9",
        ),
        (
            json!({ "hash": "sha256", "key": "{secret}", "over": "{message}", "encoding": "base64" }),
            "97yD9DBThCSxMpjmqm+xQ+9NWaFJRhdZl0edvC0aPNg=",
        ),
        (
            json!({ "hash": "sha256", "key": "{secret}", "over": "{message}" }),
            "f7bc83f430538424b13298e6aa6fb143ef4d59a14946175997479dbc2d1a3cd8",
        ),
    ] {
        assert_eq!(signed(&signature, text).0, expected);
    }
}

#[test]
fn a_signature_is_over_the_request_as_it_is_sent() {
    let over = |over: &str| json!({ "hash": "sha256", "key": "{secret}", "over": over });
    let (of_parts, body) = signed(
        &over("{method} {path}?{query}\n{url}\n{timestamp}\n{body}"),
        "a & b",
    );
    assert_eq!(body, "text=a%20%26%20b&to=%2B13478379634");
    let time = 1_767_225_600;
    let url = "https://api.provider.example/sms?v=1";
    let literal = format!("POST /sms?v=1\n{url}\n{time}\n{body}");
    assert_eq!(of_parts, signed(&over(&literal), "a & b").0);
}

#[test]
fn a_wrong_signature_is_told_by_name_with_what_to_do() {
    let good = json!({ "hash": "sha256", "key": "{secret}", "over": "{body}" });
    for (changes, said) in [
        (
            json!({ "HEADERS": { "X": "{signature}" } }),
            "option HEADERS.X has {signature}, which is what",
        ),
        (
            json!({ "SIGNATURE": { "hash": "sha265", "over": "{secret}" } }),
            "did you mean sha256?",
        ),
        (
            json!({ "SIGNATURE": { "hash": "sha256" } }),
            "option SIGNATURE needs hash and over",
        ),
        (
            json!({ "SIGNATURE": { "hash": "sha256", "over": "{body}" } }),
            "option SIGNATURE has no secret",
        ),
        (
            json!({ "SIGNATURE": { "hash": "sha256", "over": "{bdy}", "key": "{secret}" } }),
            "did you mean body?",
        ),
        (
            json!({ "SIGNATURE": { "hash": "sha1", "over": "{secret}", "encoding": "b64" } }),
            "must be hex or base64",
        ),
        (
            json!({ "SIGNATURE": { "hash": "sha1", "ovr": "{secret}" } }),
            "did you mean over?",
        ),
        (
            json!({ "SIGNATURE": { "hash": "sha1", "over": "{signature}{secret}" } }),
            "option SIGNATURE has {signature}",
        ),
        (
            json!({ "HEADERS": { "X": "{path}" } }),
            "a part of the finished request, which only SIGNATURE can have",
        ),
        (
            json!({ "SIGNATURE": good, "FORM": { "a": "{number}{message}{signature}" } }),
            "option SIGNATURE is over {body}",
        ),
        (
            json!({ "SIGNATURE": good, "FORM": { "to": "{number}" } }),
            "no option has {message}",
        ),
        (
            json!({ "SIGNATURE": good, "SECRET": null }),
            "option SECRET is missing, which SIGNATURE has as {secret}",
        ),
    ] {
        let error = refusal(&changes);
        assert!(
            error.message().contains(said),
            "{said:?} is not in: {}",
            error.message()
        );
    }
}
