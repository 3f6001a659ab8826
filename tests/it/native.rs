//! The native API over the real daemon: its answers, its errors, its keys, and that its description is true.

use std::collections::BTreeSet;

use phone_verify_tests::{
    daemon::{Answer, Daemon},
    site::Site,
};
use serde_json::{Value, json};

const NUMBER: &str = "+13478379634";
const VERIFICATIONS: &str = "/v1/verifications";

fn daemon() -> (Site, Daemon) {
    let site = Site::new();
    let daemon = site.serve();
    (site, daemon)
}

async fn create(daemon: &Daemon, body: Value) -> Answer {
    daemon.post(VERIFICATIONS, &body).await
}

async fn begun(daemon: &Daemon) -> (String, String, String) {
    let answer = create(daemon, json!({ "phone_number": NUMBER, "client_ref": "order 1" })).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    assert_eq!(answer.body["client_ref"], "order 1");
    let id = answer.body["id"].as_str().unwrap().to_owned();
    let token = answer.session_token().to_owned();
    (id, token, daemon.code_on_console())
}

fn path(id: &str) -> String {
    format!("{VERIFICATIONS}/{id}")
}

async fn check(daemon: &Daemon, id: &str, token: &str, code: &str) -> Answer {
    let body = json!({ "session_token": token, "security_code": code });
    daemon.post(&format!("{}/check", path(id)), &body).await
}

fn wrong(code: &str) -> &'static str {
    if code == "000000" { "000001" } else { "000000" }
}

#[tokio::test]
async fn a_verification_goes_its_way() {
    let (_site, daemon) = daemon();
    let body =
        json!({ "phone_number": "+1 347-837-9634", "client_ref": "order 7", "context": { "name": "Ada" } });
    let made = create(&daemon, body).await;
    assert_eq!(made.status, 201, "{made:?}");
    let id = made.body["id"].as_str().unwrap();
    assert_eq!(made.headers["location"], path(id));
    assert_eq!(made.body["status"], "pending");
    let delivery = &made.body["delivery"];
    assert_eq!(
        (&delivery["status"], &delivery["backend"]),
        (&json!("sent"), &json!("console.ConsoleBackend"))
    );
    let [tried] = &**delivery["tries"].as_array().unwrap() else {
        panic!("one try: {delivery}")
    };
    assert_eq!(tried["backend"], "console.ConsoleBackend");
    assert!(
        tried["class"].is_null() && tried["duration_ms"].is_u64(),
        "{tried}"
    );
    assert_eq!(made.body["client_ref"], "order 7");

    let (token, code) = (made.session_token(), daemon.code_on_console());
    let refused = check(&daemon, id, token, wrong(&code)).await;
    assert_eq!(
        (refused.status, refused.code()),
        (400, "security_code_invalid"),
        "{refused:?}"
    );
    assert_eq!(refused.headers["content-type"], "application/problem+json");
    assert_eq!(refused.body["attempts_remaining"], 4);

    let verified = check(&daemon, id, token, &code).await;
    assert_eq!(
        (verified.status, verified.body),
        (200, json!({ "id": id, "status": "verified" }))
    );
    let shown = daemon.get(&path(id)).await;
    assert_eq!(
        (shown.status, &shown.body["status"]),
        (200, &json!("verified")),
        "{shown:?}"
    );
    assert_eq!(shown.body["client_ref"], "order 7");
    assert!(
        shown.body.get("session_token").is_none(),
        "a token is said once, to whoever registered"
    );
}

