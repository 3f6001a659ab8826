//! What came with ABI 1.1: requests of a provider, feedback, balance, the facts of a call, digests and signatures.

use phone_verify_domain::model::{
    Cost, FailureClass, IncomingRequest, ReceiptAnswer, ReceiptKind, ReportedState, SendFailure,
    TakesReceipts,
};
use phone_verify_plugin_api::{
    Backend, Call, DeliveryReport, DeliveryState, Error, ErrorKind, HashAlgorithm, Host, Money, PhoneNumber,
    Receipt, Received, Webhook, backend, data_encoding::HEXLOWER,
};
use phone_verify_plugin_host::{Backend as Loaded, CallFacts};
use serde_json::json;

use super::{call, loaded, number};

/// Says in its message ids and reports what it was told.
pub(crate) struct ReportingBackend(Host);

#[backend(webhook = "signed", receipts = "handset", channels = ["sms", "voice"])]
impl Backend for ReportingBackend {
    type Options = ();

    fn new((): (), host: Host) -> Result<Self, Error> {
        Ok(Self(host))
    }

    async fn send_sms(&self, _number: &PhoneNumber, _message: &str, call: &Call) -> Result<Receipt, Error> {
        let code = call.security_code();
        let facts = [
            call.region(),
            call.channel(),
            call.purpose(),
            call.template(),
            call.params().get("app").map(str::to_owned),
            code.as_ref().map(|code| code.expose().to_owned()),
            call.message_id(),
        ];
        let facts = facts
            .map(|fact| fact.unwrap_or_else(|| "none".to_owned()))
            .join(" ");
        Ok(Receipt::new(facts)
            .with_segments(2)
            .with_cost(Money::new("0.0666", "EUR")))
    }

    async fn receive(&self, request: &Webhook, _call: &Call) -> Result<Received, Error> {
        let mac = self.0.hmac(HashAlgorithm::Sha256, b"secret", request.body())?;
        let signature = request.header("x-signature").unwrap_or_default();
        if !self.0.equal(HEXLOWER.encode(&mac), signature) {
            return Ok(Received::forbidden());
        }
        match request.body() {
            b"panic" => panic!("as it is to"),
            b"nonsense" => return Ok(Received::new(7)),
            b"broken" => {
                let message = format!("about +13478379634 at {}", request.url());
                return Err(Error::new(ErrorKind::Internal, "broken", message));
            }
            _ => {}
        }
        let reports = request.form().into_iter().map(|(id, state)| {
            let state = match state.as_str() {
                "delivered" => DeliveryState::Delivered,
                _ => DeliveryState::Undelivered,
            };
            DeliveryReport::new(id, state)
                .with_kind(ErrorKind::UnreachableNumber)
                .with_code("30005")
        });
        Ok(Received::reports(reports)
            .with_header("x-url", request.url())
            .with_body("OK"))
    }

    async fn feedback(&self, message_id: &str, converted: bool, _call: &Call) -> Result<(), Error> {
        match (message_id, converted) {
            ("SM1", true) => Ok(()),
            _ => Err(Error::new(ErrorKind::Internal, "feedback", "another message")),
        }
    }

    async fn balance(&self, _call: &Call) -> Result<Money, Error> {
        Ok(Money::new("15.5359", "EUR"))
    }

    async fn extension(&self, id: &str, body: &[u8], _call: &Call) -> Result<Option<Vec<u8>>, Error> {
        // What neither side knows is none on each.
        let of_the_host = self.0.extension(id, body).await?;
        Ok(of_the_host.or_else(|| (id == "test/draft-1").then(|| body.to_vec())))
    }
}

fn reporting() -> Loaded {
    loaded("asking.ReportingBackend", &json!({}), &std::sync::Arc::default()).unwrap()
}

/// A request of the provider, signed by this key.
fn request(key: &[u8], body: &str) -> IncomingRequest {
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, key);
    let signature = HEXLOWER.encode(ring::hmac::sign(&key, body.as_bytes()).as_ref());
    IncomingRequest {
        method: "POST".to_owned(),
        url: "https://verify.example/v1/receipts/eu?a=1".to_owned(),
        headers: vec![("x-signature".to_owned(), signature)],
        body: body.as_bytes().to_vec(),
    }
}

async fn received(body: &str) -> Result<ReceiptAnswer, SendFailure> {
    reporting().receive(request(b"secret", body), call()).await
}

#[tokio::test]
async fn a_request_with_the_right_signature_is_read_and_answered() {
    let answer = received("SM1=delivered&SM2=gone").await.unwrap();
    assert_eq!((answer.status, answer.body.as_slice()), (200, &b"OK"[..]));
    let url = "https://verify.example/v1/receipts/eu?a=1".to_owned();
    assert_eq!(answer.headers, [("x-url".to_owned(), url)]);
    let reports: Vec<_> = answer
        .reports
        .iter()
        .map(|report| {
            (
                report.message_id.expose(),
                report.state,
                report.class,
                report.code.as_deref(),
            )
        })
        .collect();
    let class = Some(FailureClass::UnreachableNumber);
    assert_eq!(
        reports,
        [
            ("SM1", ReportedState::Delivered, class, Some("30005")),
            ("SM2", ReportedState::Undelivered, class, Some("30005")),
        ]
    );
}

