//! A library that is linked into the program: every service of the host, asked by an author's code through the crate
//! for authors and answered by the host's own, without a file, a process or a network.
#![allow(clippy::unwrap_used, reason = "a test")]

mod webhook;

use std::{
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use phone_verify_domain::model::{PhoneNumber, Receipt, SecurityCode, SendFailure, SessionToken, Verdict};
use phone_verify_plugin_api::{
    __linked_backends, Backend, Error, ErrorKind, Host, LogLevel, Options, PhoneNumber as Number,
    Receipt as Sent, Report, Verdict as Judged, backend,
};
use phone_verify_plugin_host::{
    Backend as Loaded, BackendName, BaseCalls, Call, CallFacts, Loader, LoaderConfig, Played, SentRequest,
    StandIn,
};
use serde_json::{Map, Value, json};

#[derive(Options)]
struct AskingOptions {
    /// What comes before each message.
    greeting: String,
}

/// Asks the host for all that it offers.
struct AskingBackend {
    host: Host,
    greeting: String,
}

#[backend(hosts = ["api.asking.example"])]
impl Backend for AskingBackend {
    type Options = AskingOptions;

    fn new(options: AskingOptions, host: Host) -> Result<Self, Error> {
        Ok(Self {
            host,
            greeting: options.greeting,
        })
    }

    async fn send_sms(
        &self,
        number: &Number,
        message: &str,
        call: &phone_verify_plugin_api::Call,
    ) -> Result<Sent, Error> {
        let mut random = [0; 5000];
        self.host.random(&mut random);
        let is_random =
            random[..4096].iter().any(|byte| *byte != 0) && random[4096..].iter().any(|byte| *byte != 0);
        let before = self.host.monotonic();
        self.host.sleep(Duration::from_millis(1)).await;
        if !is_random || self.host.monotonic() <= before || call.time_left().is_zero() {
            return Err(Error::new(
                ErrorKind::Internal,
                "no_service",
                "a service is missing",
            ));
        }
        self.host.log(LogLevel::Info, "sends");
        let text = format!("{} {message}", self.greeting);
        let request = self.host.http().post("https://api.asking.example/sms");
        let response = request
            .json(&json!({ "to": number.e164(), "text": text }))
            .send()
            .await?;
        Ok(Sent::new(format!("{}-{}", call.request_id(), response.status())))
    }

    async fn send_bulk_sms(
        &self,
        numbers: &[Number],
        _message: &str,
        report: &Report,
        _call: &phone_verify_plugin_api::Call,
    ) -> Result<(), Error> {
        for index in 1..numbers.len() {
            report.settle(index, Ok(Sent::new(format!("bulk-{index}"))));
        }
        Ok(())
    }

    async fn generate_security_code(&self, call: &phone_verify_plugin_api::Call) -> Result<String, Error> {
        call.base().generate_security_code()
    }

    async fn generate_message(
        &self,
        security_code: &str,
        _context: &phone_verify_plugin_api::Context,
        call: &phone_verify_plugin_api::Call,
    ) -> Result<Option<String>, Error> {
        call.base().generate_message(security_code).map(Some)
    }

    async fn validate_security_code(
        &self,
        security_code: &str,
        _number: &Number,
        _session_token: &str,
        call: &phone_verify_plugin_api::Call,
    ) -> Result<Judged, Error> {
        call.base().validate_security_code(security_code).await
    }
}

/// Panics.
struct BrokenBackend;

#[backend]
impl Backend for BrokenBackend {
    type Options = ();

    fn new((): (), _host: Host) -> Result<Self, Error> {
        Ok(Self)
    }

    async fn send_sms(
        &self,
        _number: &Number,
        _message: &str,
        _call: &phone_verify_plugin_api::Call,
    ) -> Result<Sent, Error> {
        panic!("as it is to")
    }
}

/// A provider that takes everything.
#[derive(Default)]
struct Provider(Mutex<Vec<SentRequest>>);

impl StandIn for Provider {
    fn exchange(&self, request: SentRequest) -> Pin<Box<dyn Future<Output = Played> + Send>> {
        self.0.lock().unwrap().push(request);
        Box::pin(async {
            Played::Answer {
                status: 202,
                headers: Vec::new(),
                body: Vec::new(),
            }
        })
    }

    fn denied(&self, _why: &str) {}
}

struct FixedBase;

#[async_trait::async_trait]
impl BaseCalls for FixedBase {
    fn security_code(&self) -> Result<SecurityCode, SendFailure> {
        Ok(SecurityCode::new("424242").unwrap())
    }

    fn message(&self, code: &SecurityCode) -> String {
        format!("Your code is {}.", code.expose())
    }

    async fn validate(&self, code: &SecurityCode) -> Option<Result<Verdict, SendFailure>> {
        let is_right = code.expose() == "424242";
        Some(Ok(if is_right {
            Verdict::Valid
        } else {
            Verdict::Invalid
        }))
    }
}

fn call() -> Call {
    Call {
        time_limit: Duration::from_secs(30),
        request_id: "r-1".to_owned(),
        idempotency_key: String::new(),
        locale: String::new(),
        facts: CallFacts::default(),
        base: Arc::new(FixedBase),
    }
}

fn number(n: u32) -> PhoneNumber {
    PhoneNumber::parse(&format!("+1347{:07}", 2_000_000 + n), None).unwrap()
}

fn loaded(backend: &str, options: &Value, provider: &Arc<Provider>) -> Result<Loaded, String> {
    // Nothing is searched and nothing is staged.
    let nowhere = std::path::PathBuf::from("/nowhere");
    let loader =
        Loader::new(LoaderConfig::of(nowhere.clone(), nowhere)).rehearsing(Arc::clone(provider) as Arc<_>);
    let name = BackendName::parse(backend).unwrap();
    let options: Map<String, Value> = options.as_object().unwrap().clone();
    loader
        .load_linked(
            &name,
            __linked_backends!(AskingBackend, BrokenBackend, webhook::ReportingBackend),
            &options,
        )
        .map_err(|refusals| refusals.into_iter().map(|refusal| refusal.to_string()).collect())
}

fn asking(provider: &Arc<Provider>) -> Loaded {
    loaded("asking.AskingBackend", &json!({ "GREETING": "Hello!" }), provider).unwrap()
}

#[tokio::test]
async fn its_code_gets_randomness_time_log_and_http() {
    let provider = Arc::new(Provider::default());
    let receipt = asking(&provider)
        .send_sms(&number(1), "Your code is 123456.", call())
        .await;
    assert_eq!(receipt.unwrap().message_id.as_deref(), Some("r-1-202"));
    let requests = provider.0.lock().unwrap();
    let body: Value = serde_json::from_slice(&requests[0].body).unwrap();
    assert_eq!(
        body,
        json!({ "to": number(1).e164(), "text": "Hello! Your code is 123456." })
    );
}

#[tokio::test]
async fn its_overrides_get_the_base() {
    let backend = asking(&Arc::default());
    let code = backend.generate_security_code(call()).await.unwrap();
    assert_eq!(code.expose(), "424242");
    let message = backend.generate_message(&code, &Map::new(), call()).await;
    assert_eq!(message.unwrap().as_deref(), Some("Your code is 424242."));
    let token = SessionToken::from_client("a-token");
    for (typed, verdict) in [("424242", Verdict::Valid), ("424243", Verdict::Invalid)] {
        let typed = SecurityCode::new(typed).unwrap();
        let judged = backend
            .validate_security_code(&typed, &number(1), &token, call())
            .await;
        assert_eq!(judged.unwrap(), verdict);
    }
}

#[tokio::test]
async fn its_reports_are_heard_and_what_it_leaves_out_is_settled() {
    let outcomes = Arc::new(Mutex::new([const { None }; 3]));
    let settled = Arc::clone(&outcomes);
    let settled = Arc::new(move |index: usize, outcome: Result<Receipt, SendFailure>| {
        let told = outcome.map(|receipt| receipt.message_id.unwrap_or_default());
        let told = told.unwrap_or_else(|failure| failure.code);
        assert_eq!(
            settled.lock().unwrap()[index].replace(told),
            None,
            "{index} is settled twice"
        );
    });
    let numbers = [number(1), number(2), number(3)];
    asking(&Arc::default())
        .send_bulk_sms(&numbers, "Hello", call(), settled)
        .await;
    let outcomes = outcomes.lock().unwrap();
    let outcomes = outcomes.each_ref().map(|told| told.as_deref().unwrap());
    assert_eq!(outcomes, ["not_reported", "bulk-1", "bulk-2"]);
}

#[tokio::test]
async fn a_panic_costs_the_call() {
    let backend = loaded("asking.BrokenBackend", &json!({}), &Arc::default()).unwrap();
    let failure = backend.send_sms(&number(1), "Hello", call()).await.unwrap_err();
    assert_eq!(failure.code, "plugin_panic");
}

#[test]
fn its_options_are_judged_as_those_of_any_library() {
    let refusal = loaded("asking.AskingBackend", &json!({}), &Arc::default())
        .err()
        .unwrap();
    assert!(refusal.contains("GREETING"), "{refusal}");
    let refusal = loaded("asking.OtherBackend", &json!({}), &Arc::default())
        .err()
        .unwrap();
    assert!(refusal.contains("AskingBackend"), "{refusal}");
}