#[tokio::test]
async fn a_code_is_good_for_the_purpose_and_binding_that_it_was_sent_for_alone() {
    let (_site, daemon) = daemon();
    let (payout, sum) = ("payout", "account 4711, EUR 250.00");
    let made = create(
        &daemon,
        json!({ "phone_number": NUMBER, "purpose": payout, "binding": sum }),
    )
    .await;
    assert_eq!(
        (made.status, &made.body["purpose"]),
        (201, &json!(payout)),
        "{made:?}"
    );
    assert!(made.body.get("binding").is_none(), "{made:?}");
    let (id, token) = (made.body["id"].as_str().unwrap(), made.session_token());
    let code = daemon.code_on_console();

    let check = async |said: Value| {
        let mut body = json!({ "session_token": token, "security_code": code });
        body.as_object_mut()
            .unwrap()
            .extend(said.as_object().unwrap().clone());
        daemon.post(&format!("{}/check", path(id)), &body).await
    };
    for said in [
        json!({}),
        json!({ "purpose": payout }),
        json!({ "binding": sum }),
        json!({ "purpose": "login", "binding": sum }),
        json!({ "purpose": payout, "binding": "account 4711, EUR 9000.00" }),
    ] {
        let refused = check(said).await;
        assert_eq!(
            (refused.status, refused.code()),
            (400, "purpose_mismatch"),
            "{refused:?}"
        );
    }
    // A number has many spellings, and some that are not told apart.
    let refused = check(json!({ "purpose": payout, "binding": 250.0 })).await;
    assert_eq!(
        (refused.status, refused.code()),
        (400, "fields_invalid"),
        "{refused:?}"
    );
    let body = json!({ "phone_number": NUMBER, "session_token": token, "security_code": code });
    let refused = daemon.post("/api/phone/verify", &body).await;
    assert_eq!((refused.status, refused.code()), (400, "security_code_invalid"));

    let stands = daemon.get(&path(id)).await;
    assert_eq!(
        stands.body["attempts_remaining"], 5,
        "none of that took an attempt"
    );
    assert_eq!(stands.body["purpose"], payout);
    let verified = check(json!({ "purpose": payout, "binding": sum })).await;
    assert_eq!(verified.status, 200, "{verified:?}");
}

#[tokio::test]
async fn the_code_comes_again_until_the_verification_is_cancelled() {
    let (_site, daemon) = daemon();
    let (id, token, code) = begun(&daemon).await;
    let again = daemon.post(&format!("{}/resend", path(&id)), &json!({})).await;
    assert_eq!(
        (again.status, &again.body["status"]),
        (200, &json!("pending")),
        "{again:?}"
    );
    assert!(again.body["resend_at"].is_string(), "{again:?}");
    assert_eq!(again.body["client_ref"], "order 1");
    assert_eq!(daemon.code_on_console(), code);

    let cancelled = daemon.send(daemon.request("DELETE", &path(&id))).await;
    assert_eq!(
        (cancelled.status, &cancelled.body["status"]),
        (200, &json!("cancelled")),
        "{cancelled:?}"
    );
    assert!(cancelled.body.get("resend_at").is_none(), "{cancelled:?}");
    let refused = check(&daemon, &id, &token, &code).await;
    assert_eq!((refused.status, refused.code()), (409, "verification_cancelled"));
    let over = daemon.post(&format!("{}/resend", path(&id)), &json!({})).await;
    assert_eq!((over.status, over.code()), (409, "verification_cancelled"));
}

#[tokio::test]
async fn the_same_request_is_answered_as_before_and_sends_nothing() {
    let (_site, daemon) = daemon();
    let ask = async |key: &str, body: Value| {
        loop {
            let request = daemon
                .request("POST", VERIFICATIONS)
                .header("idempotency-key", key);
            let answer = daemon.send(request.json(&body)).await;
            // Until the first one is recorded.
            if answer.code() != "request_under_way" {
                return answer;
            }
            assert_eq!(answer.headers["retry-after"], "1");
        }
    };
    let first = ask("k-1", json!({ "phone_number": NUMBER, "client_ref": "a" })).await;
    let again = ask("k-1", json!({ "client_ref": "a", "phone_number": NUMBER })).await;
    assert_eq!((first.status, again.status), (201, 201));
    assert_eq!(first.body, again.body);
    // The answer over HTTP may arrive before this process has read the line.
    daemon.wait_for_log("security code");
    assert_eq!(daemon.log().matches("security code").count(), 1, "one SMS");
    // Also when much has happened since.
    let (id, token) = (first.body["id"].as_str().unwrap(), first.session_token());
    let code = daemon.code_on_console();
    for code in [wrong(&code), &code] {
        check(&daemon, id, token, code).await;
        let again = ask("k-1", json!({ "phone_number": NUMBER, "client_ref": "a" })).await;
        assert_eq!((again.status, &again.body), (201, &first.body));
        assert_eq!(again.headers["location"], path(id));
    }
    let other = ask("k-1", json!({ "phone_number": "+13478379635" })).await;
    assert_eq!((other.status, other.code()), (422, "idempotency_key_reused"));
    let none = ask(" ", json!({ "phone_number": NUMBER })).await;
    assert_eq!((none.status, none.code()), (400, "fields_invalid"));
}

