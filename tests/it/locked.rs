//! A database that another process keeps locked: nobody waits for long, and whoever cannot be served is told to come
//! again.

use std::time::Duration;

use futures_util::future::join_all;
use phone_verify_tests::{daemon::Daemon, site::Site};
use serde_json::{Value, json};

const NUMBER: &str = "+13478379634";
/// Far longer than anybody should wait for an answer, also on a busy machine; and shorter than it was.
const PATIENCE: Duration = Duration::from_secs(9);

fn request(daemon: &Daemon, method: &str, path: &str, body: &Value) -> reqwest::RequestBuilder {
    let request = daemon.request(method, path).timeout(PATIENCE);
    if *body == Value::Null {
        request
    } else {
        request.json(body)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_asks_while_the_database_is_locked_is_told_soon_to_come_again() {
    let site = Site::with_backend("noop.FixedCodeBackend", &json!({}));
    let daemon = site.serve();
    let made = daemon
        .post("/v1/verifications", &json!({ "phone_number": NUMBER }))
        .await;
    let path = format!("/v1/verifications/{}", made.body["id"].as_str().unwrap());
    let (token, code) = (made.session_token(), "123456");
    let checks = json!({ "session_token": token, "security_code": code });
    let verifies = json!({ "phone_number": NUMBER, "session_token": token, "security_code": code });
    let number = json!({ "phone_number": "+13478379635" });
    let (check, resend) = (format!("{path}/check"), format!("{path}/resend"));
    let none = Value::Null;
    let cases = [
        ("POST", "/api/phone/register", &number, 503, "unavailable"),
        ("POST", "/api/phone/verify", &verifies, 503, "unavailable"),
        ("POST", "/v1/verifications", &number, 503, "unavailable"),
        ("POST", &*check, &checks, 503, "unavailable"),
        ("POST", &*resend, &none, 503, "unavailable"),
        ("DELETE", &*path, &none, 503, "unavailable"),
        ("GET", "/readyz", &none, 503, "unavailable"),
        ("GET", &*path, &none, 200, ""),
        ("GET", "/v1/backends", &none, 200, ""),
        ("GET", "/v1/decisions", &none, 200, ""),
        ("GET", "/healthz", &none, 200, ""),
    ];
    let locking = rusqlite::Connection::open(site.path("phone-verify.db")).unwrap();
    locking.execute_batch("BEGIN IMMEDIATE").unwrap();
    // Several of each at once, so that they meet in the queue; with a key and without.
    let asked = cases
        .iter()
        .flat_map(|case| std::iter::repeat_n(case, 3))
        .enumerate();
    let answers = join_all(asked.map(async |(n, (method, path, body, status, code))| {
        let mut request = request(&daemon, method, path, body);
        if n % 3 == 0 && *method != "GET" {
            request = request.header("idempotency-key", n.to_string());
        }
        let answer = daemon.send(request).await;
        assert_eq!(
            (answer.status, answer.code()),
            (*status, *code),
            "{method} {path}: {answer:?}"
        );
        assert_eq!(
            answer.headers.contains_key("retry-after"),
            *code == "unavailable",
            "{method} {path}"
        );
    }));
    answers.await;
    locking.execute_batch("ROLLBACK").unwrap();
    // Nothing of it happened.
    let answer = daemon.send(request(&daemon, "POST", &check, &checks)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(daemon.register("+13478379635").await.status, 200);
}
