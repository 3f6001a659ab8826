//! The settings in `examples`, each as it is in its file, against the recorded answers of its provider
//! (`tests/recorded.toml`): what is on the wire, and what the documented answers mean.

use std::{collections::BTreeMap, fs, path::Path};

use phone_verify_plugin_api::{
    DeliveryReport, DeliveryState, ErrorKind, Webhook,
    serde::{self, Deserialize, de::DeserializeOwned},
    serde_json::{self, Value},
    testing::{Answer, SentRequest, TestHost, Tested},
};

use super::{ALICE, TEXT};
use crate::{
    HttpBackend,
    rules::{classes, kind},
};

/// What a provider documents.
#[derive(Deserialize)]
#[serde(crate = "serde", deny_unknown_fields)]
struct Recorded {
    documentation: String,
    request: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    body: Value,
    message_id: String,
    success: Success,
    failures: Vec<Failure>,
    #[serde(default)]
    receipts: Vec<RecordedReceipt>,
}

#[derive(Deserialize)]
#[serde(crate = "serde", deny_unknown_fields)]
struct Success {
    status: u16,
    body: String,
}

#[derive(Deserialize)]
#[serde(crate = "serde", deny_unknown_fields)]
struct Failure {
    status: u16,
    body: String,
    class: String,
    code: String,
}

/// A request with delivery receipts, and what it reports: id, state, and class or nothing.
#[derive(Deserialize)]
#[serde(crate = "serde", deny_unknown_fields)]
struct RecordedReceipt {
    form: Option<String>,
    json: Option<String>,
    reports: Vec<(String, String, String)>,
}

fn toml<T: DeserializeOwned>(path: &str) -> T {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    toml::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// Each provider by the name of its example.
fn recorded() -> BTreeMap<String, Recorded> {
    toml("tests/recorded.toml")
}

/// The backend of an example, with secrets in the place of the references to the environment.
fn of_example(name: &str) -> (TestHost, Tested<HttpBackend>) {
    let mut settings: Value = toml(&format!("examples/{name}.toml"));
    let section = &mut settings["phone_verification"];
    assert_eq!(section["BACKEND"], "http.HttpBackend", "{name}");
    let options = &mut section["OPTIONS"];
    for (option, value) in [
        ("USER", "the-user"),
        ("PASSWORD", "the-password"),
        ("KEY", "a-secret-key"),
    ] {
        if let Some(given) = options.get_mut(option) {
            assert!(
                given.as_str().unwrap().starts_with("${env:"),
                "{name} has its {option} in the file"
            );
            *given = Value::from(value);
        }
    }
    let host = TestHost::new();
    let backend = host
        .construct(options)
        .unwrap_or_else(|error| panic!("{name}: {error}"));
    (host, backend)
}

/// The body as JSON, or the fields of a form as one object.
fn body(request: &SentRequest) -> Value {
    if request.header("content-type") == Some("application/json") {
        return request.json();
    }
    form_urlencoded::parse(request.body())
        .map(|(name, value)| (name.into_owned(), Value::from(value)))
        .collect()
}

#[test]
fn each_example_makes_the_request_that_its_provider_documents() {
    for (name, recorded) in recorded() {
        let (host, backend) = of_example(&name);
        host.answer(Answer::new(recorded.success.status).body(recorded.success.body));
        let receipt = backend
            .send_sms(ALICE, TEXT)
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(receipt.message_id(), recorded.message_id, "{name}");

        let requests = host.requests();
        let [request] = requests.as_slice() else {
            panic!("{name} makes {} requests", requests.len())
        };
        assert_eq!(
            format!("{} {}", request.method(), request.url()),
            recorded.request
        );
        for (header, value) in &recorded.headers {
            assert_eq!(request.header(header), Some(value.as_str()), "{name}: {header}");
        }
        let expected = recorded.body.to_string().replace("{text}", TEXT);
        let expected: Value = serde_json::from_str(&expected).unwrap();
        assert_eq!(body(request), expected, "{name}");
    }
}

#[test]
fn each_documented_failure_has_its_class() {
    for (name, recorded) in recorded() {
        let (host, backend) = of_example(&name);
        assert!(recorded.failures.len() >= 2, "{name}");
        for failure in recorded.failures {
            host.answer(Answer::new(failure.status).body(failure.body.as_str()));
            let error = backend.send_sms(ALICE, TEXT).unwrap_err();
            let expected = kind(&failure.class).unwrap();
            assert_eq!(
                (error.kind(), error.code()),
                (expected, failure.code.as_str()),
                "{name}: {}",
                failure.body
            );
        }
    }
}

#[test]
fn each_documented_receipt_is_read() {
    let mut read = 0;
    for (name, recorded) in recorded() {
        let (_, backend) = of_example(&name);
        for receipt in recorded.receipts {
            let request = Webhook::post("https://verify.example/v1/receipts/default/0f3c");
            let request = match (receipt.form, receipt.json) {
                (Some(form), None) => request
                    .with_header("content-type", "application/x-www-form-urlencoded")
                    .with_body(form),
                (None, Some(json)) => request
                    .with_header("content-type", "application/json")
                    .with_body(json),
                _ => panic!("{name}: a receipt is a form or JSON"),
            };
            let received = backend.receive(&request).unwrap();
            assert_eq!(received.status(), 200, "{name}");
            let found: Vec<_> = received.delivery_reports().iter().map(shown).collect();
            assert_eq!(found, receipt.reports, "{name}");
            read += 1;
        }
    }
    assert!(read >= 9, "{read} receipts");
}

fn shown(report: &DeliveryReport) -> (String, String, String) {
    let state = match report.state() {
        DeliveryState::Sent => "sent",
        DeliveryState::Delivered => "delivered",
        DeliveryState::Undelivered => "undelivered",
        _ => "unknown",
    };
    let class = classes().find(|class| report.kind().is_some() && kind(class) == report.kind());
    (
        report.message_id().to_owned(),
        state.to_owned(),
        class.unwrap_or_default().to_owned(),
    )
}

#[test]
fn an_answer_that_no_rule_knows_is_never_a_success() {
    for name in recorded().keys() {
        let (host, backend) = of_example(name);
        for (status, kind) in [
            (200, ErrorKind::OutcomeUnknown),
            (201, ErrorKind::OutcomeUnknown),
            (302, ErrorKind::Config),
            (429, ErrorKind::Throttled),
            (502, ErrorKind::OutcomeUnknown),
            (503, ErrorKind::Transient),
        ] {
            for body in ["", "<html>no</html>", "{}", "[]", "{\"status\""] {
                host.answer(Answer::new(status).body(body));
                let error = backend.send_sms(ALICE, TEXT).unwrap_err();
                assert_eq!(error.kind(), kind, "{name} {status} {body}");
            }
        }
    }
}

#[test]
fn every_example_is_tested_and_names_its_documentation() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut files: Vec<String> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| {
            entry
                .unwrap()
                .path()
                .file_stem()
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    files.sort();
    let recorded = recorded();
    assert_eq!(files, recorded.keys().cloned().collect::<Vec<_>>());
    for (name, recorded) in recorded {
        let text = fs::read_to_string(folder.join(format!("{name}.toml"))).unwrap();
        let first = text.lines().next().unwrap();
        assert!(first.contains(&recorded.documentation), "{first}");
    }
}
