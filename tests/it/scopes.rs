//! API keys that may do one thing only, and who may use the endpoints of django-phone-verify.

use phone_verify_tests::{
    daemon::{Answer, Daemon},
    site::Site,
};
use serde_json::{Value, json};

const NUMBER: &str = "+13478379634";
const ID: &str = "00000000000000000000000000000000";
const SCOPES: [&str; 5] = ["verify", "read", "messages", "metrics", "admin"];

/// Each route with the scope that it needs, and its status if it is served.
fn routes() -> [(&'static str, String, &'static str, u16); 11] {
    [
        ("POST", "/v1/verifications".to_owned(), "verify", 201),
        ("POST", format!("/v1/verifications/{ID}/check"), "verify", 400),
        ("POST", format!("/v1/verifications/{ID}/resend"), "verify", 404),
        ("DELETE", format!("/v1/verifications/{ID}"), "verify", 404),
        ("GET", format!("/v1/verifications/{ID}"), "read", 404),
        ("GET", "/v1/verifications?client_ref=x".to_owned(), "read", 200),
        // Without a text.
        ("POST", "/v1/messages".to_owned(), "messages", 400),
        ("GET", format!("/v1/messages/{ID}"), "messages", 404),
        ("GET", "/v1/backends".to_owned(), "read", 200),
        ("GET", "/v1/decisions".to_owned(), "read", 200),
        ("GET", "/metrics".to_owned(), "metrics", 200),
    ]
}

/// Makes a key as an operator does, and puts the line that is printed into the settings.
fn new_key(site: &mut Site, keys: &mut toml::Table, name: &str, scopes: &[&str]) -> String {
    let mut arguments = vec!["keys", "new", name];
    arguments.extend(scopes.iter().flat_map(|scope| ["--scope", scope]));
    let ran = site.run(&arguments);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let (key, rest) = ran.stdout.split_once('\n').unwrap();
    let lines = &rest[rest.find("[api.keys]").unwrap()..];
    let printed: toml::Table = lines.parse().unwrap();
    keys.extend(printed["api"]["keys"].as_table().unwrap().clone());
    site.set("api", "keys", keys.clone());
    key.to_owned()
}

async fn ask(daemon: &Daemon, key: &str, method: &str, path: &str) -> Answer {
    let mut request = daemon.request(method, path);
    if !key.is_empty() {
        request = request.bearer_auth(key);
    }
    if method == "POST" {
        request = request.json(&json!({ "phone_number": NUMBER }));
        if path.ends_with("resend") {
            request = request.json(&json!({}));
        }
    }
    let answer = request.send().await.unwrap();
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    let body = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or(Value::Null);
    Answer {
        status,
        headers,
        body,
    }
}

#[tokio::test]
async fn a_key_may_do_what_its_scopes_say_and_no_more() {
    let (mut site, mut table) = (Site::new(), toml::Table::new());
    let mut keys: Vec<(Vec<&str>, String)> = Vec::new();
    for scope in SCOPES {
        keys.push((vec![scope], new_key(&mut site, &mut table, scope, &[scope])));
    }
    keys.push((
        vec!["verify", "read"],
        new_key(&mut site, &mut table, "both", &["read", "verify", "read"]),
    ));
    keys.push((SCOPES.to_vec(), new_key(&mut site, &mut table, "all", &[])));
    let daemon = site.serve();
    for (scopes, key) in &keys {
        for (method, path, scope, status) in routes() {
            let answer = ask(&daemon, key, method, &path).await;
            let what = format!("{method} {path} with {scopes:?}: {answer:?}");
            if scopes.contains(&scope) {
                assert_eq!(answer.status, status, "{what}");
                continue;
            }
            assert_eq!(
                (answer.status, answer.code()),
                (403, "insufficient_scope"),
                "{what}"
            );
            let challenge = format!("Bearer error=\"insufficient_scope\", scope=\"{scope}\"");
            assert_eq!(answer.headers["www-authenticate"], challenge, "{what}");
        }
    }
    // What needs no key needs none.
    for path in ["/healthz", "/readyz", "/openapi.json"] {
        assert_eq!(ask(&daemon, "", "GET", path).await.status, 200, "{path}");
    }
    assert!(
        keys.iter().all(|(_, key)| !daemon.log().contains(key)),
        "a key is never logged"
    );
}