#[tokio::test]
async fn a_request_with_a_wrong_signature_is_refused_without_a_report() {
    let forged = request(b"another", "SM1=delivered");
    let answer = reporting().receive(forged, call()).await.unwrap();
    assert_eq!((answer.status, answer.reports.len()), (403, 0));
}

#[tokio::test]
async fn what_a_library_makes_of_a_request_is_judged_as_all_that_it_says() {
    for (body, code) in [
        ("panic", "plugin_panic"),
        ("nonsense", "bad_answer"),
        ("broken", "broken"),
    ] {
        let failure = received(body).await.unwrap_err();
        assert_eq!(failure.code, code);
        assert!(!failure.message.contains("3478379634"), "{failure}");
    }
}

#[tokio::test]
async fn the_secret_part_of_an_address_is_in_no_error() {
    let secret = "0f3c5a7e9b1d2f4a6c8e0f1a2b3c4d5e";
    let mut request = request(b"secret", "broken");
    request.url = format!("https://verify.example/v1/receipts/eu/{secret}?a=1");
    let failure = reporting().receive(request, call()).await.unwrap_err();
    assert!(failure.message.contains("/v1/receipts/eu/***?a=1"), "{failure}");
}

#[tokio::test]
async fn a_call_tells_what_it_is_about_and_hears_what_it_cost() {
    let facts = CallFacts {
        region: "US".to_owned(),
        channel: "sms".into(),
        purpose: CallFacts::VERIFICATION.into(),
        template: "login".to_owned(),
        params_json: json!({ "app": "Shop" }).to_string(),
        security_code: "482913".to_owned(),
        message_id: "SM1".to_owned(),
    };
    let call = phone_verify_plugin_host::Call { facts, ..call() };
    let receipt = reporting().send_sms(&number(1), "", call).await.unwrap();
    assert_eq!(
        receipt.exact_id.as_deref(),
        Some("US sms verification login Shop 482913 SM1")
    );
    assert_eq!(
        receipt.message_id.as_deref(),
        Some("US sms verification login Shop *** SM1"),
        "the code is not shown"
    );
    assert_eq!(
        (receipt.segments, receipt.cost),
        (Some(2), Cost::parse("0.0666", "EUR"))
    );
    let receipt = reporting().send_sms(&number(1), "", super::call()).await.unwrap();
    assert_eq!(
        receipt.message_id.as_deref(),
        Some("none none none none none none none")
    );
}

#[tokio::test]
async fn feedback_balance_and_extensions_reach_it() {
    let backend = reporting();
    assert!(backend.feedback("SM1", true, call()).await.is_ok());
    assert_eq!(
        backend.feedback("SM1", false, call()).await.unwrap_err().code,
        "feedback"
    );
    assert_eq!(backend.balance(call()).await.unwrap().to_string(), "15.5359 EUR");
    let echoed = backend.extension("test/draft-1", b"hello", call()).await;
    assert_eq!(echoed.unwrap().as_deref(), Some(&b"hello"[..]));
    assert_eq!(
        backend.extension("test/draft-2", b"hello", call()).await.unwrap(),
        None
    );
}

#[test]
fn its_manifest_says_what_it_can() {
    let backend = reporting();
    let receipts = TakesReceipts {
        kind: ReceiptKind::Handset,
        are_signed: true,
    };
    assert_eq!(backend.takes_receipts(), Some(receipts));
    assert!(backend.takes_feedback() && backend.tells_balance());
    assert_eq!(backend.channels(), ["sms", "voice"]);

    let options = json!({ "GREETING": "Hello!" });
    let older = loaded("asking.AskingBackend", &options, &std::sync::Arc::default()).unwrap();
    assert_eq!(older.takes_receipts(), None);
    assert!(!older.takes_feedback() && !older.tells_balance());
    assert_eq!(older.channels(), ["sms"]);
}

#[tokio::test]
async fn a_method_that_it_does_not_have_is_unsupported() {
    let options = json!({ "GREETING": "Hello!" });
    let older = loaded("asking.AskingBackend", &options, &std::sync::Arc::default()).unwrap();
    let failure = older.receive(request(b"secret", ""), call()).await.unwrap_err();
    assert_eq!(failure.class, FailureClass::Unsupported);
    assert_eq!(
        older.balance(call()).await.unwrap_err().class,
        FailureClass::Unsupported
    );
    assert_eq!(older.extension("x", b"", call()).await.unwrap(), None);
}
