//! A third party's backend: the examples are built out of the workspace, in Rust against the author's crate alone and
//! in C against the header, and dropped into the directory of a host that is not rebuilt.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use phone_verify_tests::{artifacts, daemon::Daemon, site::Site};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::mpsc};

const NUMBER: &str = "+13478379634";
/// What Acme does not take, has no time for, and answers without an id.
const UNKNOWN_NUMBER: &str = "+13478379642";
const BUSY_NUMBER: &str = "+13478379629";
const BROKEN_NUMBER: &str = "+13478379602";

/// The example's library, built once outside the workspace.
pub(crate) fn acme() -> &'static Path {
    static BUILT: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, library) = BUILT.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let example = artifacts::workspace().join("examples/custom-backend");
        fs::create_dir(folder.path().join("src")).unwrap();
        for entry in fs::read_dir(example.join("src")).unwrap() {
            let file = entry.unwrap().path();
            fs::copy(&file, folder.path().join("src").join(file.file_name().unwrap())).unwrap();
        }
        // What a third party writes is a version; here the crate is not published yet.
        let plugin_api = artifacts::workspace().join("plugin-api");
        let manifest = fs::read_to_string(example.join("Cargo.toml")).unwrap();
        assert!(manifest.contains("path = \"../../plugin-api\""));
        let manifest = manifest.replace("../../plugin-api", plugin_api.to_str().unwrap());
        fs::write(folder.path().join("Cargo.toml"), manifest).unwrap();
        // The versions that the workspace is tested with; nothing is asked of the network that was not before.
        fs::copy(
            artifacts::workspace().join("Cargo.lock"),
            folder.path().join("Cargo.lock"),
        )
        .unwrap();
        let target = folder.path().join("target");
        let built = artifacts::build(folder.path(), &["--target-dir", target.to_str().unwrap()]);
        let library = built["acme"].clone();
        (folder, library)
    });
    library
}

/// The example in C, built into `folder` by the line that its README shows.
pub(crate) fn acme_in_c(folder: &Path) -> PathBuf {
    let example = artifacts::workspace().join("examples/c-backend");
    let readme = fs::read_to_string(example.join("README.md")).unwrap();
    let line = readme.lines().find(|line| line.starts_with("cc ")).unwrap();
    let library = folder.join("libacme.so");
    let line = line.replace(
        "-o libacme.so",
        &format!("-o '{}' -Wextra -Werror", library.display()),
    );
    let built = Command::new("sh")
        .args(["-c", &line])
        .current_dir(example)
        .status();
    assert!(built.unwrap().success(), "{line}");
    library
}

/// Acme as its users know it: it takes `POST /messages` with the right key.
async fn provider() -> (String, mpsc::UnboundedReceiver<Value>) {
    async fn take(
        State(inbox): State<mpsc::UnboundedSender<Value>>,
        headers: HeaderMap,
        body: Bytes,
    ) -> (StatusCode, [(&'static str, &'static str); 1], String) {
        let sms: Value = serde_json::from_slice(&body).unwrap();
        if headers
            .get("authorization")
            .is_none_or(|key| key != "Bearer Fake Key")
        {
            let error = json!({ "error": "who are you?" });
            return (StatusCode::UNAUTHORIZED, [("retry-after", "")], error.to_string());
        }
        let (status, headers) = match sms["to"].as_str().unwrap() {
            UNKNOWN_NUMBER => (StatusCode::UNPROCESSABLE_ENTITY, [("retry-after", "")]),
            BUSY_NUMBER => (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "7")]),
            BROKEN_NUMBER => return (StatusCode::ACCEPTED, [("retry-after", "")], "{}".to_owned()),
            _ => (StatusCode::ACCEPTED, [("retry-after", "")]),
        };
        inbox.send(sms).unwrap();
        (status, headers, json!({ "id": "acme-1" }).to_string())
    }
    let (inbox, arrived) = mpsc::unbounded_channel();
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let service = Router::new().route("/messages", post(take)).with_state(inbox);
    tokio::spawn(async move { axum::serve(listener, service).await });
    (url, arrived)
}

async fn daemon_with(backend: &str) -> (Site, Daemon, mpsc::UnboundedReceiver<Value>) {
    let mut site = Site::new();
    fs::copy(acme(), site.plugins().join(acme().file_name().unwrap())).unwrap();
    let (daemon, arrived) = daemon_at(
        &mut site,
        backend,
        "Fake Key",
        &json!({ "SANDBOX_TOKEN": "123456" }),
    )
    .await;
    (site, daemon, arrived)
}

/// A daemon that sends through an Acme of its own, with these options besides.
async fn daemon_at(
    site: &mut Site,
    backend: &str,
    key: &str,
    more: &Value,
) -> (Daemon, mpsc::UnboundedReceiver<Value>) {
    let (url, arrived) = provider().await;
    let mut options = json!({ "KEY": key, "from": "+1234567890", "Base_Url": url });
    options
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    site.set("phone_verification", "BACKEND", backend);
    site.set(
        "phone_verification",
        "OPTIONS",
        toml::Table::try_from(options).unwrap(),
    );
    (site.serve(), arrived)
}