#[tokio::test]
async fn whoever_guesses_the_key_of_another_gets_neither_its_answer_nor_in_its_way() {
    let mut site = Site::new();
    site.set("server", "trusted_proxies", vec!["127.0.0.0/8"]);
    let named = |name: &str| {
        let made = site.run(&["keys", "new", name, "--json"]).json();
        let text = |key: &str| made[key].as_str().unwrap().to_owned();
        (text("key"), (name.to_owned(), text("digest").into()))
    };
    let ((shop, of_shop), (bank, of_bank)) = (named("shop"), named("bank"));
    // By their addresses; and where callers have names, by those.
    for keys in [vec![], vec![of_shop, of_bank]] {
        site.set("api", "keys", toml::Table::from_iter(keys));
        let daemon = site.serve();
        let ask = async |address: &str, key: &str, number: &str| {
            let request = daemon
                .request("POST", VERIFICATIONS)
                .header("idempotency-key", "1")
                .header("x-forwarded-for", address)
                .bearer_auth(key);
            daemon
                .send(request.json(&json!({ "phone_number": number })))
                .await
        };
        let first = ask("192.0.2.1", &shop, NUMBER).await;
        let second = ask("192.0.2.2", &bank, NUMBER).await;
        assert_eq!((first.status, second.status), (201, 201), "{second:?}");
        assert_ne!(first.session_token(), second.session_token());
        let own = ask("192.0.2.2", &bank, "+13478379635").await;
        assert_eq!((own.status, own.code()), (422, "idempotency_key_reused"));
    }
}

#[tokio::test]
async fn every_fault_of_a_request_is_told_at_once() {
    let (_site, daemon) = daemon();
    let answer = create(
        &daemon,
        json!({ "phone_nummer": NUMBER, "client_ref": 7, "context": [] }),
    )
    .await;
    assert_eq!(
        (answer.status, answer.code()),
        (400, "fields_invalid"),
        "{answer:?}"
    );
    assert_eq!(
        answer.body["errors"],
        json!({ "phone_number": ["This field is required."], "context": ["Not an object."] })
    );
    assert_eq!(
        answer.body["detail"],
        "There is a field that is not known here: known are phone_number, locale, context, client_ref, channel, purpose \
         and binding."
    );
    let answer = create(&daemon, json!({ "phone_number": "+1" })).await;
    assert_eq!((answer.status, answer.code()), (400, "phone_number_invalid"));
    for (method, path, status, code) in [
        ("PUT", VERIFICATIONS, 405, "method_not_allowed"),
        ("PUT", "/v1/verifications/x", 405, "method_not_allowed"),
        ("GET", "/v1/verifications/x", 404, "verification_not_found"),
        ("GET", &path(&"0".repeat(32)), 404, "verification_not_found"),
        ("GET", "/v1/elsewhere", 404, "not_found"),
    ] {
        let answer = daemon.send(daemon.request(method, path)).await;
        assert_eq!((answer.status, answer.code()), (status, code), "{method} {path}");
        assert_eq!(
            answer.headers["content-type"], "application/problem+json",
            "{method} {path}"
        );
        assert_eq!(
            answer.headers.contains_key("allow"),
            status == 405,
            "{method} {path}"
        );
        assert_eq!(answer.body["status"], status);
    }
    let form = daemon
        .request("POST", VERIFICATIONS)
        .form(&[("phone_number", NUMBER)]);
    assert_eq!(daemon.send(form).await.code(), "media_type_unsupported");
}

