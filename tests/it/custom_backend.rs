//! A third party's backend: the example is copied out of the workspace, built there against the author's
//! crate alone, and dropped into the directory of a host that is not rebuilt.

use std::{fs, path::Path, sync::OnceLock};

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use phone_verify_tests::{artifacts, daemon::Daemon, site::Site};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::mpsc};

const NUMBER: &str = "+13478379634";

/// The example's library, built once outside the workspace.
fn acme() -> &'static Path {
    static BUILT: OnceLock<(tempfile::TempDir, std::path::PathBuf)> = OnceLock::new();
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

/// Acme as its users know it: it takes `POST /messages` with the right key.
async fn provider() -> (String, mpsc::UnboundedReceiver<Value>) {
    async fn take(
        State(inbox): State<mpsc::UnboundedSender<Value>>,
        headers: HeaderMap,
        Json(sms): Json<Value>,
    ) -> (StatusCode, Json<Value>) {
        if headers
            .get("authorization")
            .is_none_or(|key| key != "Bearer Fake Key")
        {
            return (StatusCode::UNAUTHORIZED, Json(json!({ "error": "who are you?" })));
        }
        inbox.send(sms).unwrap();
        (StatusCode::ACCEPTED, Json(json!({ "id": "acme-1" })))
    }
    let (inbox, arrived) = mpsc::unbounded_channel();
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let service = Router::new().route("/messages", post(take)).with_state(inbox);
    tokio::spawn(async move { axum::serve(listener, service).await });
    (url, arrived)
}

async fn daemon_with(backend: &str) -> (Site, Daemon, mpsc::UnboundedReceiver<Value>) {
    let (url, arrived) = provider().await;
    let mut site = Site::new();
    fs::copy(acme(), site.plugins().join(acme().file_name().unwrap())).unwrap();
    let options =
        json!({ "KEY": "Fake Key", "from": "+1234567890", "Base_Url": url, "SANDBOX_TOKEN": "123456" });
    site.set("phone_verification", "BACKEND", backend);
    site.set(
        "phone_verification",
        "OPTIONS",
        toml::Table::try_from(options).unwrap(),
    );
    let daemon = site.serve();
    (site, daemon, arrived)
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
    let acme = listed
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