#[tokio::test]
async fn a_backend_of_ones_own_verifies_a_number() {
    let (_site, daemon, mut arrived) = daemon_with("acme.AcmeBackend").await;
    let registered = daemon.register(NUMBER).await;
    assert_eq!(registered.status, 200, "{registered:?}\n{}", daemon.log());
    let sms = arrived.recv().await.unwrap();
    assert_eq!(
        (&sms["from"], &sms["to"]),
        (&json!("+1234567890"), &json!(NUMBER))
    );
    let code: String = sms["text"]
        .as_str()
        .unwrap()
        .chars()
        .filter(char::is_ascii_digit)
        .collect();
    assert_eq!(
        daemon
            .verify(NUMBER, registered.session_token(), &code)
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn what_a_caller_says_is_worded_by_the_backend_and_holds_a_link_only_where_that_is_allowed() {
    let (mut site, daemon, mut arrived) = daemon_with("acme.AcmeBackend").await;
    let worded = async |arrived: &mut mpsc::UnboundedReceiver<Value>| {
        let context = json!({ "username": "Ann\r\nevil.example/win" });
        let body = json!({ "phone_number": NUMBER, "context": context });
        let answer = daemon.post("/v1/verifications", &body).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        let sms = arrived.recv().await.unwrap();
        let text = sms["text"].as_str().unwrap();
        text.replace(|character: char| character.is_ascii_digit(), "")
    };
    assert_eq!(worded(&mut arrived).await, "Hi Ann, your code is .");
    // A text of the backend's own has no last line that it did not ask for.
    site.set("phone_verification", "CONTEXT_ALLOWS_URLS", true).set(
        "phone_verification",
        "ORIGIN_HOST",
        "acme.example",
    );
    daemon.signal(rustix::process::Signal::HUP);
    daemon.wait_for_log("the settings are reloaded");
    assert_eq!(
        worded(&mut arrived).await,
        "Hi Ann evil.example/win, your code is ."
    );
}

#[tokio::test]
async fn a_sandbox_of_ones_own_takes_its_fixed_code() {
    let (site, daemon, mut arrived) = daemon_with("somewhere.acme.AcmeSandboxBackend").await;
    let registered = daemon.register(NUMBER).await;
    assert!(
        arrived.recv().await.unwrap()["text"]
            .as_str()
            .unwrap()
            .contains("123456")
    );
    assert_eq!(
        daemon
            .verify(NUMBER, registered.session_token(), "123456")
            .await
            .status,
        200
    );

    let listed = site.run(&["backends", "--json"]).json();
    let acme = listed["libraries"]
        .as_array()
        .unwrap()
        .iter()
        .find(|library| library["library"] == "acme");
    let backends = acme.unwrap()["backends"].as_array().unwrap().clone();
    let names: Vec<_> = backends
        .iter()
        .map(|backend| backend["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["acme.AcmeBackend", "acme.AcmeSandboxBackend"]);
}

#[tokio::test]
async fn a_backend_in_c_verifies_a_number_and_says_what_went_wrong() {
    let mut site = Site::new();
    acme_in_c(&site.plugins());
    let (daemon, mut arrived) = daemon_at(&mut site, "acme.AcmeBackend", "Fake Key", &json!({})).await;
    let registered = daemon.register(NUMBER).await;
    assert_eq!(registered.status, 200, "{registered:?}\n{}", daemon.log());
    let sms = arrived.recv().await.unwrap();
    assert_eq!(
        (&sms["from"], &sms["to"]),
        (&json!("+1234567890"), &json!(NUMBER))
    );
    let text = sms["text"].as_str().unwrap();
    let code: String = text.chars().filter(char::is_ascii_digit).collect();
    let verified = daemon.verify(NUMBER, registered.session_token(), &code).await;
    assert_eq!(verified.status, 200, "{verified:?}");

    let refused = daemon.register(UNKNOWN_NUMBER).await;
    assert_eq!((refused.status, refused.code()), (400, "phone_number_refused"));
    let throttled = daemon.register(BUSY_NUMBER).await;
    assert_eq!((throttled.status, throttled.code()), (503, "sms_not_sent"));
    assert_eq!(throttled.headers["retry-after"], "7");
    let unclear = daemon.register(BROKEN_NUMBER).await;
    assert_eq!((unclear.status, unclear.code()), (502, "sms_outcome_unknown"));

    let listed = site.run(&["backends"]).stdout;
    assert!(
        listed.contains("ABI 1.1, built with phone_verify_plugin.h"),
        "{listed}"
    );
}

#[tokio::test]
async fn the_key_of_a_backend_in_c_stays_secret() {
    let mut site = Site::new();
    acme_in_c(&site.plugins());
    site.set("phone_verification", "BACKEND", "acme.AcmeBackend");
    let missing = site.run(&["check"]);
    assert_eq!(missing.code, Some(2));
    assert!(
        missing.stderr.contains("KEY") && missing.stderr.contains("FROM"),
        "{missing:?}"
    );

    let (daemon, _arrived) = daemon_at(&mut site, "acme.AcmeBackend", "a wrong key", &json!({})).await;
    let refused = daemon.register(NUMBER).await;
    assert_eq!((refused.status, refused.code()), (503, "sms_not_sent"));
    assert!(daemon.log().contains("acme_http_401"), "{}", daemon.log());
    assert!(!daemon.log().contains("a wrong key"), "{}", daemon.log());
}