#[tokio::test]
async fn where_there_are_keys_one_is_needed() {
    let mut site = Site::new();
    let made = site.run(&["keys", "new", "shop", "--json"]).json();
    let key = made["key"].as_str().unwrap();
    let keys = toml::Table::from_iter([("shop".to_owned(), made["digest"].as_str().unwrap().into())]);
    site.set("api", "keys", keys);
    let daemon = site.serve();
    let ask = async |authorization: &str| {
        let request = daemon
            .request("POST", VERIFICATIONS)
            .header("authorization", authorization);
        daemon
            .send(request.json(&json!({ "phone_number": NUMBER })))
            .await
    };
    for wrong in ["", "Bearer", "Bearer pv_wrong", &format!("Basic {key}")] {
        let answer = ask(wrong).await;
        assert_eq!((answer.status, answer.code()), (401, "unauthorized"), "{wrong}");
        assert_eq!(answer.headers["www-authenticate"], "Bearer");
    }
    assert_eq!(ask(&format!("Bearer {key}")).await.status, 201);
    // There is no route that forgot to ask.
    let openapi = daemon.get("/openapi.json").await.body;
    let mut routes = Vec::new();
    for (path, methods) in openapi["paths"].as_object().unwrap() {
        let methods = methods.as_object().unwrap().iter();
        let with_key = methods.filter(|(_, operation)| operation.get("security").is_some());
        routes.extend(
            with_key.map(|(method, _)| (method.to_uppercase(), path.replace("{id}", &"0".repeat(32)))),
        );
    }
    assert_eq!(routes.len(), 11, "{routes:?}");
    for (method, path) in routes {
        let answer = daemon.send(daemon.request(&method, &path)).await;
        assert_eq!(
            (answer.status, answer.code()),
            (401, "unauthorized"),
            "{method} {path}"
        );
    }
    // The drop-in endpoints' clients have none.
    assert_eq!(daemon.register("+13478379635").await.status, 200);
    // A key is taken back.
    let other = site.run(&["keys", "new", "shop", "--json"]).json();
    let keys = toml::Table::from_iter([("shop".to_owned(), other["digest"].as_str().unwrap().into())]);
    site.set("api", "keys", keys);
    daemon.signal(rustix::process::Signal::HUP);
    daemon.wait_for_log("the settings are reloaded");
    let answer = ask(&format!("Bearer {key}")).await;
    assert_eq!((answer.status, answer.code()), (401, "unauthorized"));
    assert!(!daemon.log().contains(key), "a key is never logged");
}

