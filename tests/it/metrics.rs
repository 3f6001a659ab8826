//! What `/metrics` tells of a running daemon, in the formats that are asked for, and that `host/docs/metrics.md` says
//! the same.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

use phone_verify_tests::{
    artifacts,
    daemon::Daemon,
    gateways::{Behaviour, Gateway, Nexmo},
    site::Site,
};
use serde_json::{Value, json};

const NUMBER: &str = "+13478379634";
const BRITISH: &str = "+447400123456";

const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What is told to whoever asks with this `Accept`: the media type and the page.
async fn page(daemon: &Daemon, accept: &str) -> (String, String) {
    let request = daemon.request("GET", "/metrics").header("accept", accept);
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let media_type = answer.headers()["content-type"].to_str().unwrap().to_owned();
    (media_type, answer.text().await.unwrap())
}

/// The samples of a page in the text format, by name and labels.
fn samples(page: &str) -> BTreeMap<&str, f64> {
    let lines = page.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name, value.parse().unwrap())
        })
        .collect()
}

/// Names and types, as they are described.
fn described(page: &str) -> BTreeMap<String, String> {
    let types = page.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    types
        .map(|line| {
            let (name, kind) = line.split_once(' ').unwrap();
            (name.to_owned(), kind.to_owned())
        })
        .collect()
}

fn code_in(text: &str) -> String {
    text.chars().filter(char::is_ascii_digit).collect()
}

/// A day in the life of a daemon: numbers are verified, codes are wrong, the provider refuses, a limit and a cap are
/// reached.
async fn a_day(accounts: &Gateway<Nexmo>, daemon: &Daemon) {
    let registered = daemon.register(NUMBER).await;
    let code = code_in(&accounts.sms_to(NUMBER).await.text);
    let wrong = if code == "000000" { "000001" } else { "000000" };
    daemon.verify(NUMBER, registered.session_token(), wrong).await;
    let verified = daemon.verify(NUMBER, registered.session_token(), &code).await;
    assert_eq!(verified.status, 200);
    accounts.next(Behaviour::Refuse(4));
    assert_eq!(daemon.register(BRITISH).await.status, 503);
    let refused = daemon.register("+12025550123").await;
    assert_eq!((refused.status, refused.code()), (200, ""), "{refused:?}");
    let refused = daemon.register("+12025550124").await;
    assert_eq!((refused.status, refused.code()), (429, "country_per_hour"));
}

