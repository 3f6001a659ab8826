//! The backend against a host of the tests' own: what it sends, and what it makes of the answers.

mod answers;
mod escaping;
mod examples;
mod options;
mod receipts;
mod signatures;
mod tokens;

use phone_verify_plugin_api::{
    Error,
    serde_json::{Value, json},
    testing::{SentRequest, TestHost, Tested},
};

use crate::HttpBackend;

const ALICE: &str = "+13478379634";
const TEXT: &str = "Your code is 482913 & nothing else.";

/// Options that are complete, with some of them changed. `null` takes one out.
fn options(changes: &Value) -> Value {
    let mut options = json!({
        "URL": "https://api.provider.example/sms",
        "FORM": { "to": "{number}", "text": "{message}" },
        "KEY": "a-secret-key",
        "SECRET": "another-secret",
        "USER": "the-user",
        "PASSWORD": "the-password",
        "SENDER": "Acme",
        "ANSWERS": [{ "status": "200-299", "class": "accepted" }],
    });
    let table = options.as_object_mut().unwrap();
    for (key, value) in changes.as_object().unwrap() {
        if value.is_null() {
            table.remove(key);
        } else {
            table.insert(key.clone(), value.clone());
        }
    }
    options
}

/// A backend with complete options that are changed in some.
fn set_up(changes: &Value) -> (TestHost, Tested<HttpBackend>) {
    let host = TestHost::new();
    let backend = host.construct(&options(changes)).unwrap();
    (host, backend)
}

/// The one request since the last look.
fn only_request(host: &TestHost) -> SentRequest {
    let mut requests = host.requests();
    assert_eq!(requests.len(), 1, "{requests:?}");
    requests.remove(0)
}

/// Why these options are refused.
fn refusal(changes: &Value) -> Error {
    TestHost::new()
        .construct::<HttpBackend>(&options(changes))
        .err()
        .unwrap()
}