#[tokio::test]
async fn a_key_in_the_place_of_its_digest_is_not_repeated() {
    let mut site = Site::new();
    let keys = toml::Table::from_iter([("shop".to_owned(), "pv_this-is-the-key-itself".into())]);
    site.set("api", "keys", keys);
    let ran = site.run(&["check"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.stderr.contains("keys.shop must be a digest"), "{ran:?}");
    assert!(!format!("{ran:?}").contains("this-is-the-key"), "{ran:?}");
}

/// What a schema of the description says, references followed.
fn resolved<'a>(openapi: &'a Value, schema: &'a Value) -> &'a Value {
    schema["$ref"]
        .as_str()
        .map_or(schema, |reference| openapi.pointer(&reference[1..]).unwrap())
}

/// The properties of a schema and those that are required, `allOf` joined.
fn properties(openapi: &Value, schema: &Value) -> (Vec<String>, Vec<String>) {
    let schema = resolved(openapi, schema);
    let (mut known, mut required) = (Vec::new(), Vec::new());
    for part in schema["allOf"].as_array().into_iter().flatten() {
        let (more, needed) = properties(openapi, part);
        known.extend(more);
        required.extend(needed);
    }
    known.extend(
        schema["properties"]
            .as_object()
            .into_iter()
            .flat_map(|all| all.keys().cloned()),
    );
    let names = schema["required"].as_array().into_iter().flatten();
    required.extend(names.filter_map(|name| name.as_str().map(str::to_owned)));
    (known, required)
}

/// Whether an answer is one that the description has for this operation.
fn assert_described(openapi: &Value, operation: &Value, answer: &Answer) {
    let class = format!("{}XX", answer.status / 100);
    let responses = &operation["responses"];
    let response = [answer.status.to_string(), class]
        .iter()
        .find_map(|status| responses.get(status))
        .unwrap_or_else(|| panic!("{} is not described", answer.status));
    let media_type = answer.headers["content-type"].to_str().unwrap();
    let schema = &response["content"][media_type]["schema"];
    let (known, required) = properties(openapi, schema);
    let body = answer.body.as_object().unwrap();
    for name in body.keys() {
        assert!(known.contains(name), "{name} is not described: {answer:?}");
    }
    for name in required {
        assert!(body.contains_key(&name), "{name} is missing: {answer:?}");
    }
}

#[tokio::test]
async fn the_operator_reads_what_is_loaded_and_how_it_fares() {
    let (site, daemon) = daemon();
    begun(&daemon).await;
    let answer = daemon.get("/v1/backends").await;
    let [backend] = answer.body["backends"].as_array().unwrap().as_slice() else {
        panic!("{answer:?}")
    };
    let found = site.run(&["backends", "--json"]).json();
    let library = found["libraries"]
        .as_array()
        .unwrap()
        .iter()
        .find(|library| library["library"] == "console")
        .unwrap();
    assert_eq!(backend["sha256"], library["sha256"]);
    assert_eq!(backend["version"], library["version"]);
    for (key, value) in [
        ("name", json!("console.ConsoleBackend")),
        ("library", json!("console")),
        ("abi", json!("1.1")),
        ("isolation", json!("inline")),
        ("sandbox", json!(true)),
        ("health", json!("ok")),
        ("messages", json!({ "sent": 1, "failed": 0, "unknown": 0 })),
        ("notes", json!([])),
    ] {
        assert_eq!(backend[key], value, "{key}");
    }
}

#[tokio::test]
async fn the_description_is_true() {
    let (_site, daemon) = daemon();
    let openapi = daemon.get("/openapi.json").await.body;
    let (id, token, code) = begun(&daemon).await;
    let (mut described, mut operations) = (0, BTreeSet::new());
    for (path, methods) in openapi["paths"].as_object().unwrap() {
        let methods = methods.as_object().unwrap();
        // What is described is there, and what is not described is not.
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
            let at = path.replace("{id}", &"0".repeat(32));
            if (method, at.as_str()) == ("GET", "/metrics") {
                // It is no JSON.
                described += 1;
                continue;
            }
            let answer = daemon.send(daemon.request(method, &at)).await;
            match methods.get(&method.to_lowercase()) {
                Some(operation) => {
                    let names_nothing = ["verification_not_found", "message_not_found", "backend_not_found"];
                    assert!(![404, 405].contains(&answer.status) || names_nothing.contains(&answer.code()));
                    assert_described(&openapi, operation, &answer);
                    described += 1;
                    // A generated client has a method of this name.
                    assert!(
                        operations.insert(operation["operationId"].to_string()),
                        "{operation}"
                    );
                }
                None => assert_eq!(answer.status, 405, "{method} {path} is not described"),
            }
        }
    }
    assert_eq!(described, 19);

    let operation = |path: &str, method: &str| openapi["paths"][path][method].clone();
    let at = |path: &str| path.replace("{id}", &id);
    let one = "/v1/verifications/{id}";
    let answer = daemon.get(&at(one)).await;
    assert_described(&openapi, &operation(one, "get"), &answer);
    let answer = check(&daemon, &id, &token, wrong(&code)).await;
    assert_described(&openapi, &operation(&format!("{one}/check"), "post"), &answer);
    let answer = check(&daemon, &id, &token, &code).await;
    assert_described(&openapi, &operation(&format!("{one}/check"), "post"), &answer);
    let answer = create(&daemon, json!({ "phone_number": "+13478379635" })).await;
    assert_described(&openapi, &operation(VERIFICATIONS, "post"), &answer);
    // A request with every field that is described is taken.
    let (fields, _) = properties(
        &openapi,
        &json!({ "$ref": "#/components/schemas/NewVerification" }),
    );
    let values = json!({
        "phone_number": "+13478379636", "locale": "es", "context": {}, "client_ref": "r", "channel": "sms",
        "purpose": "p", "binding": "b",
    });
    assert_eq!(fields.len(), values.as_object().unwrap().len());
    assert!(
        fields.iter().all(|field| values.get(field).is_some()),
        "{fields:?}"
    );
    assert_eq!(create(&daemon, values).await.status, 201);
}
