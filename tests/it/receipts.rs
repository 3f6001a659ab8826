//! Delivery receipts: what providers report comes in at `/v1/receipts/{backend}` and is shown on the verification.

use axum::{
    body::Body,
    http::{Request, Response, header},
};
use phone_verify::{
    entropy::Entropy,
    model::{
        ApiKey, Cost, DeliveryReport, FailureClass, KeyDigest, PageOrigin, ProviderMessageId, PublicUrl,
        Receipt, ReceiptAnswer, ReceiptKind, ReportedState, Scope, SendFailure, TakesReceipts,
    },
};
use phone_verify_tests::{
    daemon::Daemon,
    service::{Rules, Service},
    site::Site,
};
use serde_json::{Value, json};

const SIGNED: TakesReceipts = TakesReceipts {
    kind: ReceiptKind::Handset,
    are_signed: true,
};
const UNSIGNED: TakesReceipts = TakesReceipts {
    kind: ReceiptKind::Carrier,
    are_signed: false,
};
const ADDRESS: &str = "/v1/receipts/default";
const ID: &str = "SM900f-exact";

fn report(id: &str, state: ReportedState) -> DeliveryReport {
    DeliveryReport::new(ProviderMessageId::new(id).unwrap(), state)
}

/// The library takes a request for these reports.
#[expect(clippy::unnecessary_wraps, reason = "this is what a library answers")]
fn reads(reports: impl IntoIterator<Item = DeliveryReport>) -> Result<ReceiptAnswer, SendFailure> {
    Ok(ReceiptAnswer {
        reports: reports.into_iter().collect(),
        ..ReceiptAnswer::new(200)
    })
}

/// A service whose provider accepted an SMS under [`ID`]; and where its verification is.
async fn sent() -> (Service, String) {
    let service = Service::start(&Rules::default());
    let path = registered(&service).await;
    (service, path)
}

async fn registered(service: &Service) -> String {
    service.backend.answers(Ok(Receipt {
        message_id: Some("SM900f".into()),
        exact_id: Some(ID.into()),
        ..Receipt::default()
    }));
    let answer = service.answer(
        Request::post("/v1/verifications")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(json!({ "phone_number": "+13478379634" }).to_string()))
            .unwrap(),
    );
    let answer = answer.await;
    assert_eq!(answer.status(), 201);
    answer.headers()[header::LOCATION].to_str().unwrap().to_owned()
}

async fn get(service: &Service, path: &str) -> (u16, Value) {
    let answer = service
        .answer(Request::get(path).body(Body::empty()).unwrap())
        .await;
    let body = serde_json::from_slice(answer.body()).unwrap_or_default();
    (answer.status().as_u16(), body)
}

async fn delivery(service: &Service, path: &str) -> Value {
    get(service, path).await.1["delivery"].take()
}

async fn post(service: &Service, path: &str) -> Response<Vec<u8>> {
    service
        .answer(Request::post(path).body(Body::from("status=1")).unwrap())
        .await
}

async fn metric(service: &Service, sample: &str) -> Option<String> {
    let page = service
        .answer(Request::get("/metrics").body(Body::empty()).unwrap())
        .await;
    let page = String::from_utf8(page.into_body()).unwrap();
    let line = page.lines().find(|line| line.starts_with(sample))?;
    Some(line.rsplit_once(' ').unwrap().1.to_owned())
}

