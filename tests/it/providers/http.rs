//! `http.HttpBackend`, with the settings that `plugins/http/examples` has for providers.

use std::{collections::HashMap, fs, sync::Arc, time::Duration};

use axum::{
    Form, Router,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    routing::post,
};
use phone_verify::model::{FailureClass, Outcome, Verdict};
use phone_verify_tests::{
    artifacts,
    gateways::{Behaviour, Elks, Gateway},
    site::{Site, ran},
};
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;

use super::rig::{ALICE, call, load, phone};

const HTTP: &str = "http.HttpBackend";

/// The options of an example, as they are in its file.
pub(crate) fn example(name: &str) -> Map<String, Value> {
    let file = artifacts::workspace().join(format!("plugins/http/examples/{name}.toml"));
    let settings: toml::Table = fs::read_to_string(file).unwrap().parse().unwrap();
    let options = serde_json::to_value(&settings["phone_verification"]["OPTIONS"]).unwrap();
    options.as_object().unwrap().clone()
}

/// The options of an example, with those of a gateway in the place of the operator's.
pub(crate) fn example_for(name: &str, gateway: &Gateway<Elks>) -> Map<String, Value> {
    let mut options = example(name);
    options.extend(gateway.options());
    options
}

async fn send(options: &Map<String, Value>, text: &str) -> Outcome {
    let backend = load(HTTP, options).unwrap();
    let call = call(Duration::from_secs(10), Verdict::Valid);
    backend.send_sms(&phone(ALICE), text, call).await
}

#[tokio::test]
async fn an_sms_arrives_as_it_was_sent() {
    let gateway = Gateway::<Elks>::start().await;
    let options = example_for("46elks", &gateway);
    for text in [
        "Your code is 123456",
        "欢迎 & ברוך הבא + 100% 🔑=123456\n@example.com #123456",
        "&to=+15550001111&message=hijacked\r\n{number}",
    ] {
        let receipt = send(&options, text).await.unwrap();
        let sms = gateway.sms_to(ALICE).await;
        assert_eq!(receipt.message_id, Some(sms.message_id));
        assert_eq!((sms.text.as_str(), sms.from.as_str()), (text, "Acme"));
    }
}

#[tokio::test]
async fn a_refusal_has_the_class_of_the_operators_rule() {
    let gateway = Gateway::<Elks>::start().await;
    let options = example_for("46elks", &gateway);
    for (behaviour, class) in [
        (Behaviour::Refuse(403), FailureClass::NoCredit),
        (Behaviour::Refuse(400), FailureClass::Internal),
        (
            Behaviour::Throttle(Duration::from_secs(2)),
            FailureClass::Throttled,
        ),
        (Behaviour::HttpStatus(503), FailureClass::Transient),
        (Behaviour::HttpStatus(502), FailureClass::OutcomeUnknown),
        (Behaviour::BrokenJson, FailureClass::OutcomeUnknown),
        (Behaviour::DropAfterReading, FailureClass::OutcomeUnknown),
    ] {
        gateway.next(behaviour);
        assert_eq!(
            send(&options, "Your code is 123456").await.unwrap_err().class,
            class,
            "{behaviour:?}"
        );
    }
}

#[tokio::test]
async fn wrong_credentials_are_told_without_being_shown() {
    let gateway = Gateway::<Elks>::start().await;
    let mut options = example_for("46elks", &gateway);
    options.insert("PASSWORD".to_owned(), json!("not-the-password"));
    let failure = send(&options, "Your code is 123456").await.unwrap_err();
    assert_eq!(failure.class, FailureClass::AuthFailed);
    assert!(!failure.message.contains("not-the-password"), "{failure}");
}

#[test]
fn wrong_options_are_told_at_once_by_name() {
    let mut options = example("46elks");
    options.remove("URL");
    let refusals = load(HTTP, &options).err().unwrap();
    assert!(
        refusals[0].sentence.contains("needs the option URL"),
        "{refusals:?}"
    );
    options.insert("URL".to_owned(), json!("https://api.example/{mesage}"));
    options.insert("METHOD".to_owned(), json!("SEND"));
    let refusals = load(HTTP, &options).err().unwrap();
    for said in ["did you mean message?", "option METHOD is not a known method"] {
        assert!(refusals[0].sentence.contains(said), "{refusals:?}");
    }
}

/// The form of a request for a token, and the Authorization of each SMS.
type Seen = Arc<std::sync::Mutex<(Vec<HashMap<String, String>>, Vec<String>)>>;

async fn token(State(seen): State<Seen>, Form(form): Form<HashMap<String, String>>) -> String {
    let mut seen = seen.lock().unwrap();
    seen.0.push(form);
    json!({ "access_token": format!("token-{}", seen.0.len()), "expires_in": 3600 }).to_string()
}

