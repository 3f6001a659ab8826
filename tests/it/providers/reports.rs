//! What providers report about SMS, read by the bundled backends: with their signatures, price, balance and feedback.

use std::time::Duration;

use phone_verify::{
    clock::Clock,
    model::{
        Cost, FailureClass, IncomingRequest, ReceiptAnswer, ReceiptKind, ReportedState, TakesReceipts,
        Verdict,
    },
};
use phone_verify_tests::{
    gateways::{Format, Nexmo, Provider, Report, Sms, Twilio},
    site::Site,
};
use serde_json::{Map, Value, json};

use super::rig::{ALICE, Rig, call};

const ADDRESS: &str = "https://verify.example/v1/receipts/default";
const TWILIO: &str = "twilio.TwilioBackend";
const NEXMO: &str = "nexmo.NexmoBackend";

fn request(report: &Report) -> IncomingRequest {
    let headers = report.headers.iter();
    IncomingRequest {
        method: report.method.to_owned(),
        url: report.url.clone(),
        headers: headers
            .map(|(name, value)| ((*name).to_owned(), value.clone()))
            .collect(),
        body: report.body.clone().into_bytes(),
    }
}

impl<P: Provider> Rig<P> {
    async fn receive(&self, report: &Report) -> ReceiptAnswer {
        let call = call(Duration::from_secs(10), Verdict::Valid);
        self.backend.receive(request(report), call).await.unwrap()
    }

    /// An SMS that the provider took.
    async fn sms(&self) -> Sms {
        self.send("Your code is 123456").await.unwrap();
        self.gateway.sms_to(ALICE).await
    }
}

fn by_carrier(are_signed: bool) -> TakesReceipts {
    TakesReceipts {
        kind: ReceiptKind::Carrier,
        are_signed,
    }
}

/// What the only report of an answer says.
fn told(answer: &ReceiptAnswer) -> (u16, &str, ReportedState, Option<FailureClass>, Option<&str>) {
    let [report] = answer.reports.as_slice() else {
        panic!("{answer:?}");
    };
    let (id, code) = (report.message_id.expose(), report.code.as_deref());
    (answer.status, id, report.state, report.class, code)
}

#[tokio::test]
async fn twilio_reports_what_became_of_an_sms() {
    let rig = Rig::<Twilio>::with(TWILIO).await;
    assert_eq!(rig.backend.takes_receipts(), Some(by_carrier(true)));
    let sms = rig.sms().await;
    for (status, error, state, class, code) in [
        ("queued", None, ReportedState::Sent, None, None),
        ("sent", None, ReportedState::Sent, None, None),
        ("delivered", None, ReportedState::Delivered, None, None),
        (
            "undelivered",
            Some(30005),
            ReportedState::Undelivered,
            Some(FailureClass::UnreachableNumber),
            Some("twilio_30005"),
        ),
        (
            "failed",
            Some(39999),
            ReportedState::Undelivered,
            None,
            Some("twilio_39999"),
        ),
    ] {
        let answer = rig.receive(&Twilio::report(ADDRESS, &sms, status, error)).await;
        assert_eq!(
            told(&answer),
            (200, &*sms.message_id, state, class, code),
            "{status}"
        );
    }
}

#[tokio::test]
async fn a_report_that_twilio_did_not_sign_is_refused() {
    let rig = Rig::<Twilio>::with(TWILIO).await;
    let sms = rig.sms().await;
    let genuine = Twilio::report(ADDRESS, &sms, "undelivered", None);
    let mut unsigned = genuine.clone();
    unsigned.headers.retain(|(name, _)| *name != "x-twilio-signature");
    let mut changed = genuine.clone();
    changed.body = changed.body.replace("undelivered", "delivered");
    let mut elsewhere = genuine.clone();
    elsewhere.url = "https://verify.example/v1/receipts/other".to_owned();
    for forged in [unsigned, changed, elsewhere] {
        let answer = rig.receive(&forged).await;
        assert_eq!((answer.status, answer.reports.len()), (403, 0), "{forged:?}");
    }
    // Twilio signs over the port, or without it.
    let mut with_port = genuine;
    with_port.url = with_port.url.replace("verify.example", "verify.example:443");
    assert_eq!(rig.receive(&with_port).await.status, 200);
}

#[tokio::test]
async fn twilio_tells_segments_and_balance_and_is_asked_for_reports_and_feedback() {
    let edit = |options: &mut Map<String, Value>| {
        options.insert("STATUS_CALLBACK".to_owned(), json!(ADDRESS));
        options.insert("FEEDBACK".to_owned(), json!(true));
    };
    let rig = Rig::<Twilio>::edited(TWILIO, edit).await;
    let receipt = rig.send(&"long ".repeat(60)).await.unwrap();
    assert_eq!((receipt.segments, receipt.cost), (Some(2), None));
    let fields = rig.gateway.last_request();
    for (name, value) in [("StatusCallback", ADDRESS), ("ProvideFeedback", "true")] {
        assert!(
            fields.contains(&(name.to_owned(), value.to_owned())),
            "{fields:?}"
        );
    }
    let limit = Duration::from_secs(10);
    let id = receipt.message_id.unwrap();
    assert!(rig.backend.takes_feedback());
    rig.backend
        .feedback(&id, true, call(limit, Verdict::Valid))
        .await
        .unwrap();
    let balance = rig.backend.balance(call(limit, Verdict::Valid)).await.unwrap();
    assert_eq!(balance.to_string(), "12.3456 USD");
    let account = "/2010-04-01/Accounts/AC0123456789abcdef0123456789abcdef";
    assert_eq!(
        rig.gateway.other_requests(),
        [
            format!("POST {account}/Messages/{id}/Feedback.json"),
            format!("GET {account}/Balance.json")
        ]
    );

    let without = Rig::<Twilio>::with(TWILIO).await;
    let receipt = without.send("Your code is 123456").await.unwrap();
    let id = receipt.message_id.unwrap();
    without
        .backend
        .feedback(&id, true, call(limit, Verdict::Valid))
        .await
        .unwrap();
    assert_eq!(
        without.gateway.other_requests(),
        [""; 0],
        "the operator did not ask for it"
    );
}

