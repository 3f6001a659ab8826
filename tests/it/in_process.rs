//! The daemon in the process of the test: the same `run`, with sockets and a signal that the test hands in.

use phone_verify::{
    daemon::{self, Control, ServiceManager, Setup},
    http,
    model::{NamedBy, Places},
    settings::Settings,
};
use phone_verify_tests::{client::http_client, site::Site};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

const NUMBER: &str = "+13478379634";
const CODE: &str = "837261";

/// A site at which a number for tests can be verified, so that no SMS need be read.
fn site() -> Site {
    let mut site = Site::new();
    let numbers: toml::Table = format!("\"{NUMBER}\" = {{ code = \"{CODE}\", until = 9999-12-31 }}")
        .parse()
        .unwrap();
    site.set("phone_verification", "TEST_NUMBERS", numbers);
    site
}

async fn post(address: &str, path: &str, body: &Value) -> (u16, Value) {
    let url = format!("{address}{path}");
    let answer = http_client().post(url).json(body).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

#[tokio::test]
async fn a_daemon_serves_at_the_socket_that_it_is_handed_and_ends_when_it_is_asked_to() {
    let site = site();
    let settings = Settings::load(&site.path("phone-verify.toml")).unwrap();
    let place = "127.0.0.1:0".parse().unwrap();
    let places = Places {
        all: std::slice::from_ref(&place),
        named_by: NamedBy::Arguments,
    };
    let listeners = http::bind(places, 0o600).await.unwrap();
    let (stop, (_reload, reloads)) = (CancellationToken::new(), mpsc::channel(1));
    let control = Control {
        stop: stop.clone(),
        reloads,
    };
    let setup = Setup {
        settings,
        reread: None,
        is_demo: false,
        manager: ServiceManager::none(),
    };
    let (ready, listening) = oneshot::channel();
    let daemon = tokio::spawn(daemon::run(setup, listeners, control, move |listeners| {
        let _ = ready.send(listeners[0].to_string());
    }));
    let address = listening.await.unwrap();

    let number = json!({ "phone_number": NUMBER });
    let (status, registered) = post(&address, "/api/phone/register", &number).await;
    assert_eq!(status, 200, "{registered}");
    let check = json!({
        "phone_number": NUMBER,
        "session_token": registered["session_token"],
        "security_code": CODE,
    });
    let (status, verified) = post(&address, "/api/phone/verify", &check).await;
    assert_eq!(status, 200, "{verified}");

    stop.cancel();
    daemon.await.unwrap().unwrap();
    let refused = http_client().get(format!("{address}/healthz")).send().await;
    assert!(refused.is_err(), "nothing listens any more");
}

#[tokio::test]
async fn a_daemon_that_cannot_start_says_all_that_is_wrong_and_serves_nothing() {
    let site = site();
    let mut settings = Settings::load(&site.path("phone-verify.toml")).unwrap();
    settings.backends[0].backend = "nowhere.NoBackend".to_owned();
    let folder = site.path("a-folder");
    std::fs::create_dir(&folder).unwrap();
    settings.store.database = folder;
    let setup = Setup {
        settings,
        reread: None,
        is_demo: false,
        manager: ServiceManager::none(),
    };
    let control = Control {
        stop: CancellationToken::new(),
        reloads: mpsc::channel(1).1,
    };
    let problems = daemon::run(setup, Vec::new(), control, |_| unreachable!("it does not serve")).await;
    let problems = problems.unwrap_err();
    let says = |word: &str| problems.iter().any(|problem| problem.sentence.contains(word));
    assert!(says("nowhere") && says("a-folder"), "{problems:?}");
}