/// The first token is revoked.
async fn sms(State(seen): State<Seen>, headers: HeaderMap) -> (StatusCode, String) {
    let authorization = headers.get(header::AUTHORIZATION).unwrap().to_str().unwrap();
    seen.lock().unwrap().1.push(authorization.to_owned());
    let status = if authorization == "Bearer token-1" {
        StatusCode::UNAUTHORIZED
    } else {
        StatusCode::OK
    };
    (status, json!({ "id": "m-1" }).to_string())
}

async fn served(router: Router) -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}")
}

#[tokio::test]
async fn a_token_comes_from_another_server_and_is_used_for_all_sms() {
    let seen = Seen::default();
    let login = served(
        Router::new()
            .route("/token", post(token))
            .with_state(seen.clone()),
    )
    .await;
    let api = served(Router::new().route("/sms", post(sms)).with_state(seen.clone())).await;
    let options = json!({
        "URL": format!("{api}/sms"), "JSON": { "to": "{number}", "text": "{message}" },
        "KEY": "client", "SECRET": "hunter2-hunter2", "TOKEN_URL": format!("{login}/token"),
        "TOKEN_FORM": { "client_id": "{key}", "client_secret": "{secret}" },
        "ANSWERS": [{ "status": 200, "class": "accepted" }],
    });
    let backend = load(HTTP, options.as_object().unwrap()).unwrap();
    let alice = phone(ALICE);
    let send = || {
        backend.send_sms(
            &alice,
            "Your code is 123456",
            call(Duration::from_secs(10), Verdict::Valid),
        )
    };
    // All at once: one of them asks for a token, and one for the next when all are refused.
    let all: [Outcome; 4] = tokio::join!(send(), send(), send(), send()).into();
    assert!(all.iter().all(Result::is_ok), "{all:?}");
    send().await.unwrap();
    let (forms, mut authorizations) = std::mem::take(&mut *seen.lock().unwrap());
    let form = [
        ("client_id", "client"),
        ("client_secret", "hunter2-hunter2"),
        ("grant_type", "client_credentials"),
    ];
    let form: HashMap<String, String> = form
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    assert_eq!(forms, [form.clone(), form]);
    authorizations.sort();
    let (first, second) = authorizations.split_at(authorizations.len() - 5);
    assert!((1..=4).contains(&first.len()), "{first:?}");
    assert!(
        first
            .iter()
            .all(|authorization| authorization == "Bearer token-1"),
        "{first:?}"
    );
    assert!(
        second
            .iter()
            .all(|authorization| authorization == "Bearer token-2"),
        "{second:?}"
    );
}

#[test]
fn each_example_is_a_settings_file_to_begin_with() {
    let folder = artifacts::workspace().join("plugins/http/examples");
    for entry in fs::read_dir(folder).unwrap() {
        let file = entry.unwrap().path();
        let text = fs::read_to_string(&file).unwrap();
        let site = Site::new();
        site.install("http");
        let rest = "\n[server]\nlisten = \"127.0.0.1:0\"\n[plugins]\ndirectories = [\"plugins\"]\n";
        site.write("phone-verify.toml", text.clone() + rest);
        let mut check = site.command(&["check"]);
        for reference in text.split("${env:").skip(1) {
            check.env(reference.split('}').next().unwrap(), "s3cret-of-a-provider");
        }
        let checked = ran(&mut check);
        assert_eq!(checked.code, Some(0), "{}: {checked:#?}", file.display());
        assert!(
            !format!("{checked:?}").contains("s3cret-of-a-provider"),
            "{checked:#?}"
        );
    }
}

/// The whole way: the daemon sends, the provider reports to the address that the daemon shows, and the verification
/// shows it.
#[tokio::test]
async fn what_a_provider_reports_is_shown_on_the_verification() {
    let gateway = Gateway::<Elks>::start().await;
    let mut site = Site::with_backend(HTTP, &Value::Object(example_for("46elks", &gateway)));
    site.set("server", "public_url", "https://verify.example");
    let daemon = site.serve();
    let begun = daemon
        .post("/v1/verifications", &json!({ "phone_number": ALICE }))
        .await;
    assert_eq!(begun.status, 201, "{begun:?}");
    let path = format!("/v1/verifications/{}", begun.body["id"].as_str().unwrap());
    let id = gateway.sms_to(ALICE).await.message_id;
    let address = &site.run(&["backends", "--json"]).json()["receipts"][0];
    let address = address["secret_url"].as_str().unwrap().to_owned();
    let secret_path = address.strip_prefix("https://verify.example").unwrap();

    let report = async |path: &str, status: &str| {
        let body = format!("id={id}&status={status}&delivered=2026-05-04T13%3A38%3A15.123000");
        let request = daemon
            .request("POST", path)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(body);
        daemon.send(request).await.status
    };
    let delivery = async || daemon.get(&path).await.body["delivery"]["status"].clone();
    assert_eq!(report("/v1/receipts/default", "delivered").await, 404);
    assert_eq!(delivery().await, "sent");
    assert_eq!(report(secret_path, "failed").await, 200);
    assert_eq!(delivery().await, "undelivered");
    assert_eq!(report(secret_path, "delivered").await, 200);
    assert_eq!(delivery().await, "delivered");
}
