//! Requests of the native API that are made again: under an `Idempotency-Key` each is done once, whatever it asks for.
//! And what was told is found by whoever reads right after it.

use std::sync::Arc;

use phone_verify_tests::{
    daemon::{Answer, Daemon},
    gateways::{Behaviour, NexmoGateway},
    site::Site,
};
use rustix::process::Signal;
use serde_json::{Value, json};

const NUMBER: &str = "+13478379634";
const VERIFICATIONS: &str = "/v1/verifications";
const CODE: &str = "123456";

/// A request, and another under the same key.
struct Case {
    method: &'static str,
    path: String,
    body: Value,
    other: (&'static str, String, Value),
}

async fn ask(daemon: &Daemon, key: &str, method: &str, path: &str, body: &Value) -> Answer {
    let request = daemon.request(method, path).header("idempotency-key", key);
    daemon.send(request.json(body)).await
}

async fn begun(daemon: &Daemon, number: &str) -> (String, String) {
    let made = daemon
        .post(VERIFICATIONS, &json!({ "phone_number": number }))
        .await;
    let id = made.body["id"].as_str().unwrap();
    (format!("{VERIFICATIONS}/{id}"), made.session_token().to_owned())
}

/// Every route that does something, and for each of them another body or another route.
async fn every_case(daemon: &Daemon) -> Vec<Case> {
    let (one, token) = begun(daemon, NUMBER).await;
    let (two, _) = begun(daemon, "+13478379635").await;
    let check = |code: &str| json!({ "session_token": token, "security_code": code });
    let case = |method, path: &str, body: Value, other: (&'static str, &str, Value)| Case {
        method,
        path: path.to_owned(),
        body,
        other: (other.0, other.1.to_owned(), other.2),
    };
    let (check_path, resend_path) = (format!("{one}/check"), format!("{one}/resend"));
    vec![
        case(
            "POST",
            VERIFICATIONS,
            json!({ "phone_number": "+13478379636" }),
            ("POST", VERIFICATIONS, json!({ "phone_number": "+13478379637" })),
        ),
        case(
            "POST",
            &resend_path,
            json!({}),
            ("POST", &resend_path, json!({ "locale": "es" })),
        ),
        case(
            "POST",
            &check_path,
            check("000000"),
            ("POST", &check_path, check(CODE)),
        ),
        case(
            "POST",
            &check_path,
            check(CODE),
            ("POST", &resend_path, json!({})),
        ),
        case("DELETE", &two, json!({}), ("DELETE", &one, json!({}))),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_asked_for_under_a_key_is_done_once_and_answered_as_before() {
    let site = Site::with_backend("noop.FixedCodeBackend", &json!({}));
    let mut daemon = site.serve();
    let mut answers = Vec::new();
    for (n, case) in every_case(&daemon).await.into_iter().enumerate() {
        let key = format!("key {n}");
        let Case {
            method,
            path,
            body,
            other,
        } = &case;
        let first = ask(&daemon, &key, method, path, body).await;
        for _ in 0..3 {
            let again = ask(&daemon, &key, method, path, body).await;
            assert_eq!(
                (first.status, &first.body),
                (again.status, &again.body),
                "{method} {path}"
            );
            for header in ["content-type", "location"] {
                assert_eq!(
                    first.headers.get(header),
                    again.headers.get(header),
                    "{method} {path}"
                );
            }
        }
        let (other_method, other_path, other_body) = other;
        let reused = ask(&daemon, &key, other_method, other_path, other_body).await;
        assert_eq!(
            (reused.status, reused.code()),
            (422, "idempotency_key_reused"),
            "{method} {path}"
        );
        answers.push((key, case, first));
    }
    let statuses: Vec<_> = answers.iter().map(|(_, _, answer)| answer.status).collect();
    assert_eq!(statuses, [201, 200, 400, 200, 200]);
    // What each did, it did once.
    let remaining = &answers[2].2.body["attempts_remaining"];
    assert_eq!(remaining, 4);
    // And another process knows it.
    daemon.signal(Signal::KILL);
    daemon.wait();
    daemon = site.serve();
    for (key, case, first) in answers {
        let again = ask(&daemon, &key, case.method, &case.path, &case.body).await;
        assert_eq!(
            (first.status, first.body),
            (again.status, again.body),
            "{}",
            case.path
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_under_way_is_told_to_ask_again_and_sends_once() {
    let gateway = NexmoGateway::start().await;
    let site = Site::with_backend("nexmo.NexmoBackend", &Value::Object(gateway.options()));
    let daemon = Arc::new(site.serve());
    let (path, _) = begun(&daemon, "+13478379635").await;
    let create = (VERIFICATIONS.to_owned(), json!({ "phone_number": NUMBER }));
    let resend = (format!("{path}/resend"), json!({}));
    for (n, (path, body)) in [create, resend].into_iter().enumerate() {
        let before = gateway.inbox().len();
        gateway.next(Behaviour::Hold);
        let under_way = tokio::spawn({
            let (daemon, path, body) = (Arc::clone(&daemon), path.clone(), body.clone());
            async move { ask(&daemon, &n.to_string(), "POST", &path, &body).await }
        });
        while gateway.inbox().len() == before {
            tokio::task::yield_now().await;
        }
        // The same by another process, which finds it in the database.
        let other = site.serve();
        for daemon in [&daemon, &other] {
            let refused = ask(daemon, &n.to_string(), "POST", &path, &body).await;
            assert_eq!(
                (refused.status, refused.code()),
                (409, "request_under_way"),
                "{path}"
            );
            assert_eq!(refused.headers["retry-after"], "1");
        }
        gateway.release();
        let first = under_way.await.unwrap();
        let again = ask(&daemon, &n.to_string(), "POST", &path, &body).await;
        assert_eq!((first.status, &first.body), (again.status, &again.body), "{path}");
        assert_eq!(gateway.inbox().len(), before + 1, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_was_told_that_an_sms_was_sent_finds_that_it_was() {
    let site = Site::with_backend("noop.FixedCodeBackend", &json!({}));
    let (daemon, other) = (site.serve(), site.serve());
    for n in 0..20 {
        let (path, _) = begun(&daemon, &format!("+13478379{n:03}")).await;
        assert_eq!(daemon.get(&path).await.body["delivery"]["status"], "sent");
        let resent = daemon.post(&format!("{path}/resend"), &json!({})).await;
        assert_eq!(resent.body["delivery"]["status"], "sent", "{resent:?}");
        let found = daemon.get(&path).await;
        assert_eq!(found.body["delivery"]["status"], "sent", "{found:?}");
        // Another process sees it once it is recorded.
        while other.get(&path).await.body["delivery"]["status"] != "sent" {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_tells_the_backend_that_it_was_sent_with_whichever_serves_now() {
    let mut site = Site::with_backend("noop.FixedCodeBackend", &json!({}));
    site.install("console");
    let daemon = site.serve();
    let (before, _) = begun(&daemon, NUMBER).await;
    site.set("phone_verification", "BACKEND", "console.ConsoleBackend");
    daemon.signal(Signal::HUP);
    daemon.wait_for_log("the settings are reloaded");
    let (after, _) = begun(&daemon, "+13478379635").await;
    let backend = async |path: &str| daemon.get(path).await.body["delivery"]["backend"].clone();
    assert_eq!(backend(&before).await, "noop.FixedCodeBackend");
    assert_eq!(backend(&after).await, "console.ConsoleBackend");
    // A further SMS goes with the one that serves.
    let resent = daemon.post(&format!("{before}/resend"), &json!({})).await;
    assert_eq!(resent.body["delivery"]["backend"], "console.ConsoleBackend");
    assert_eq!(backend(&before).await, "console.ConsoleBackend");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changes_nothing_leaves_no_trace_in_the_audit_log() {
    let site = Site::with_backend("noop.FixedCodeBackend", &json!({}));
    let daemon = site.serve();
    let (cancelled, _) = begun(&daemon, NUMBER).await;
    let (verified, token) = begun(&daemon, "+13478379635").await;
    let check = json!({ "session_token": token, "security_code": CODE });
    daemon.post(&format!("{verified}/check"), &check).await;
    let nobody = format!("{VERIFICATIONS}/{}", "0".repeat(32));
    for path in [&cancelled, &verified, &nobody] {
        for _ in 0..3 {
            daemon.send(daemon.request("DELETE", path)).await;
        }
    }
    for _ in 0..2 {
        for arguments in [
            &["forget", "+13478379699"][..],
            &["forget", "+13478379699", "--dry-run"],
            &["cleanup"],
            &["cleanup", "--days", "0", "--dry-run"],
            &["decisions"],
            &["audit"],
        ] {
            assert_eq!(site.run(arguments).code, Some(0), "{arguments:?}");
        }
    }
    let log = site.run(&["audit", "--json"]).json()["entries"].clone();
    let entries: Vec<_> = log
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| &entry["action"])
        .collect();
    assert_eq!(entries, ["cancel"], "{log:#}");
    assert_eq!(log[0]["subject"], cancelled.rsplit('/').next().unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_order_of_right_and_wrong_codes_has_more_compared_than_promised() {
    for only_once in [true, false] {
        let mut site = Site::with_backend("noop.FixedCodeBackend", &json!({}));
        site.set("phone_verification", "VERIFY_SECURITY_CODE_ONLY_ONCE", only_once);
        let daemon = site.serve();
        let registered = daemon.register(NUMBER).await;
        let token = registered.session_token();
        let mut wrong = 0;
        let mut last = String::new();
        for code in ["000000", "000001", "000002", "000003", CODE, "000004"]
            .into_iter()
            .chain([CODE, "000005"].repeat(8))
        {
            let answer = daemon.verify(NUMBER, token, code).await;
            wrong += usize::from(answer.code() == "security_code_invalid");
            last = answer.code().to_owned();
        }
        assert_eq!(wrong, 5, "only_once = {only_once}");
        let told = if only_once {
            "security_code_already_verified"
        } else {
            "too_many_attempts"
        };
        assert_eq!(last, told);
    }
}
