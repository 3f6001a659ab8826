//! A request is followed by its ids: from the client's headers into the log, the backend's call, the provider's
//! request, and back in the answer.

use phone_verify_tests::{
    connection::Connection,
    gateways::{Behaviour, NexmoGateway},
    site::Site,
};
use serde_json::{Value, json};

const NUMBER: &str = "+13478379634";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const REQUEST_ID: &str = "order-17/3f";

fn traceparent() -> String {
    format!("00-{TRACE}-00f067aa0ba902b7-01")
}

fn header(answer: &phone_verify_tests::daemon::Answer, name: &str) -> String {
    let value = answer.headers.get(name);
    let value = value.unwrap_or_else(|| panic!("no {name} in {answer:?}"));
    value.to_str().unwrap().to_owned()
}

/// The lines of a log that are about a request.
fn about(log: &str, request_id: &str) -> Vec<Value> {
    let lines = log.lines().map(|line| serde_json::from_str(line).unwrap());
    lines
        .filter(|line: &Value| line["request_id"] == request_id)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ids_of_a_request_reach_log_provider_and_answer() {
    for isolation in ["inline", "worker"] {
        let gateway = NexmoGateway::start().await;
        let mut site = Site::with_backend("nexmo.NexmoBackend", &Value::Object(gateway.options()));
        site.set("log", "format", "json").set("log", "level", "debug");
        site.set("plugins", "isolation", isolation);
        let daemon = site.serve();
        gateway.next(Behaviour::Refuse(9));
        let request = daemon
            .request("POST", "/api/phone/register")
            .header("X-Request-Id", REQUEST_ID)
            .header("traceparent", traceparent())
            .json(&json!({ "phone_number": NUMBER }));
        let answer = daemon.send(request).await;
        assert_eq!(header(&answer, "x-request-id"), REQUEST_ID, "{isolation}");
        let returned = header(&answer, "traceparent");
        assert!(
            returned.starts_with(&format!("00-{TRACE}-")) && returned.ends_with("-01"),
            "{returned}"
        );
        assert_eq!(
            gateway.last_header("x-request-id").unwrap(),
            REQUEST_ID,
            "{isolation}"
        );
        assert_eq!(
            gateway.last_header("traceparent").unwrap(),
            returned,
            "{isolation}"
        );
        let (_, log) = daemon.stop();
        let lines = about(&log, REQUEST_ID);
        for message in ["request", "not sent"] {
            let line = lines.iter().find(|line| line["message"] == message);
            let line = line.unwrap_or_else(|| panic!("{message} is not told of: {log}"));
            assert_eq!(line["trace_id"], TRACE, "{log}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_librarys_own_lines_name_the_request() {
    for isolation in ["inline", "worker"] {
        let mut site = Site::with_backend("villain.VillainBackend", &json!({}));
        site.set("phone_verification", "MESSAGE", "gossip {security_code}");
        site.set("plugins", "isolation", isolation);
        site.set("log", "format", "json");
        let daemon = site.serve();
        let request = daemon
            .request("POST", "/api/phone/register")
            .header("X-Request-Id", REQUEST_ID)
            .json(&json!({ "phone_number": NUMBER }));
        daemon.send(request).await;
        let (_, log) = daemon.stop();
        let lines = about(&log, REQUEST_ID);
        let own = lines.iter().find(|line| line["target"] == "phone_verify::plugin");
        assert!(own.is_some(), "{isolation}: {log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_names_its_request() {
    let daemon = Site::new().serve();
    for (method, path) in [
        ("GET", "/healthz"),
        ("GET", "/readyz"),
        ("GET", "/nowhere"),
        ("PUT", "/v1/verifications"),
        ("GET", "/v1/nowhere"),
        ("POST", "/api/phone/register"),
        ("GET", "/v1/verifications/none"),
        ("GET", "/openapi.json"),
    ] {
        let sent = daemon.request(method, path).header("x-request-id", REQUEST_ID);
        let answer = sent.send().await.unwrap();
        assert_eq!(answer.headers()["x-request-id"], REQUEST_ID, "{method} {path}");
        assert!(answer.headers().contains_key("traceparent"), "{method} {path}");
    }
    let made = daemon.get("/healthz").await;
    let id = header(&made, "x-request-id");
    assert!(header(&made, "traceparent").contains(&id), "{made:?}");
    assert_ne!(header(&daemon.get("/healthz").await, "x-request-id"), id);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_before_any_route_is_followed_as_well() {
    let mut site = Site::new();
    site.set("log", "format", "json")
        .set("server", "read_timeout_seconds", 1);
    let daemon = site.serve();
    let large = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "x".repeat(128 * 1024));
    let mut refused = Vec::new();
    for (sent, is_whole, code) in [
        ("GET /healthz HTTP/1.1\r\n\r\n", true, "host_invalid"),
        ("POST /v1/x HTTP/1.1\r\nhost: a b\r\n\r\n", true, "host_invalid"),
        (
            "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: gzip, chunked\r\n\r\n",
            true,
            "transfer_encoding_unsupported",
        ),
        ("nonsense\r\n\r\n", true, "head_unparsable"),
        ("GET / HTTP/3.0\r\n\r\n", true, "http_version_unsupported"),
        (&large, true, "head_too_large"),
        ("GET / HTTP/1.1\r\nhost:", true, "head_unparsable"),
        ("GET / HTTP/1.1\r\nhost:", false, "head_too_slow"),
    ] {
        let mut connection = Connection::to(daemon.address());
        connection.write(sent);
        if is_whole {
            connection.end_writing();
        }
        let answer = connection.answer();
        assert_eq!(answer.code(), code, "{sent:.60}: {answer:?}");
        let header = |name: &str| {
            let mut lines = answer.head.lines();
            let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            value
                .unwrap_or_else(|| panic!("no {name}: {answer:?}"))
                .to_owned()
        };
        let id = header("x-request-id");
        assert!(header("traceparent").contains(&id), "{answer:?}");
        assert!(
            answer.has("cache-control: no-store") && answer.has("x-content-type-options: nosniff"),
            "{answer:?}"
        );
        refused.push((id, answer.status(), code));
    }
    let kept = Connection::to(daemon.address())
        .write(format!("GET / HTTP/1.1\r\nx-request-id: {REQUEST_ID}\r\n\r\n"))
        .answer();
    assert!(kept.has(&format!("x-request-id: {REQUEST_ID}")), "{kept:?}");
    let counted = daemon.request("GET", "/metrics").send().await.unwrap();
    let counted = counted.text().await.unwrap();
    for (_, _, code) in &refused {
        assert!(counted.contains(&format!("code=\"{code}\"")), "{code}: {counted}");
    }
    let (_, log) = daemon.stop();
    for (id, status, code) in refused {
        let lines = about(&log, &id);
        assert_eq!(lines.len(), 1, "{code}: {log}");
        assert_eq!(
            (
                &lines[0]["message"],
                &lines[0]["client"],
                &lines[0]["status"],
                &lines[0]["code"]
            ),
            (
                &json!("request"),
                &json!("127.0.0.0/24"),
                &json!(status),
                &json!(code)
            ),
            "{log}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_shown_is_not_taken_over() {
    let daemon = Site::new().serve();
    let too_long = "x".repeat(129);
    let faulty: [&[&str]; 6] = [
        &[NUMBER],
        &["a b"],
        &["<script>"],
        &[&too_long],
        &["one", "two"],
        &[""],
    ];
    for ids in faulty {
        let mut request = daemon.request("GET", "/healthz");
        for id in ids {
            request = request
                .header("x-request-id", *id)
                .header("traceparent", traceparent() + "0");
        }
        let answer = daemon.send(request).await;
        let id = header(&answer, "x-request-id");
        assert!(id.len() == 32 && !ids.contains(&id.as_str()), "{ids:?}: {id}");
        assert!(!header(&answer, "traceparent").contains(TRACE), "{answer:?}");
    }
    let (_, log) = daemon.stop();
    assert!(!log.contains("13478379634"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_access_log_shows_who_asked_as_the_settings_say() {
    for (how, expected) in [
        ("masked", Some("203.0.113.0/24")),
        ("full", Some("203.0.113.7")),
        ("none", None),
    ] {
        let mut site = Site::new();
        let made = site.run(&["keys", "new", "shop", "--json"]).json();
        let keys = toml::Table::from_iter([("shop".to_owned(), made["digest"].as_str().unwrap().into())]);
        site.set("api", "keys", keys)
            .set("log", "format", "json")
            .set("log", "client_addresses", how)
            .set("server", "trusted_proxies", vec!["127.0.0.1"]);
        let daemon = site.serve();
        let request = daemon
            .request("GET", "/v1/backends")
            .header("x-request-id", REQUEST_ID)
            .header("x-forwarded-for", "203.0.113.7")
            .bearer_auth(made["key"].as_str().unwrap());
        assert_eq!(daemon.send(request).await.status, 200);
        let (_, log) = daemon.stop();
        let lines = about(&log, REQUEST_ID);
        assert_eq!(lines[0].get("client").and_then(Value::as_str), expected, "{log}");
        assert_eq!(lines[0]["api_key"], "shop", "{log}");
    }
}
