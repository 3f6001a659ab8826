//! HTTP through the host: the requests that leave, and what an answer or its absence means for a send.

use std::time::Duration;

use phone_verify_plugin_abi::{
    RawError, RawHttpRequest, RawHttpResponse,
    abi_stable::std_types::{RString, RVec, Tuple2},
    http_error, kind,
};
use phone_verify_plugin_api::{
    Backend, Call, Error, Host, PhoneNumber, Receipt, backend,
    serde_json::{Value, json},
};

use crate::host::{Outcome, TestHost, raw_error, send};

/// Posts a form, and reads the message id from a JSON answer.
struct Form(Host);

#[backend]
impl Backend for Form {
    type Options = ();

    fn new((): (), host: Host) -> Result<Self, Error> {
        Ok(Self(host))
    }

    async fn send_sms(&self, number: &PhoneNumber, message: &str, _call: &Call) -> Result<Receipt, Error> {
        let response = self
            .0
            .http()
            .post("https://acme.example/sms")
            .query(&[("v", "1 & 2")])
            .query(&[("w", "3")])
            .basic_auth("user", "pass word")
            .timeout(Duration::from_secs(2))
            .form(&[("to", number.digits()), ("text", message)])
            .send()
            .await?;
        if let Some(wait) = response.retry_after() {
            return Err(Error::from_http_status("acme", response.status()).with_retry_after(wait));
        }
        let answer: Value = response.json()?;
        Ok(Receipt::new(answer["id"].as_str().unwrap_or_default()))
    }
}

/// Posts JSON.
struct Json(Host);

#[backend]
impl Backend for Json {
    type Options = ();

    fn new((): (), host: Host) -> Result<Self, Error> {
        Ok(Self(host))
    }

    async fn send_sms(&self, number: &PhoneNumber, message: &str, _call: &Call) -> Result<Receipt, Error> {
        let body = json!({ "to": number.e164(), "text": message });
        let request = self
            .0
            .http()
            .post("https://acme.example/")
            .bearer("key")
            .json(&body);
        request.send().await?;
        Ok(Receipt::without_id())
    }
}

fn answer(status: u16, headers: &[(&str, &str)], body: &str) -> RawHttpResponse {
    RawHttpResponse {
        status,
        headers: headers
            .iter()
            .map(|(name, value)| Tuple2(RString::from(*name), RString::from(*value)))
            .collect(),
        body: RVec::from(body.as_bytes().to_vec()),
        flags: 0,
        ext: RVec::new(),
    }
}

fn header<'a>(request: &'a RawHttpRequest, name: &str) -> &'a str {
    let header = request.headers.iter().find(|header| header.0 == name);
    &header.expect("the header was sent").1
}

/// The outcome of a send when the provider gives this answer.
fn sent(outcome: Outcome<RawHttpResponse>) -> Outcome<String> {
    let host = TestHost::with_provider(move |_| outcome.clone());
    send(&host.construct::<Form>("{}")?)
}

fn failed(kind: u16, code: &str) -> RawError {
    sent(Err(raw_error(kind, code))).unwrap_err()
}

#[test]
fn a_form_goes_out_encoded() {
    let host = TestHost::with_provider(|request| {
        assert_eq!(request.method, "POST");
        assert_eq!(request.url, "https://acme.example/sms?v=1+%26+2&w=3");
        assert_eq!(request.timeout_ms, 2000);
        assert_eq!(header(&request, "authorization"), "Basic dXNlcjpwYXNzIHdvcmQ=");
        assert_eq!(
            header(&request, "content-type"),
            "application/x-www-form-urlencoded"
        );
        assert_eq!(
            request.body.as_slice(),
            b"to=13478379634&text=Your+code+is+424242"
        );
        Ok(answer(200, &[], r#"{"id": "m-1"}"#))
    });
    assert_eq!(send(&host.construct::<Form>("{}").unwrap()).unwrap(), "m-1");
}

#[test]
fn json_goes_out_as_json() {
    let host = TestHost::with_provider(|request| {
        assert_eq!(header(&request, "authorization"), "Bearer key");
        assert_eq!(header(&request, "content-type"), "application/json");
        assert_eq!(
            request.body.as_slice(),
            br#"{"text":"Your code is 424242","to":"+13478379634"}"#
        );
        Ok(answer(202, &[], ""))
    });
    send(&host.construct::<Json>("{}").unwrap()).unwrap();
}

#[test]
fn a_request_that_never_left_may_be_tried_again() {
    assert_eq!(failed(kind::TRANSIENT, http_error::CONNECT).kind, kind::TRANSIENT);
}

#[test]
fn a_request_without_an_answer_may_have_been_an_sms() {
    assert_eq!(
        failed(kind::OUTCOME_UNKNOWN, http_error::TIMEOUT).kind,
        kind::OUTCOME_UNKNOWN
    );
    assert_eq!(failed(4711, "from_the_future").kind, kind::INTERNAL);
}

#[test]
fn a_success_that_cannot_be_read_may_have_been_an_sms() {
    let error = sent(Ok(answer(200, &[], "<html>"))).unwrap_err();
    assert_eq!((error.kind, error.http_status), (kind::OUTCOME_UNKNOWN, 200));
    assert_eq!(error.code, "unreadable_answer");
}

#[test]
fn the_wait_that_the_provider_asks_for_is_kept() {
    let error = sent(Ok(answer(429, &[("Retry-After", " 7 ")], ""))).unwrap_err();
    assert_eq!((error.kind, error.retry_after_ms), (kind::THROTTLED, 7000));
    assert_eq!(error.code, "acme_http_429");
    // The other form of the header: a date, relative to the provider's own clock.
    let until = [
        ("Date", "Sun, 06 Nov 1994 08:49:37 GMT"),
        ("Retry-After", "Sun, 06 Nov 1994 08:49:44 GMT"),
    ];
    let error = sent(Ok(answer(429, &until, ""))).unwrap_err();
    assert_eq!((error.kind, error.retry_after_ms), (kind::THROTTLED, 7000));
}
