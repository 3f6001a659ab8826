//! `phone-verify events`: what happened, in its order, where the settings have it recorded.

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader},
    process::{ChildStdout, Stdio},
};

use phone_verify_tests::{daemon::Daemon, site::Site};
use serde_json::{Value, json};

const NUMBER: &str = "+13478379634";

fn recording() -> Site {
    let mut site = Site::new();
    site.set("events", "log", true);
    site
}

/// A verification that is verified, and a text. Returns their ids, and the code.
async fn something_happens(daemon: &Daemon) -> (Value, Value, String) {
    let begun = daemon
        .post("/v1/verifications", &json!({ "phone_number": NUMBER }))
        .await;
    assert_eq!(begun.status, 201, "{begun:?}");
    let code = daemon.code_on_console();
    let path = format!("/v1/verifications/{}/check", begun.body["id"].as_str().unwrap());
    let check = json!({ "session_token": begun.session_token(), "security_code": code });
    assert_eq!(daemon.post(&path, &check).await.status, 200);
    let text = json!({ "phone_number": NUMBER, "message": "Your parcel arrives tomorrow." });
    let text = daemon.post("/v1/messages", &text).await;
    assert_eq!(text.status, 201, "{text:?}");
    (begun.body["id"].clone(), text.body["id"].clone(), code)
}

fn types(events: &[Value]) -> Vec<&str> {
    events
        .iter()
        .map(|event| event["type"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn what_happened_is_shown_in_its_order_without_codes_and_numbers() {
    let site = recording();
    let daemon = site.serve();
    let (verification, text, code) = something_happens(&daemon).await;
    daemon.stop();
    let ran = site.run(&["events", "--json"]);
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    let events = ran.json()["events"].as_array().unwrap().clone();
    let mut told = types(&events);
    // That a message was sent is recorded a moment later than it is answered.
    told.sort_unstable();
    assert_eq!(
        told,
        [
            "message.queued",
            "message.queued",
            "message.sent",
            "message.sent",
            "verification.started",
            "verification.verified",
        ]
    );
    assert_eq!(types(&events)[..2], ["verification.started", "message.queued"]);
    for event in &events {
        let data = &event["data"];
        assert_eq!(data["phone_number"], "+13****34", "{event}");
        let of_text = data.get("verification_id").is_none();
        let subject = if of_text {
            &data["message_id"]
        } else {
            &data["verification_id"]
        };
        assert_eq!(subject, if of_text { &text } else { &verification }, "{event}");
    }
    let shown = format!("{}{}", ran.stdout, site.run(&["events"]).stdout);
    for secret in [&code, &NUMBER[3..], "parcel"] {
        assert!(!shown.contains(secret), "{secret}: {shown}");
    }
    let last = site.run(&["events", "--last", "1", "--json"]).json();
    assert_eq!(last["events"], json!([events.last().unwrap()]));
    let exported = site.run(&["forget", NUMBER]);
    assert_eq!(exported.code, Some(0), "{exported:#?}");
    assert_eq!(site.run(&["events", "--json"]).json()["events"], json!([]));
}

type Lines = std::io::Lines<BufReader<ChildStdout>>;

/// So many events of those that are followed.
async fn read(count: usize, mut lines: Lines) -> (Vec<Value>, Lines) {
    let reading = tokio::task::spawn_blocking(move || {
        let events = lines.by_ref().take(count);
        let events = events.map(|line| serde_json::from_str(&line.unwrap()).unwrap());
        (events.collect(), lines)
    });
    reading.await.unwrap()
}

#[tokio::test]
async fn events_are_followed_as_they_happen() {
    let site = recording();
    let daemon = site.serve();
    something_happens(&daemon).await;
    let mut following = site
        .command(&["events", "--follow", "--json"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(following.stdout.take().unwrap()).lines();
    let (before, lines) = read(6, lines).await;
    // It has seen all that there was, so what comes is followed.
    something_happens(&daemon).await;
    let (after, _) = read(6, lines).await;
    following.kill().unwrap();
    following.wait().unwrap();
    assert_eq!(types(&before)[0], "verification.started");
    assert_eq!(types(&after)[0], "verification.started");
    let ids = before.iter().chain(&after).map(|event| event["id"].to_string());
    assert_eq!(
        ids.collect::<BTreeSet<_>>().len(),
        12,
        "each once: {before:?} {after:?}"
    );
}

#[tokio::test]
async fn nothing_is_recorded_unless_the_settings_say_so() {
    let site = Site::new();
    let daemon = site.serve();
    something_happens(&daemon).await;
    let ran = site.run(&["events", "--json"]);
    assert_eq!(ran.json()["events"], json!([]));
    assert!(ran.stderr.contains("[events] log is false"), "{ran:#?}");
}