async fn site() -> (Gateway<Nexmo>, Site) {
    let gateway = Gateway::start().await;
    let mut site = Site::with_backend("nexmo.NexmoBackend", &Value::Object(gateway.options()));
    site.set("plugins", "isolation", "worker");
    site.set("limits", "country_per_hour", 2);
    (gateway, site)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_of_the_daemon_is_told_in_numbers() {
    let (gateway, site) = site().await;
    let daemon = site.serve();
    a_day(&gateway, &daemon).await;
    let (_, page) = page(&daemon, "*/*").await;
    let told = samples(&page);
    let register = r#"route="/api/phone/register",method="POST""#;
    let nexmo = r#"member="default",backend="nexmo.NexmoBackend""#;
    for (sample, value) in [
        (
            format!(r#"phone_verify_http_requests_total{{{register},status="200",code=""}}"#),
            2.0,
        ),
        (
            format!(r#"phone_verify_http_requests_total{{{register},status="503",code="sms_not_sent"}}"#),
            1.0,
        ),
        (
            format!(r#"phone_verify_http_requests_total{{{register},status="429",code="country_per_hour"}}"#),
            1.0,
        ),
        (
            format!("phone_verify_http_request_duration_seconds_count{{{register}}}"),
            4.0,
        ),
        (
            r#"phone_verify_verifications_started_total{country="US"}"#.to_owned(),
            2.0,
        ),
        (
            r#"phone_verify_verifications_started_total{country="GB"}"#.to_owned(),
            1.0,
        ),
        (
            r#"phone_verify_verifications_verified_total{country="US"}"#.to_owned(),
            1.0,
        ),
        (
            r#"phone_verify_verifications_failed_total{reason="sms_not_sent",country="GB"}"#.to_owned(),
            1.0,
        ),
        (r#"phone_verify_checks_total{verdict="valid"}"#.to_owned(), 1.0),
        (r#"phone_verify_checks_total{verdict="invalid"}"#.to_owned(), 1.0),
        (
            r#"phone_verify_limit_refusals_total{limit="country_per_hour"}"#.to_owned(),
            1.0,
        ),
        (
            format!(r#"phone_verify_messages_total{{{nexmo},class="sent",origin=""}}"#),
            2.0,
        ),
        (
            format!(r#"phone_verify_messages_total{{{nexmo},class="auth_failed",origin="provider"}}"#),
            1.0,
        ),
        (
            format!("phone_verify_send_duration_seconds_count{{{nexmo}}}"),
            3.0,
        ),
        (format!(r#"phone_verify_breaker{{{nexmo},state="closed"}}"#), 1.0),
        ("phone_verify_messages_under_way".to_owned(), 0.0),
        (r#"phone_verify_queue_messages{member="default"}"#.to_owned(), 0.0),
        (
            r#"phone_verify_cap_used_ratio{limit="country_per_hour",country="US"}"#.to_owned(),
            1.0,
        ),
        // Whose codes are still awaited says nothing yet.
        ("phone_verify_conversion_numbers".to_owned(), 0.0),
        ("phone_verify_conversion_verified_numbers".to_owned(), 0.0),
        ("phone_verify_store_commit_failures_total".to_owned(), 0.0),
        (
            r#"phone_verify_workers_started_total{library="nexmo"}"#.to_owned(),
            1.0,
        ),
        (r#"phone_verify_workers{library="nexmo"}"#.to_owned(), 1.0),
    ] {
        assert_eq!(told.get(sample.as_str()), Some(&value), "{sample} in\n{page}");
    }
    for positive in [
        "phone_verify_store_commit_duration_seconds_count",
        "phone_verify_store_commit_operations_sum",
        "process_start_time_seconds",
    ] {
        assert!(told[positive] > 0.0, "{positive} in\n{page}");
    }
    for private in ["1347", "447400", "2025550", &code_in(&gateway.inbox()[0].text)] {
        let labels = page.split(['{', '}']).skip(1).step_by(2);
        assert!(
            !labels.into_iter().any(|labels| labels.contains(private)),
            "{private}"
        );
    }
}

/// A counter that fell would look to Prometheus like a restart.
#[tokio::test(flavor = "multi_thread")]
async fn a_reload_resets_no_counter() {
    let (gateway, site) = site().await;
    let daemon = site.serve();
    a_day(&gateway, &daemon).await;
    let (_, before) = page(&daemon, "*/*").await;
    daemon.signal(rustix::process::Signal::HUP);
    daemon.wait_for_log("the settings are reloaded");
    let (_, after) = page(&daemon, "*/*").await;
    let counters: BTreeSet<String> = described(&before)
        .into_iter()
        .filter_map(|(name, kind)| (kind == "counter").then_some(name))
        .collect();
    let now = samples(&after);
    for (sample, value) in samples(&before) {
        let name = sample.split('{').next().unwrap();
        if counters.contains(name) {
            assert!(
                now[sample] >= value,
                "{sample} was {value} and is {}",
                now[sample]
            );
        }
    }
}

#[tokio::test]
async fn text_is_told_unless_openmetrics_is_asked_for() {
    let site = Site::new();
    let daemon = site.serve();
    let (media_type, text) = page(&daemon, "text/plain;version=0.0.4").await;
    assert_eq!(media_type, TEXT);
    assert!(!text.contains("# EOF"), "{text}");
    let prometheus =
        "application/openmetrics-text;version=1.0.0;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
    let (media_type, text) = page(&daemon, prometheus).await;
    assert_eq!(media_type, OPEN_METRICS);
    assert!(text.ends_with("# EOF\n"), "{text}");
}

/// Debian has it in the package `prometheus`.
#[tokio::test(flavor = "multi_thread")]
async fn promtool_finds_no_fault_where_it_is_installed() {
    let (gateway, site) = site().await;
    let daemon = site.serve();
    a_day(&gateway, &daemon).await;
    let (_, page) = page(&daemon, "*/*").await;
    let promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut promtool) = promtool else { return };
    promtool.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let found = promtool.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&found.stderr).into_owned() + &String::from_utf8_lossy(&found.stdout);
    assert!(found.status.success() && told.is_empty(), "{told}\n{page}");
}

/// Each row of the page has the name, the type and the labels that are told, and each that is told has a row.
#[tokio::test(flavor = "multi_thread")]
async fn the_document_says_what_is_told() {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../host/docs/metrics.md");
    let document = fs::read_to_string(document).unwrap();
    let rows = document.lines().filter_map(|line| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [name, kind @ ("counter" | "gauge" | "histogram"), labels, what] = cells[..] else {
            return None;
        };
        assert!(!what.is_empty(), "{line}");
        let labels = labels.split(',').map(|label| label.trim().trim_matches('`'));
        let labels: BTreeSet<String> = labels
            .filter(|label| !label.is_empty())
            .map(str::to_owned)
            .collect();
        Some((name.trim_matches('`').to_owned(), (kind.to_owned(), labels)))
    });
    let rows: BTreeMap<String, (String, BTreeSet<String>)> = rows.collect();

    let (gateway, site) = site().await;
    let daemon = site.serve();
    a_day(&gateway, &daemon).await;
    let (_, page) = page(&daemon, "*/*").await;
    let kinds = |(name, kind): (String, String)| (name, kind);
    let told: BTreeMap<String, String> = described(&page).into_iter().map(kinds).collect();
    let documented: BTreeMap<String, String> = rows
        .iter()
        .map(|(name, (kind, _))| (name.clone(), kind.clone()))
        .collect();
    assert_eq!(told, documented);
    for sample in samples(&page).keys() {
        let (name, labels) = sample.split_once('{').unwrap_or((sample, ""));
        let family = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|suffix| name.strip_suffix(suffix));
        let (kind, expected) = rows.get(name).or_else(|| rows.get(family?)).unwrap();
        let labels: BTreeSet<String> = labels
            .trim_end_matches('}')
            .split("\",")
            .filter_map(|label| Some(label.split_once("=\"")?.0.to_owned()))
            .filter(|label| !(kind == "histogram" && label == "le"))
            .collect();
        assert_eq!(labels, *expected, "{sample}");
    }
}

#[tokio::test]
async fn where_there_are_keys_one_is_needed() {
    let mut site = Site::new();
    let made = site.run(&["keys", "new", "prometheus", "--json"]).json();
    let keys = toml::Table::from_iter([("prometheus".to_owned(), made["digest"].as_str().unwrap().into())]);
    site.set("api", "keys", keys);
    let daemon = site.serve();
    let refused = daemon.get("/metrics").await;
    assert_eq!((refused.status, refused.code()), (401, "unauthorized"));
    let key = made["key"].as_str().unwrap();
    let request = daemon.request("GET", "/metrics").bearer_auth(key);
    assert_eq!(request.send().await.unwrap().status(), 200);
}

/// In time to act: before strangers are refused, and once more when they are.
#[tokio::test]
async fn a_cap_that_is_nearly_used_up_is_told_by_the_log_and_by_readyz() {
    let mut site = Site::new();
    site.set("limits", "service_per_hour", 10);
    let daemon = site.serve();
    let register = async |from: u32, to: u32| {
        for n in from..to {
            let answer = daemon.register(&format!("+1202555{:04}", 100 + n)).await;
            assert_eq!(answer.status, 200, "{answer:?}");
        }
    };
    let warnings = async || {
        let answer = daemon.get("/readyz").await;
        let warnings = answer.body["warnings"].as_array().unwrap().clone();
        let about_caps = |warning: &Value| warning.as_str().unwrap().starts_with("service_per_hour");
        let warnings: Vec<Value> = warnings.into_iter().filter(about_caps).collect();
        (answer.status, answer.body["status"].clone(), warnings)
    };
    register(0, 6).await;
    assert_eq!(warnings().await, (200, json!("ready"), vec![]));
    register(6, 7).await;
    let near = "service_per_hour: 7 of 10 are used (70 %); from 8 on, only numbers that were verified before and countries \
                whose codes come back are served; raise it in [limits] if people ask for this, else see phone-verify decisions";
    assert_eq!(warnings().await, (200, json!("ready"), vec![json!(near)]));
    daemon.wait_for_log("service_per_hour: 7 of 10 are used");
    register(7, 8).await;
    let refused = daemon.register("+12025550199").await;
    assert_eq!((refused.status, refused.code()), (429, "service_per_hour"));
    let (status, word, told) = warnings().await;
    assert_eq!((status, word, told.len()), (200, json!("degraded"), 1));
    daemon.wait_for_log("service_per_hour: 8 of 10 are used");
}

#[test]
fn alerts_ring_for_metrics_that_there_are_and_each_has_its_cure() {
    let read = |path: &str| fs::read_to_string(artifacts::workspace().join(path)).unwrap();
    let alerts = read("examples/prometheus/alerts.yml");
    let (metrics, cures) = (read("host/docs/metrics.md"), read("host/docs/operate.md"));
    let is_of_name = |character: char| character.is_ascii_alphanumeric() || character == '_';
    let named: BTreeSet<&str> = alerts
        .split(|character| !is_of_name(character))
        .filter(|word| word.starts_with("phone_verify_") || word.starts_with("process_"))
        .map(|word| word.strip_suffix("_bucket").unwrap_or(word))
        .collect();
    assert!(named.len() > 10, "{named:?}");
    for metric in named {
        assert!(metrics.contains(&format!("| `{metric}` |")), "{metric}");
    }
    let rules: Vec<&str> = alerts
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
        .collect();
    let headings: Vec<&str> = cures
        .lines()
        .filter_map(|line| line.strip_prefix("### "))
        .filter(|heading| heading.starts_with("PhoneVerify"))
        .collect();
    assert_eq!(rules, headings);
}
