//! Whatever a client sends, it gets one of the answers that are promised, as JSON with a machine code where it is an
//! error, and never one that says that the server is broken.
//!
//! `PROPTEST_CASES` is how many requests are tried at each door.

use std::cell::LazyCell;

use axum::{
    body::Body,
    http::{Request, header},
};
use phone_verify_tests::service::{Rules, Service};
use proptest::{
    collection::vec,
    prelude::*,
    sample::{Index, select},
};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

const DROP_IN: [&str; 4] = [
    "/api/phone/register",
    "/api/phone/register/",
    "/api/phone/verify",
    "/api/phone/verify/",
];
const NATIVE: [&str; 5] = [
    "/v1/verifications",
    "/v1/verifications/018bcfe568001f2e3d4c5b6a79880000",
    "/v1/verifications/018bcfe568001f2e3d4c5b6a79880000/check",
    "/v1/verifications/018bcfe568001f2e3d4c5b6a79880000/resend",
    "/v1/verifications/%00",
];
const METHODS: [&str; 6] = ["POST", "POST", "POST", "GET", "DELETE", "BREW"];
const MEDIA_TYPES: [&str; 9] = [
    "application/json",
    "application/json; charset=utf-16",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
    "multipart/form-data",
    "text/plain",
    "application/*",
    ";;",
    "",
];
const NAMES: [&str; 9] = [
    "phone_number",
    "session_token",
    "security_code",
    "locale",
    "context",
    "client_ref",
    "purpose",
    "binding",
    "other",
];

/// A value of a field, right, wrong, or of the wrong type.
fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        3 => Just(json!("+13478379634")),
        2 => any::<String>().prop_map(Value::from),
        1 => "[+0-9 ()-]{0,20}".prop_map(Value::from),
        1 => "\\PC{0,300}".prop_map(Value::from),
        1 => any::<i64>().prop_map(Value::from),
        1 => any::<f64>().prop_map(Value::from),
        1 => Just(Value::Null),
        1 => Just(json!({ "a": ["b"] })),
        1 => vec(any::<String>(), 0..3).prop_map(Value::from),
    ]
}

fn fields() -> impl Strategy<Value = Vec<(&'static str, Value)>> {
    vec((select(NAMES.to_vec()), value()), 0..5)
}

/// A body as each of the media types has it, and what is none.
fn body() -> impl Strategy<Value = Vec<u8>> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    prop_oneof![
        4 => fields().prop_map(|fields| {
            let fields = fields.into_iter().map(|(name, value)| (name.to_owned(), value));
            Value::Object(fields.collect())
                .to_string()
                .into_bytes()
        }),
        2 => fields().prop_map(move |fields| {
            let fields = fields.iter().map(|(name, value)| (name, text(value)));
            form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish().into_bytes()
        }),
        2 => fields().prop_map(move |fields| {
            let mut body = String::new();
            for (name, value) in &fields {
                let head = format!("--x\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n");
                body.extend([&head, &text(value), "\r\n"]);
            }
            (body + "--x--\r\n").into_bytes()
        }),
        1 => value().prop_map(|value| value.to_string().into_bytes()),
        1 => vec(any::<u8>(), 0..200),
    ]
}

/// The same with some bytes changed, or its end cut off.
fn damaged_body() -> impl Strategy<Value = Vec<u8>> {
    let damage = vec((any::<Index>(), any::<u8>()), 0..4);
    (body(), damage, prop::option::weighted(0.2, any::<Index>())).prop_map(|(mut body, damage, cut)| {
        for (at, byte) in damage {
            if !body.is_empty() {
                let at = at.index(body.len());
                body[at] = byte;
            }
        }
        if let Some(cut) = cut.filter(|_| !body.is_empty()) {
            body.truncate(cut.index(body.len()));
        }
        body
    })
}

fn request(paths: &[&'static str]) -> impl Strategy<Value = (&'static str, Request<Vec<u8>>)> + use<> {
    let idempotency_key = prop::option::weighted(0.2, "[ -~]{0,80}");
    let language = prop::option::weighted(0.3, "[ -~]{0,80}");
    let parts = (
        select(METHODS.to_vec()),
        select(paths.to_vec()),
        select(MEDIA_TYPES.to_vec()),
        idempotency_key,
        language,
        damaged_body(),
    );
    parts.prop_map(|(method, path, media_type, key, language, body)| {
        let mut request = Request::builder().method(method).uri(path);
        if !media_type.is_empty() {
            request = request.header(header::CONTENT_TYPE, media_type);
        }
        for (name, value) in [("idempotency-key", key), ("accept-language", language)] {
            if let Some(value) = value {
                request = request.header(name, value);
            }
        }
        (path, request.body(body).unwrap())
    })
}

thread_local! {
    /// A service to each test: it lives as long as the test's thread.
    static SERVICE: LazyCell<(Service, Runtime)> = LazyCell::new(|| {
        let runtime = Runtime::new().unwrap();
        let service = runtime.block_on(async { Service::start(&Rules::default()) });
        (service, runtime)
    });
}

/// Asks, and holds what every answer must have.
fn assert_answered(
    request: Request<Vec<u8>>,
    statuses: &[u16],
    media_type: &str,
) -> Result<(), TestCaseError> {
    let shown = format!("{request:?}");
    let answer = SERVICE.with(|service| {
        let (service, runtime) = &**service;
        runtime.block_on(service.answer(request.map(Body::from)))
    });
    let (status, text) = (answer.status().as_u16(), String::from_utf8_lossy(answer.body()));
    prop_assert!(statuses.contains(&status), "{} {}\nto {}", status, text, shown);
    let body: Value = serde_json::from_slice(answer.body())
        .map_err(|error| TestCaseError::fail(format!("{error}: {text}\nto {shown}")))?;
    if status >= 400 {
        let code = body["code"].as_str().unwrap_or_default();
        let is_code = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        prop_assert!(
            !code.is_empty() && code.bytes().all(is_code),
            "{}\nto {}",
            text,
            shown
        );
        prop_assert_eq!(&answer.headers()[header::CONTENT_TYPE], media_type);
        prop_assert_eq!(status == 429, answer.headers().contains_key(header::RETRY_AFTER));
    }
    Ok(())
}

proptest! {
    #[test]
    fn the_drop_in_endpoints_answer_every_request((_, request) in request(&DROP_IN)) {
        assert_answered(request, &[200, 400, 405, 415, 429], "application/json")?;
    }

    #[test]
    fn the_native_api_answers_every_request((path, request) in request(&NATIVE)) {
        let mut statuses = vec![201, 400, 404, 405, 409, 415, 422, 429];
        // The body of what is read or ended does not matter.
        if path.ends_with("resend") {
            statuses.push(200);
        }
        assert_answered(request, &statuses, "application/problem+json")?;
    }
}
