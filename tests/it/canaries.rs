//! Known numbers, codes, tokens, keys and secrets are driven through the daemon in every outcome, at the most talkative
//! log level; then everything that it said or wrote is searched for them, however they may be spelled.

use std::{fs, path::Path};

use data_encoding::{BASE64, BASE64URL, HEXLOWER, HEXUPPER};
use phone_verify_tests::{
    artifacts,
    daemon::{Answer, Daemon},
    gateways::{Behaviour, Gateway, Nexmo},
    site::Site,
};
use serde_json::{Map, Value, json};

const NUMBER: &str = "+13478379634";
const OTHER_NUMBER: &str = "+13478379635";
const FOREIGN_TOKEN: &str = "forEignSessionToken-Yb83kQzLm2";
const IDEMPOTENCY_KEY: &str = "idemPotency-Pw61tRxVn5";
const WRONG_API_KEY: &str = "pv_wrongKey-Jd94sHcGu7";
const PLUGIN_SECRET: &str = "pluginSecret-Ke52oMyFa8";
/// Ten digits do not come about by chance in a log.
const WRONG_CODE: &str = "9081726354";
const CODE_LENGTH: i64 = 10;

/// What is searched for, and where.
#[derive(Default)]
struct Search {
    canaries: Vec<(&'static str, String)>,
    haystacks: Vec<(String, String)>,
}

impl Search {
    fn canary(&mut self, what: &'static str, text: &str) {
        self.canaries.push((what, text.to_owned()));
    }

    fn said(&mut self, place: impl Into<String>, text: impl Into<String>) {
        self.haystacks.push((place.into(), text.into()));
    }

    /// Answers of a daemon. A token is said once, to whoever registered, and nowhere else.
    fn answered(&mut self, place: impl Into<String>, answer: &Answer) {
        let mut body = answer.body.clone();
        if answer.status < 300
            && let Some(token) = body.as_object_mut().and_then(|body| body.remove("session_token"))
        {
            self.canary("session token", token.as_str().unwrap());
        }
        self.said(place, format!("{:?}\n{body}", answer.headers));
    }

    /// Every file below a folder, but for the settings, which hold secrets by design, and unchanged libraries.
    fn wrote(&mut self, folder: &Path, libraries: &[Vec<u8>]) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                self.wrote(&path, libraries);
                continue;
            }
            let bytes = fs::read(&path).unwrap_or_default();
            if path.extension().is_some_and(|extension| extension == "toml") || libraries.contains(&bytes) {
                continue;
            }
            self.said(path.display().to_string(), String::from_utf8_lossy(&bytes));
        }
    }

    fn finds_nothing(&self) {
        for (what, canary) in &self.canaries {
            for spelling in spellings(canary) {
                for (place, text) in &self.haystacks {
                    assert!(
                        !text.contains(&spelling),
                        "the {what} is in {place}, as {spelling}:\n{text}"
                    );
                }
            }
        }
    }
}

/// How a text may look once something has quoted, encoded or dressed it up.
fn spellings(canary: &str) -> Vec<String> {
    let bytes = canary.as_bytes();
    let mut spellings = vec![
        canary.to_owned(),
        form_urlencoded::byte_serialize(bytes).collect(),
        HEXLOWER.encode(bytes),
        HEXUPPER.encode(bytes),
    ];
    // In the middle of something longer it may begin at any of the three places of a group.
    for before in 0..3 {
        let padded = [&[0; 3][..before], bytes].concat();
        let (first, last) = ((before * 8).div_ceil(6), padded.len() * 8 / 6);
        for encoding in [BASE64, BASE64URL] {
            spellings.push(encoding.encode(&padded)[first..last].to_owned());
        }
    }
    if let Some(national) = canary.strip_prefix("+1") {
        let (area, rest) = national.split_at(3);
        let (exchange, line) = rest.split_at(3);
        spellings.extend([
            national.to_owned(),
            format!("{area}-{exchange}-{line}"),
            format!("{area} {exchange} {line}"),
            format!("({area}) {exchange}-{line}"),
            format!("{area}.{exchange}.{line}"),
        ]);
    }
    spellings
}

fn code_in(text: &str) -> String {
    text.chars().filter(char::is_ascii_digit).collect()
}

/// An installation that says as much as it can.
fn talkative(backend: &str, options: &Value, format: &str) -> Site {
    let mut site = Site::with_backend(backend, options);
    site.set("log", "level", "trace")
        .set("log", "format", format)
        .set("phone_verification", "TOKEN_LENGTH", CODE_LENGTH)
        .set("dispatch", "send_timeout_seconds", 1)
        .set("dispatch", "total_timeout_seconds", 1);
    site
}

