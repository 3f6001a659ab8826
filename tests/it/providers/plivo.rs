//! `plivo.PlivoBackend`.

use std::time::Duration;

use phone_verify::model::{
    Cost, FailureClass, IncomingRequest, ReceiptKind, ReportedState, TakesReceipts, Verdict,
};
use phone_verify_tests::{
    gateways::{Behaviour, Gateway, Plivo, Report},
    site::Site,
};
use serde_json::{Value, json};

use super::rig::{ALICE, Rig, call};

const PLIVO: &str = "plivo.PlivoBackend";
const ADDRESS: &str = "https://verify.example/v1/receipts/default";

#[tokio::test]
async fn an_sms_arrives_as_it_was_sent() {
    let rig = Rig::<Plivo>::with(PLIVO).await;
    for text in [
        "Your code is 123456",
        "欢迎 & ברוך הבא + 100% 🔑=123456\n@example.com #123456 \"}",
    ] {
        let receipt = rig.send(text).await.unwrap();
        let sms = rig.gateway.sms_to(ALICE).await;
        assert_eq!(receipt.message_id, Some(sms.message_id));
        assert_eq!((sms.text.as_str(), sms.from.as_str()), (text, "+14155550100"));
    }
}

#[tokio::test]
async fn every_documented_refusal_has_its_class() {
    let rig = Rig::<Plivo>::with(PLIVO).await;
    for (status, class) in [
        (400, FailureClass::Internal),
        (401, FailureClass::AuthFailed),
        (403, FailureClass::DestinationBlocked),
        (404, FailureClass::AuthFailed),
        (500, FailureClass::OutcomeUnknown),
    ] {
        rig.gateway.next(Behaviour::Refuse(status));
        let failure = rig.failure().await;
        assert_eq!(
            (failure.class, failure.code),
            (class, format!("plivo_http_{status}"))
        );
    }
    rig.gateway.next(Behaviour::Throttle(Duration::from_secs(2)));
    let failure = rig.failure().await;
    assert_eq!(
        (failure.class, failure.retry_after),
        (FailureClass::Throttled, Some(Duration::from_secs(2)))
    );
    assert_eq!(rig.gateway.inbox(), []);
}

#[tokio::test]
async fn a_wrong_sender_and_wrong_credentials_are_told_without_being_shown() {
    let with = |option: &'static str, value: &'static str| {
        Rig::<Plivo>::edited(PLIVO, move |options| {
            options.insert(option.to_owned(), json!(value));
        })
    };
    let failure = with("AUTH_TOKEN", "not-the-token").await.failure().await;
    assert_eq!(failure.class, FailureClass::AuthFailed);
    assert!(!failure.message.contains("not-the-token"), "{failure}");
    let failure = with("AUTH_ID", "MA0000000000000000").await.failure().await;
    assert_eq!(failure.class, FailureClass::AuthFailed);
}

#[tokio::test]
async fn the_account_says_what_is_left_of_it() {
    let rig = Rig::<Plivo>::with(PLIVO).await;
    let balance = rig
        .backend
        .balance(call(Duration::from_secs(10), Verdict::Valid))
        .await;
    assert_eq!(balance.unwrap().to_string(), "99.98080 USD");
}

fn incoming(report: &Report) -> IncomingRequest {
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

#[tokio::test]
async fn a_report_that_plivo_signed_is_read_and_a_forged_one_is_refused() {
    let rig = Rig::<Plivo>::with(PLIVO).await;
    let takes = TakesReceipts {
        kind: ReceiptKind::Carrier,
        are_signed: true,
    };
    assert_eq!(rig.backend.takes_receipts(), Some(takes));
    rig.send("Your code is 123456").await.unwrap();
    let sms = rig.gateway.sms_to(ALICE).await;
    let receive = async |report: &Report| {
        let call = call(Duration::from_secs(10), Verdict::Valid);
        rig.backend.receive(incoming(report), call).await.unwrap()
    };
    let genuine = Plivo::report(ADDRESS, &sms, "undelivered", "200");
    let answer = receive(&genuine).await;
    let [report] = answer.reports.as_slice() else {
        panic!("{answer:?}")
    };
    assert_eq!(
        (answer.status, report.message_id.expose()),
        (200, sms.message_id.as_str())
    );
    assert_eq!(
        (report.state, report.class, report.code.as_deref()),
        (
            ReportedState::Undelivered,
            Some(FailureClass::OptedOut),
            Some("plivo_200")
        )
    );
    assert_eq!(
        (report.segments, report.cost),
        (Some(1), Cost::parse("0.00550", "USD"))
    );

    let mut changed = genuine.clone();
    changed.body = changed.body.replace("undelivered", "delivered");
    let mut unsigned = genuine.clone();
    unsigned
        .headers
        .retain(|(name, _)| *name != "x-plivo-signature-v3");
    let mut elsewhere = genuine;
    elsewhere.url = "https://verify.example/v1/receipts/other".to_owned();
    for forged in [changed, unsigned, elsewhere] {
        let answer = receive(&forged).await;
        assert_eq!((answer.status, answer.reports.len()), (403, 0), "{forged:?}");
    }
}

/// The whole way: the daemon sends, Plivo reports, and the verification shows it.
#[tokio::test]
async fn what_plivo_reports_is_shown_on_the_verification() {
    let gateway = Gateway::<Plivo>::start().await;
    let mut site = Site::with_backend(PLIVO, &Value::Object(gateway.options()));
    site.set("server", "public_url", "https://verify.example");
    let daemon = site.serve();
    let begun = daemon
        .post("/v1/verifications", &json!({ "phone_number": ALICE }))
        .await;
    assert_eq!(begun.status, 201, "{begun:?}");
    let path = format!("/v1/verifications/{}", begun.body["id"].as_str().unwrap());
    let sms = gateway.sms_to(ALICE).await;
    let report = Plivo::report(ADDRESS, &sms, "delivered", "000");
    let mut request = daemon.request("POST", "/v1/receipts/default").body(report.body);
    for (name, value) in report.headers {
        request = request.header(name, value);
    }
    assert_eq!(daemon.send(request).await.status, 200);
    assert_eq!(daemon.get(&path).await.body["delivery"]["status"], "delivered");
}
