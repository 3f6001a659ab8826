//! Every line of the log: one object with unique names in the format JSON, with its level for the journal in text.

use std::{collections::BTreeMap, fmt, fs::File, os::unix::fs::MetadataExt, process::Stdio};

use phone_verify_tests::{
    daemon::Daemon,
    gateways::{Behaviour, NexmoGateway},
    site::Site,
};
use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, Visitor},
};
use serde_json::Value;

const NUMBER: &str = "+13478379634";

/// An object in which no name is twice.
#[derive(Debug)]
struct Line(BTreeMap<String, Value>);

impl<'de> Deserialize<'de> for Line {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Unique;

        impl<'de> Visitor<'de> for Unique {
            type Value = Line;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Line, M::Error> {
                let mut line = BTreeMap::new();
                while let Some((name, value)) = map.next_entry::<String, Value>()? {
                    if line.contains_key(&name) {
                        return Err(M::Error::custom(format!("{name} is twice there")));
                    }
                    line.insert(name, value);
                }
                Ok(Line(line))
            }
        }

        deserializer.deserialize_map(Unique)
    }
}

/// The lines of a log in the format JSON.
fn lines(log: &str) -> Vec<Line> {
    let lines: Vec<Line> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    let documented = super::fields::documented();
    for Line(line) in &lines {
        for name in line.keys() {
            assert!(documented.contains(name), "{name} is in no document: {line:?}");
        }
        for name in ["timestamp", "level", "target", "message"] {
            assert!(line.get(name).is_some_and(Value::is_string), "{name}: {line:?}");
        }
    }
    assert!(!lines.is_empty(), "nothing is logged");
    lines
}

fn site_in_json() -> Site {
    let mut site = Site::new();
    site.set("log", "format", "json").set("log", "level", "trace");
    site
}

#[tokio::test(flavor = "multi_thread")]
async fn every_line_of_a_daemon_is_one_object_with_unique_names() {
    let site = site_in_json();
    let daemon = site.serve();
    let registered = daemon.register(NUMBER).await;
    let token = registered.session_token().to_owned();
    daemon.verify(NUMBER, &token, "000000").await;
    daemon.register("nobody").await;
    daemon.get("/nowhere").await;
    daemon.get("/v1/backends").await;
    daemon.signal(rustix::process::Signal::HUP);
    daemon.wait_for_log("the settings are reloaded");
    assert_eq!(daemon.printed(), "", "the log says where it listens");
    let (_, log) = daemon.stop();
    lines(&log);
    // The console's card, which it prints.
    assert!(log.contains("phone_verify::printed"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_send_is_told_in_one_object() {
    let gateway = NexmoGateway::start().await;
    let mut site = Site::with_backend("nexmo.NexmoBackend", &Value::Object(gateway.options()));
    site.set("log", "format", "json").set("log", "level", "trace");
    let daemon = site.serve();
    gateway.next(Behaviour::Refuse(9));
    daemon.register(NUMBER).await;
    let (_, log) = daemon.stop();
    let lines = lines(&log);
    let failed = lines
        .iter()
        .any(|Line(line)| line.contains_key("verification") && line.contains_key("class"));
    assert!(failed, "{log}");
}

#[test]
fn a_start_that_is_refused_says_why_in_the_format_of_its_log() {
    let faulty: [fn(&mut Site); 3] = [
        |site| {
            site.set("phone_verification", "TOKEN_LENGTH", "six");
        },
        |site| {
            site.set("phone_verification", "BACKEND", "none.NoBackend");
        },
        |site| {
            site.set("server", "listen", "192.0.2.1:1");
        },
    ];
    for make in faulty {
        let mut site = site_in_json();
        make(&mut site);
        let ran = site.run(&["serve"]);
        assert_ne!(ran.code, Some(0));
        assert_eq!(ran.stdout, "");
        let lines = lines(&ran.stderr);
        assert!(
            lines.iter().any(|Line(line)| line["level"] == "ERROR"),
            "{}",
            ran.stderr
        );
    }
    let site = site_in_json();
    site.write("phone-verify.toml", "nonsense = \n[log]\nformat = \"json\"\n");
    lines(&site.run(&["serve"]).stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_journal_gets_levels_in_either_format() {
    for site in [Site::new(), site_in_json()] {
        the_journal_gets_levels(&site).await;
    }
}

async fn the_journal_gets_levels(site: &Site) {
    let path = site.path("journal");
    let journal = File::create(&path).unwrap();
    let stream = journal.metadata().unwrap();
    let mut command = site.command(&["serve"]);
    command.env("JOURNAL_STREAM", format!("{}:{}", stream.dev(), stream.ino()));
    let daemon = Daemon::start_unread(&mut command, Stdio::null(), journal);
    daemon.register(NUMBER).await;
    daemon.stop();
    let log = std::fs::read_to_string(&path).unwrap();
    for line in log.lines() {
        let level = line.strip_prefix('<').and_then(|rest| rest.split_once('>'));
        let (level, rest) = level.unwrap_or_else(|| panic!("no level: {line}"));
        let expected = match serde_json::from_str::<Value>(rest) {
            Ok(line) if line["level"] == "DEBUG" => "7",
            Ok(line) if line["level"] == "WARN" => "4",
            Err(_) if rest.contains(" WARN ") => "4",
            _ => "6",
        };
        assert_eq!(level, expected, "{line}");
    }
    assert!(log.contains("<6>") && log.contains("<4>"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_variable_without_a_level_does_not_silence_the_log() {
    let site = Site::new();
    for value in ["", " ", "loud", "warning"] {
        let daemon = Daemon::start(site.command(&["serve"]).env("RUST_LOG", value));
        daemon.get("/healthz").await;
        let (_, log) = daemon.stop();
        assert!(log.contains("/healthz"), "{value:?}: {log}");
        assert_eq!(
            log.contains("RUST_LOG is"),
            !value.trim().is_empty(),
            "{value:?}: {log}"
        );
    }
}