#[tokio::test]
async fn without_keys_nothing_needs_one() {
    let daemon = Site::new().serve();
    for (method, path, _, status) in routes() {
        assert_eq!(
            ask(&daemon, "", method, &path).await.status,
            status,
            "{method} {path}"
        );
    }
}

#[test]
fn a_scope_that_there_is_not_is_told_with_those_that_there_are() {
    let ran = Site::new().run(&["keys", "new", "shop", "--scope", "metric"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(
        ran.stderr.contains("verify, read, messages, metrics and admin"),
        "{ran:?}"
    );
    let made = Site::new()
        .run(&["keys", "new", "shop", "--scope", "metrics", "--json"])
        .json();
    assert_eq!(made["scopes"], json!(["metrics"]));
    let all = Site::new().run(&["keys", "new", "shop", "--json"]).json();
    assert_eq!(all["scopes"], json!(SCOPES));
}

const DROP_IN: [&str; 4] = [
    "/api/phone/register",
    "/api/phone/register/",
    "/api/phone/verify",
    "/api/phone/verify/",
];

#[tokio::test]
async fn the_drop_in_endpoints_are_closed_where_the_settings_say_so() {
    let mut site = Site::new();
    site.set("server", "drop_in_endpoints", false);
    let daemon = site.serve();
    for path in DROP_IN {
        for method in ["POST", "OPTIONS", "GET"] {
            let answer = ask(&daemon, "", method, path).await;
            assert_eq!(
                (answer.status, answer.code()),
                (404, "not_found"),
                "{method} {path}: {answer:?}"
            );
        }
    }
    let described = daemon.get("/openapi.json").await.body;
    assert!(described["paths"].get("/api/phone/register").is_none());
    assert_eq!(ask(&daemon, "", "POST", "/v1/verifications").await.status, 201);
}

#[tokio::test]
async fn the_drop_in_endpoints_need_a_key_where_the_settings_say_so() {
    let (mut site, mut table) = (Site::new(), toml::Table::new());
    site.set("server", "drop_in_endpoints", "key");
    let ran = site.run(&["check"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(
        ran.stderr.contains("none of the keys has the scope verify"),
        "{ran:?}"
    );

    let shop = new_key(&mut site, &mut table, "shop", &["verify"]);
    let prometheus = new_key(&mut site, &mut table, "prometheus", &["metrics"]);
    let daemon = site.serve();
    for path in DROP_IN {
        for (key, status, code) in [
            ("", 401, "unauthorized"),
            ("pv_unknown", 401, "unauthorized"),
            (&prometheus, 403, "insufficient_scope"),
        ] {
            let answer = ask(&daemon, key, "POST", path).await;
            assert_eq!(
                (answer.status, answer.code()),
                (status, code),
                "{path}: {answer:?}"
            );
            assert_eq!(answer.headers["content-type"], "application/json", "{path}");
            assert!(answer.headers.contains_key("www-authenticate"), "{path}");
        }
    }
    let registered = ask(&daemon, &shop, "POST", "/api/phone/register").await;
    assert_eq!(registered.status, 200, "{registered:?}");
    let body = json!({ "phone_number": NUMBER, "session_token": registered.session_token(), "security_code": daemon.code_on_console() });
    let verify = daemon
        .request("POST", "/api/phone/verify")
        .bearer_auth(&shop)
        .json(&body);
    assert_eq!(daemon.send(verify).await.status, 200);
}

#[tokio::test]
async fn that_keys_leave_the_drop_in_endpoints_open_is_said_until_the_settings_say_so_themselves() {
    let (mut site, mut table) = (Site::new(), toml::Table::new());
    new_key(&mut site, &mut table, "shop", &[]);
    let open = "stay open to everybody who reaches them";
    let ran = site.run(&["check"]);
    assert!(
        ran.stderr.contains(open) && ran.stdout.contains("/api/phone/*: open to everybody"),
        "{ran:?}"
    );
    assert!(site.serve().log().contains(open));
    for (says, shown) in [
        (toml::Value::from(true), "open to everybody"),
        ("key".into(), "with the scope verify"),
        (false.into(), "closed"),
    ] {
        site.set("server", "drop_in_endpoints", says);
        let ran = site.run(&["check"]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        assert!(
            !ran.stderr.contains(open) && ran.stdout.contains(shown),
            "{ran:?}"
        );
    }
}