#[tokio::test]
async fn a_delivered_sms_is_shown_as_delivered() {
    let (service, path) = sent().await;
    assert_eq!(delivery(&service, &path).await["status"], "sent");
    let mut delivered = report(ID, ReportedState::Delivered).with_code("000");
    delivered.cost = Cost::parse("0.0333", "EUR");
    delivered.segments = Some(2);
    service.backend.receives(SIGNED, reads([delivered]));
    service.clock.advance(std::time::Duration::from_secs(7));
    let answer = post(&service, ADDRESS).await;
    assert_eq!(
        (answer.status().as_u16(), answer.body().as_slice()),
        (200, &b""[..])
    );
    let shown = delivery(&service, &path).await;
    assert_eq!(shown["status"], "delivered", "{shown}");
    assert_eq!(shown["reported_at"], "2027-01-15T08:00:07Z", "{shown}");
    assert_eq!(shown["cost"], json!({ "amount": "0.0333", "currency": "EUR" }));
    assert_eq!(shown["segments"], 2);
    let tried = &shown["tries"][0];
    assert_eq!(
        (&tried["status"], &tried["code"]),
        (&json!("delivered"), &json!("000")),
        "{tried}"
    );
    let labels = "backend=\"scripted.ScriptedBackend\",state=\"delivered\",outcome=\"recorded\"";
    let counted = metric(&service, &format!("phone_verify_reports_total{{{labels}}}")).await;
    assert_eq!(counted.as_deref(), Some("1"));
    let labels = "backend=\"scripted.ScriptedBackend\",country=\"US\"";
    let took = metric(
        &service,
        &format!("phone_verify_delivery_seconds_sum{{{labels}}}"),
    )
    .await;
    assert_eq!(took.as_deref(), Some("7"));
}

#[tokio::test]
async fn an_undelivered_sms_is_shown_with_its_reason_and_a_late_sent_changes_nothing() {
    let (service, path) = sent().await;
    let mut undelivered = report(ID, ReportedState::Undelivered).with_code("30003");
    undelivered.class = Some(FailureClass::UnreachableNumber);
    service.backend.receives(SIGNED, reads([undelivered]));
    post(&service, ADDRESS).await;
    service
        .backend
        .receives(SIGNED, reads([report(ID, ReportedState::Sent)]));
    post(&service, ADDRESS).await;
    let shown = delivery(&service, &path).await;
    assert_eq!(
        (&shown["status"], &shown["class"]),
        (&json!("undelivered"), &json!("unreachable_number")),
        "{shown}"
    );
    assert_eq!(shown["tries"][0]["code"], "30003", "{shown}");
    // The verification goes on: the code may have come all the same.
    assert_eq!(get(&service, &path).await.1["status"], "pending");
}

#[tokio::test]
async fn a_report_about_an_unknown_message_is_answered_as_the_provider_expects() {
    let (service, path) = sent().await;
    service
        .backend
        .receives(SIGNED, reads([report("nobody's", ReportedState::Delivered)]));
    assert_eq!(post(&service, ADDRESS).await.status(), 200);
    assert_eq!(delivery(&service, &path).await["status"], "sent");
    let labels = "backend=\"scripted.ScriptedBackend\",state=\"delivered\",outcome=\"early\"";
    let counted = metric(&service, &format!("phone_verify_reports_total{{{labels}}}")).await;
    assert_eq!(counted.as_deref(), Some("1"));
}