#[tokio::test]
async fn nexmo_reports_what_became_of_an_sms_in_each_of_its_formats() {
    let rig = Rig::<Nexmo>::with(NEXMO).await;
    assert_eq!(rig.backend.takes_receipts(), Some(by_carrier(false)));
    let sms = rig.sms().await;
    for format in [Format::Query, Format::Form, Format::Json] {
        let report = |status, error| Nexmo::report(ADDRESS, &sms, status, error, format, None);
        let answer = rig.receive(&report("delivered", 0)).await;
        assert_eq!(
            told(&answer),
            (200, &*sms.message_id, ReportedState::Delivered, None, None),
            "{format:?}"
        );
        assert_eq!(answer.reports[0].cost, Cost::parse("0.0333", "EUR"));
        let answer = rig.receive(&report("failed", 12)).await;
        let class = Some(FailureClass::UnreachableNumber);
        let code = Some("nexmo_dlr_12");
        assert_eq!(
            told(&answer),
            (200, &*sms.message_id, ReportedState::Undelivered, class, code),
            "{format:?}"
        );
    }
}

#[tokio::test]
async fn where_the_nexmo_account_signs_a_report_needs_its_signature_of_today() {
    let edit = |options: &mut Map<String, Value>| {
        options.insert("SIGNATURE_SECRET".to_owned(), json!("s3cret-of-the-account"));
        options.insert("SIGNATURE_METHOD".to_owned(), json!("sha256"));
    };
    let rig = Rig::<Nexmo>::edited(NEXMO, edit).await;
    let sms = rig.sms().await;
    let now = Clock::system().wall().0 / 1000;
    for format in [Format::Query, Format::Form, Format::Json] {
        let report = |signed| Nexmo::report(ADDRESS, &sms, "delivered", 0, format, signed);
        let genuine = report(Some(("s3cret-of-the-account", now)));
        assert_eq!(rig.receive(&genuine).await.status, 200, "{format:?}");
        let old = report(Some(("s3cret-of-the-account", now - 3600)));
        for forged in [report(None), report(Some(("another", now))), old] {
            let answer = rig.receive(&forged).await;
            assert_eq!((answer.status, answer.reports.len()), (403, 0), "{forged:?}");
        }
    }
}

#[tokio::test]
async fn nexmo_tells_price_segments_and_balance() {
    let rig = Rig::<Nexmo>::with(NEXMO).await;
    let receipt = rig.send(&"long ".repeat(60)).await.unwrap();
    assert_eq!(
        (receipt.segments, receipt.cost),
        (Some(2), Cost::parse("0.0666", "EUR"))
    );
    let limit = Duration::from_secs(10);
    let balance = rig.backend.balance(call(limit, Verdict::Valid)).await.unwrap();
    assert_eq!(balance.to_string(), "10.28 EUR");
    assert_eq!(rig.gateway.other_requests(), ["GET /account/get-balance"]);
}

/// The whole way: the daemon sends, the provider reports, and the verification shows it.
#[tokio::test]
async fn what_twilio_reports_is_shown_on_the_verification_and_a_forgery_changes_nothing() {
    let gateway = phone_verify_tests::gateways::TwilioGateway::start().await;
    let mut site = Site::with_backend(TWILIO, &Value::Object(gateway.options()));
    site.set("server", "public_url", "https://verify.example");
    let daemon = site.serve();
    let begun = daemon
        .post("/v1/verifications", &json!({ "phone_number": ALICE }))
        .await;
    assert_eq!(begun.status, 201, "{begun:?}");
    let path = format!("/v1/verifications/{}", begun.body["id"].as_str().unwrap());
    let sms = gateway.sms_to(ALICE).await;

    let report = async |report: Report| {
        let path = report.url.strip_prefix("https://verify.example").unwrap();
        let mut request = daemon.request(report.method, path).body(report.body);
        for (name, value) in report.headers {
            request = request.header(name, value);
        }
        daemon.send(request).await.status
    };
    let mut forged = Twilio::report(ADDRESS, &sms, "delivered", None);
    forged.headers[1].1 = "RSOYDt4T1cUTdK1PDd93/VVr8B8=".to_owned();
    assert_eq!(report(forged).await, 403);
    assert_eq!(daemon.get(&path).await.body["delivery"]["status"], "sent");

    let failed = Twilio::report(ADDRESS, &sms, "undelivered", Some(30005));
    assert_eq!(report(failed).await, 200);
    let delivery = daemon.get(&path).await.body["delivery"].clone();
    assert_eq!(
        (&delivery["status"], &delivery["class"]),
        (&json!("undelivered"), &json!("unreachable_number"))
    );
    assert_eq!(
        report(Twilio::report(ADDRESS, &sms, "delivered", None)).await,
        200
    );
    assert_eq!(daemon.get(&path).await.body["delivery"]["status"], "delivered");
}