/// Registers, checks, and does both wrong, through the endpoints that there have always been.
async fn at_the_old_door(daemon: &Daemon, gateway: &Gateway<Nexmo>, search: &mut Search) {
    let registered = daemon.register("+1 (347) 837-9634").await;
    assert_eq!(registered.status, 200, "{registered:?}");
    let code = code_in(&gateway.sms_to(NUMBER).await.text);
    search.canary("security code", &code);
    let token = registered.session_token();
    for (token, code) in [
        (FOREIGN_TOKEN, &*code),
        (token, WRONG_CODE),
        (token, &code),
        (token, &code),
    ] {
        search.answered("a check", &daemon.verify(NUMBER, token, code).await);
    }
    search.answered("a registration", &registered);
    let faults = [
        Behaviour::Refuse(7),
        Behaviour::Refuse(4),
        Behaviour::DropAfterReading,
        Behaviour::BrokenJson,
        Behaviour::HttpStatus(500),
        Behaviour::Hold,
    ];
    for (place, fault) in faults.into_iter().enumerate() {
        gateway.next(fault);
        let refused = daemon.register(OTHER_NUMBER).await;
        assert_ne!(refused.status, 200, "{fault:?}");
        search.answered(format!("a registration under {fault:?}"), &refused);
        // A success in between keeps the breaker closed.
        let number = format!("+1347837{:04}", 1000 + place);
        search.answered("a registration", &daemon.register(&number).await);
        search.canary("number", &number);
    }
    gateway.release();

    // What no client should send.
    let json =
        format!(r#"{{"phone_number": "{NUMBER}", "session_token": "{token}", "security_code": "{code}""#);
    let bodies = [
        ("application/json", json.clone()),
        ("application/json", format!("[{json}}}]")),
        (
            "application/json",
            format!(r#"{{"{code}": "{token}", "phone_number": ["{NUMBER}"]}}"#),
        ),
        ("multipart/form-data; boundary=x", json.clone()),
        ("text/plain", json.clone()),
        (
            "application/x-www-form-urlencoded",
            format!("phone_number={NUMBER}0&security_code=%{code}"),
        ),
    ];
    for (media_type, body) in bodies {
        for path in ["/api/phone/register", "/api/phone/verify"] {
            let request = daemon.request("POST", path).header("content-type", media_type);
            let answer = daemon.send(request.body(body.clone())).await;
            assert!((400..500).contains(&answer.status), "{body}: {answer:?}");
            search.answered(format!("{path} with a faulty body"), &answer);
        }
    }
    let unknown = format!("/api/phone/{code}/{token}?phone_number=%2B{}", &NUMBER[1..]);
    for method in ["GET", "POST", "DELETE"] {
        search.answered(
            "an unknown path",
            &daemon.send(daemon.request(method, &unknown)).await,
        );
    }
}

/// The same through the native API.
async fn at_the_native_door(daemon: &Daemon, gateway: &Gateway<Nexmo>, key: &str, search: &mut Search) {
    let ask = async |method: &str, path: &str, key: &str, body: Value| {
        let request = daemon.request(method, path).bearer_auth(key);
        daemon
            .send(request.header("idempotency-key", IDEMPOTENCY_KEY).json(&body))
            .await
    };
    let body = json!({ "phone_number": OTHER_NUMBER, "context": { "name": "Ada" }, "client_ref": "order 7" });
    let path = "/v1/verifications";
    search.answered(
        "a wrong key",
        &ask("POST", path, WRONG_API_KEY, body.clone()).await,
    );
    gateway.next(Behaviour::Refuse(7));
    search.answered("a refused creation", &ask("POST", path, key, body.clone()).await);
    let begun = ask("POST", path, key, body.clone()).await;
    assert_eq!(begun.status, 201, "{begun:?}");
    let texts = gateway.inbox();
    let code = code_in(
        &texts
            .iter()
            .rev()
            .find(|sms| sms.to == OTHER_NUMBER)
            .unwrap()
            .text,
    );
    search.canary("security code", &code);
    let (id, token) = (begun.body["id"].as_str().unwrap(), begun.session_token());
    let this = format!("{path}/{id}");
    let check = |token: &str, code: &str| json!({ "session_token": token, "security_code": code });
    let steps = [
        ("POST", path.to_owned(), json!({ "phone_number": NUMBER })),
        (
            "POST",
            path.to_owned(),
            json!({ "phone_number": [NUMBER], NUMBER: code }),
        ),
        ("GET", this.clone(), Value::Null),
        ("GET", format!("{path}/{token}"), Value::Null),
        ("POST", format!("{this}/resend"), json!({})),
        ("POST", format!("{this}/check"), check(FOREIGN_TOKEN, &code)),
        ("POST", format!("{this}/check"), check(token, WRONG_CODE)),
        ("POST", format!("{this}/check"), check(token, &code)),
        ("POST", format!("{this}/resend"), json!({})),
        ("DELETE", this.clone(), Value::Null),
        ("GET", "/v1/backends".to_owned(), Value::Null),
        ("GET", "/v1/decisions".to_owned(), Value::Null),
    ];
    for (method, path, body) in steps {
        search.answered(format!("{method} {path}"), &ask(method, &path, key, body).await);
    }
    search.answered("a creation", &begun);
}

/// What the commands say of an installation.
fn at_the_terminal(site: &Site, search: &mut Search) {
    for arguments in [
        &["settings", "--print"][..],
        &["backends", "--json"],
        &["check", "--json"],
        &[
            "verify",
            NUMBER,
            "--session-token",
            FOREIGN_TOKEN,
            "--code",
            WRONG_CODE,
            "--json",
        ],
        &["cleanup", "--json"],
        &["forget", OTHER_NUMBER, "--dry-run", "--json"],
        &["audit", "--json"],
    ] {
        let ran = site.run(arguments);
        search.said(format!("{arguments:?}"), ran.stdout + &ran.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_may_read_is_nowhere_to_be_read() {
    for format in ["text", "json"] {
        let gateway = Gateway::<Nexmo>::start().await;
        let options = gateway.options();
        let mut site = talkative("nexmo.NexmoBackend", &Value::Object(options.clone()), format);
        let made = site.run(&["keys", "new", "shop", "--json"]).json();
        let key = made["key"].as_str().unwrap();
        let keys = toml::Table::from_iter([("shop".to_owned(), made["digest"].as_str().unwrap().into())]);
        site.set("api", "keys", keys);
        let mut search = Search::default();
        for (what, canary) in [
            ("number", NUMBER),
            ("number", OTHER_NUMBER),
            ("foreign token", FOREIGN_TOKEN),
            ("wrong code", WRONG_CODE),
            ("idempotency key", IDEMPOTENCY_KEY),
            ("wrong API key", WRONG_API_KEY),
            ("API key", key),
            ("provider's key", options["KEY"].as_str().unwrap()),
            ("provider's secret", options["SECRET"].as_str().unwrap()),
        ] {
            search.canary(what, canary);
        }
        let daemon = site.serve();
        at_the_old_door(&daemon, &gateway, &mut search).await;
        at_the_native_door(&daemon, &gateway, key, &mut search).await;
        for path in ["/readyz", "/healthz"] {
            search.answered(path, &daemon.get(path).await);
        }
        let metrics = daemon.request("GET", "/metrics").bearer_auth(key);
        let metrics = metrics.send().await.unwrap();
        assert_eq!(metrics.status(), 200);
        search.said("/metrics", metrics.text().await.unwrap());
        let libraries = [fs::read(artifacts::library("nexmo")).unwrap()];
        search.wrote(site.folder(), &libraries);
        at_the_terminal(&site, &mut search);
        let printed = daemon.printed();
        let (status, log) = daemon.stop();
        assert_eq!(status.code(), Some(0), "{log}");
        assert!(
            log.contains("+13****35"),
            "a masked number tells an operator enough:\n{log}"
        );
        search.said("the log", log);
        search.said("what was printed", printed);
        search.wrote(site.folder(), &libraries);
        search.finds_nothing();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_gossips_and_panics_is_not_repeated() {
    for isolation in ["inline", "worker"] {
        for vice in ["panic", "panic-later", "gossip", "hang"] {
            let options: Map<String, Value> = [
                ("SECRET".to_owned(), PLUGIN_SECRET.into()),
                ("CODE".to_owned(), WRONG_CODE.into()),
            ]
            .into_iter()
            .collect();
            let mut site = talkative("villain.VillainBackend", &Value::Object(options), "text");
            site.set("plugins", "trust", "any")
                .set("plugins", "isolation", isolation)
                .set(
                    "phone_verification",
                    "MESSAGE",
                    format!("{vice} {{app}} {{security_code}}"),
                );
            let mut search = Search::default();
            search.canary("number", NUMBER);
            search.canary("security code", WRONG_CODE);
            search.canary("backend's secret", PLUGIN_SECRET);
            let daemon = site.serve();
            let refused = daemon.register(NUMBER).await;
            assert_ne!(refused.status, 200, "{vice}");
            search.answered(vice, &refused);
            search.answered("a check", &daemon.verify(NUMBER, FOREIGN_TOKEN, "panic").await);
            let printed = daemon.printed();
            let (_, log) = daemon.stop();
            search.said(format!("the log of {vice} in {isolation}"), log);
            search.said("what was printed", printed);
            search.wrote(site.folder(), &[fs::read(artifacts::library("villain")).unwrap()]);
            search.finds_nothing();
        }
    }
}

#[test]
fn a_canary_is_found_however_it_is_spelled() {
    let mut search = Search::default();
    search.canary("number", NUMBER);
    let spelled = [
        "to=%2B13478379634".to_owned(),
        "call (347) 837-9634".to_owned(),
        HEXLOWER.encode(format!("to {NUMBER}").as_bytes()),
        BASE64.encode(format!("a{NUMBER}").as_bytes()),
        BASE64.encode(format!("ab{NUMBER}?").as_bytes()),
        BASE64.encode(format!("abc{NUMBER}").as_bytes()),
    ];
    for text in spelled {
        search.haystacks = vec![("a place".to_owned(), text.clone())];
        let found = std::panic::catch_unwind(|| search.finds_nothing());
        assert!(found.is_err(), "{text}");
    }
}