#[tokio::test]
async fn the_library_gets_the_request_as_its_provider_signed_it_and_words_the_answer() {
    let service = Service::with(&Rules::default(), |settings| {
        settings.server.public_url = PublicUrl::parse("https://verify.example/sms/");
    });
    let mut answer = ReceiptAnswer::new(202);
    answer.body = b"ACK/Provider".to_vec();
    answer.headers = [
        ("Content-Type", "text/plain"),
        ("X-Provider", "yes"),
        ("Set-Cookie", "a=b"),
        ("Connection", "close"),
        ("no header", "x"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec();
    service.backend.receives(SIGNED, Ok(answer));
    let request = Request::post("/v1/receipts/default/?b=%2B1&a=x%20y")
        .header("host", "10.0.0.1:8000")
        .header("x-signature", "s1")
        .body(Body::from(&b"\xff raw"[..]))
        .unwrap();
    let answer = service.answer(request).await;
    assert_eq!(
        (answer.status().as_u16(), answer.body().as_slice()),
        (202, &b"ACK/Provider"[..])
    );
    let header = |name: &str| {
        answer
            .headers()
            .get(name)
            .map(|value| value.to_str().unwrap().to_owned())
    };
    assert_eq!(header("content-type").as_deref(), Some("text/plain"));
    assert_eq!(header("x-provider").as_deref(), Some("yes"));
    assert_eq!((header("set-cookie"), header("connection")), (None, None));
    assert_eq!(header("cache-control").as_deref(), Some("no-store"));
    let request = Request::get("/v1/receipts/default?messageId=1")
        .body(Body::empty())
        .unwrap();
    service.answer(request).await;
    let received = service.backend.received();
    let [posted, asked] = &received[..] else {
        panic!("{received:?}")
    };
    assert_eq!(posted.method, "POST");
    assert_eq!(
        posted.url,
        "https://verify.example/sms/v1/receipts/default/?b=%2B1&a=x%20y"
    );
    assert!(posted.headers.contains(&("x-signature".into(), "s1".into())));
    assert_eq!(posted.body, b"\xff raw");
    assert_eq!(
        (asked.method.as_str(), asked.url.as_str(), asked.body.len()),
        (
            "GET",
            "https://verify.example/sms/v1/receipts/default?messageId=1",
            0
        )
    );
}

#[tokio::test]
async fn providers_need_no_key_and_come_from_no_page() {
    let service = Service::with(&Rules::default(), |settings| {
        settings.api.keys = vec![ApiKey {
            name: "shop".into(),
            digest: KeyDigest::new_key(&Entropy::system()).unwrap().1,
            scopes: Scope::ALL.to_vec(),
        }];
        settings.server.allowed_origins = vec![PageOrigin::parse("https://app.example").unwrap()];
    });
    service.backend.receives(SIGNED, reads([]));
    assert_eq!(get(&service, "/v1/backends").await.0, 401);
    for (name, value) in [
        ("origin", "https://provider.example"),
        ("origin", "null"),
        ("sec-fetch-site", "cross-site"),
    ] {
        let request = Request::post(ADDRESS)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(header::HOST, "verify.example")
            .header(name, value)
            .body(Body::from("status=1"))
            .unwrap();
        assert_eq!(service.answer(request).await.status(), 200, "{name}: {value}");
    }
}

#[tokio::test]
async fn where_the_provider_signs_nothing_the_address_is_a_secret() {
    let (service, path) = sent().await;
    service
        .backend
        .receives(UNSIGNED, reads([report(ID, ReportedState::Delivered)]));
    let secret = service.keyring.receipt_secret("default").to_string();
    let of_another = service.keyring.receipt_secret("other").to_string();
    for wrong in [
        "",
        "/",
        "/x",
        &format!("/{of_another}"),
        &format!("/{}", secret.to_uppercase()),
    ] {
        let answer = post(&service, &format!("{ADDRESS}{wrong}")).await;
        assert_eq!(answer.status(), 404, "{wrong}");
    }
    assert_eq!(service.backend.received().len(), 0, "the library was not asked");
    assert_eq!(delivery(&service, &path).await["status"], "sent");
    let right = format!("{ADDRESS}/{secret}");
    assert_eq!(post(&service, &right).await.status(), 200);
    assert_eq!(delivery(&service, &path).await["status"], "delivered");
    // One that signs may have it too, and then it must be right.
    service.backend.receives(SIGNED, reads([]));
    assert_eq!(post(&service, &right).await.status(), 200);
    assert_eq!(
        post(&service, &format!("{ADDRESS}/{of_another}")).await.status(),
        404
    );
}

#[tokio::test]
async fn a_request_that_the_library_refuses_or_cannot_read_changes_nothing() {
    let (service, path) = sent().await;
    let refused = ReceiptAnswer::new(403);
    let too_many = reads(vec![report(ID, ReportedState::Delivered); 101]);
    let contradictory = Ok(ReceiptAnswer {
        reports: vec![report(ID, ReportedState::Delivered)],
        ..ReceiptAnswer::new(401)
    });
    let broken = Err(SendFailure::new(
        FailureClass::Internal,
        "plugin_panic",
        "it panicked",
    ));
    for (what, answer, status, outcome) in [
        ("a wrong signature", Ok(refused), 403, "refused"),
        ("too many reports", too_many, 503, "out_of_bounds"),
        ("reports in a refusal", contradictory, 503, "out_of_bounds"),
        ("a library that fails", broken, 503, "failed"),
    ] {
        service.backend.receives(SIGNED, answer);
        let answer = post(&service, ADDRESS).await;
        assert_eq!(answer.status(), status, "{what}");
        // So that the provider sends it again.
        assert_eq!(
            answer.headers().contains_key(header::RETRY_AFTER),
            status == 503,
            "{what}"
        );
        let labels = format!("backend=\"scripted.ScriptedBackend\",outcome=\"{outcome}\"");
        let counted = metric(
            &service,
            &format!("phone_verify_receipt_requests_total{{{labels}}}"),
        )
        .await;
        assert!(counted.is_some(), "{what}");
    }
    assert_eq!(delivery(&service, &path).await["status"], "sent");
}

#[tokio::test]
async fn a_request_has_a_bound_and_an_unknown_backend_is_not_found() {
    let (service, _) = sent().await;
    assert_eq!(post(&service, ADDRESS).await.status(), 404, "it takes no reports");
    service.backend.receives(SIGNED, reads([]));
    assert_eq!(post(&service, "/v1/receipts/elsewhere").await.status(), 404);
    let longest = Request::post(ADDRESS)
        .body(Body::from(vec![b'x'; 64 * 1024]))
        .unwrap();
    assert_eq!(service.answer(longest).await.status(), 200);
    let longer = Request::post(ADDRESS)
        .body(Body::from(vec![b'x'; 64 * 1024 + 1]))
        .unwrap();
    assert_eq!(service.answer(longer).await.status(), 413);
}

#[tokio::test]
async fn a_secret_in_an_address_is_never_logged() {
    let mut site = Site::new();
    site.set("log", "level", "trace");
    let secret = "5ecre7addre55ofareceip7thatisl0ng";
    let daemon: Daemon = site.serve();
    for path in [
        format!("/v1/receipts/default/{secret}"),
        format!("/v1/receipts/{secret}/x"),
        format!("/v1/receipts/default/{secret}/"),
        format!("/v1/receipts/default?secret={secret}"),
    ] {
        for method in ["POST", "GET", "PUT"] {
            let answer = daemon.request(method, &path).send().await.unwrap();
            assert!(matches!(answer.status().as_u16(), 404 | 405), "{method} {path}");
        }
    }
    let said = daemon.stop();
    let said = format!("{said:?}");
    assert!(said.contains("/v1/receipts/{backend}/{secret}"), "{said}");
    assert!(!said.contains(secret), "{said}");
}

#[test]
fn an_operator_learns_what_to_tell_the_provider() {
    let mut site = Site::new();
    site.set("server", "public_url", "https://verify.example");
    let before = site.run(&["backends", "--json"]).json();
    let address = &before["receipts"][0];
    assert_eq!(address["backend"], "default");
    assert_eq!(address["url"], "https://verify.example/v1/receipts/default");
    assert_eq!(address["secret_url"], Value::Null, "no daemon has made keys yet");
    drop(site.serve());
    let address = &site.run(&["backends", "--json"]).json()["receipts"][0];
    let secret = address["secret_url"].as_str().unwrap();
    let secret = secret
        .strip_prefix("https://verify.example/v1/receipts/default/")
        .unwrap();
    assert_eq!(secret.len(), 32);
    let said = site.run(&["backends"]).stdout;
    assert!(
        said.contains("delivery receipts of default") && said.contains(secret),
        "{said}"
    );
}
