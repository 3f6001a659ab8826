//! A running daemon takes up what changes: libraries, and on SIGHUP the settings. Nothing is lost, and nothing is sent
//! twice.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use phone_verify_tests::{artifacts, daemon::Daemon, gateways::NexmoGateway, site::Site};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::loading::shelf::rewritten;

const NUMBER: &str = "+13478379634";
const EXCHANGED: &str = "the backend is exchanged";
const NOT_USED: &str = "the library in the plugin directory is not used";

fn site() -> Site {
    let mut site = Site::with_backend("noop.FixedCodeBackend", &json!({}));
    site.set("plugins", "trust", "any");
    site
}

fn code_in(text: &str) -> String {
    text.chars().filter(char::is_ascii_digit).collect()
}

/// What `/readyz` warns of, besides the sandbox.
async fn warnings(daemon: &Daemon) -> Vec<String> {
    let answer = daemon.get("/readyz").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let warnings = answer.body["warnings"].as_array().unwrap();
    let warnings = warnings
        .iter()
        .map(|warning| warning.as_str().unwrap().to_owned());
    warnings.filter(|warning| !warning.contains("sandbox")).collect()
}

fn private_copies(site: &Site) -> usize {
    std::fs::read_dir(site.path("staging")).unwrap().count()
}

async fn verifies(daemon: &Daemon, number: &str) {
    let registered = daemon.register(number).await;
    assert_eq!(registered.status, 200, "{registered:?}");
    let checked = daemon.verify(number, registered.session_token(), "123456").await;
    assert_eq!(checked.status, 200, "{checked:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_library_is_taken_up_without_a_restart() {
    let site = site();
    let daemon = site.serve();
    verifies(&daemon, NUMBER).await;
    site.install_variant("noop", "second");
    daemon.wait_for_logs(EXCHANGED, 1);
    verifies(&daemon, "+13478379635").await;
    assert_eq!(warnings(&daemon).await, [""; 0]);
    let (status, log) = daemon.stop();
    assert_eq!(status.code(), Some(0), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_version_leaves_the_one_before_serving() {
    let site = site();
    let daemon = site.serve();
    let whole = std::fs::read(artifacts::library("noop")).unwrap();
    site.upgrade("noop", &whole[..whole.len() / 2]);
    daemon.wait_for_logs(NOT_USED, 1);
    verifies(&daemon, NUMBER).await;
    let told = warnings(&daemon).await;
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0].starts_with("noop.FixedCodeBackend: the library in the plugin directory is not used (P2")
            && told[0].contains("goes on serving"),
        "{told:?}"
    );
    let listed = site.run(&["backends"]);
    assert!(listed.stdout.contains("cannot be loaded: P2"), "{listed:?}");
    assert!(listed.stdout.contains("in use instead: version"), "{listed:?}");
    daemon.stop();

    // A restart finds the one before as well.
    let daemon = site.serve();
    assert!(daemon.log().contains(NOT_USED), "{}", daemon.log());
    verifies(&daemon, "+13478379635").await;
    assert_eq!(warnings(&daemon).await.len(), 1);
    site.install_variant("noop", "mended");
    daemon.wait_for_logs(EXCHANGED, 1);
    assert_eq!(warnings(&daemon).await, [""; 0]);
    assert!(!site.run(&["backends"]).stdout.contains("in use instead"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_crashes_while_it_is_loaded_costs_nothing_wherever_it_is_to_run() {
    for isolation in ["inline", "worker"] {
        let mut site = Site::with_backend("villain.VillainBackend", &json!({ "CODE": "123456" }));
        site.set("plugins", "trust", "any");
        site.set("plugins", "isolation", isolation);
        let daemon = site.serve();
        let mut bytes = std::fs::read(artifacts::library("villain")).unwrap();
        let fuse = b"constructor:calm";
        let at = bytes
            .windows(fuse.len())
            .position(|window| window == fuse)
            .unwrap();
        bytes[at..at + fuse.len()].copy_from_slice(b"constructor:boom");
        site.upgrade("villain", &bytes);
        daemon.wait_for_logs(NOT_USED, 1);
        assert!(daemon.log().contains("P704"), "{}", daemon.log());
        assert_eq!(private_copies(&site), 1, "what was refused is not kept");
        verifies(&daemon, NUMBER).await;
        let listed = site.run(&["backends"]);
        assert!(listed.stdout.contains("is not used: P704"), "{listed:?}");
    }
}

/// A library of the daemon's own process may use threads, files and processes: so may it when it is tried first.
#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_uses_what_no_sandbox_allows_is_taken_up_where_it_may() {
    let mut site = Site::with_backend("villain.VillainBackend", &json!({ "CODE": "123456" }));
    site.set("plugins", "trust", "any");
    site.set("plugins", "isolation", "inline");
    let daemon = site.serve();
    let mut bytes = std::fs::read(artifacts::library("villain")).unwrap();
    let fuse = b"constructor:calm";
    let at = bytes
        .windows(fuse.len())
        .position(|window| window == fuse)
        .unwrap();
    bytes[at..at + fuse.len()].copy_from_slice(b"constructor:work");
    site.upgrade("villain", &bytes);
    daemon.wait_for_logs(EXCHANGED, 1);
    assert_eq!(warnings(&daemon).await, [""; 0], "{}", daemon.log());
    verifies(&daemon, NUMBER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_seventeenth_version_in_the_daemons_process_is_refused_and_the_one_before_serves() {
    const IN_ONE_PROCESS: usize = 16;
    let mut site = site();
    site.set("plugins", "isolation", "inline");
    let daemon = site.serve();
    for version in 1..IN_ONE_PROCESS {
        site.install_variant("noop", &version.to_string());
        daemon.signal(Signal::HUP);
        daemon.wait_for_logs(EXCHANGED, version);
    }
    assert!(!daemon.log().contains("P509"), "{}", daemon.log());
    site.install_variant("noop", "one too many");
    daemon.wait_for_log("plugins/libnoop.so would be the 17th version of noop in this process");
    assert!(daemon.log().contains("P509"), "{}", daemon.log());
    verifies(&daemon, NUMBER).await;
    assert!(warnings(&daemon).await[0].contains("(P509)"));
    site.set("plugins", "isolation", "worker");
    daemon.signal(Signal::HUP);
    daemon.wait_for_logs(EXCHANGED, IN_ONE_PROCESS);
    verifies(&daemon, "+13478379635").await;
    assert_eq!(warnings(&daemon).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_word_of_the_operator_is_taken_up_and_taken_back() {
    let mut site = site();
    site.set("plugins", "trust", "tofu");
    let daemon = site.serve();
    site.install_variant("noop", "second");
    daemon.wait_for_logs(NOT_USED, 1);
    assert!(
        daemon.log().contains("run: phone-verify plugin trust noop"),
        "{}",
        daemon.log()
    );
    assert_eq!(site.run(&["plugin", "trust", "noop"]).code, Some(0));
    daemon.wait_for_logs(EXCHANGED, 1);
    assert_eq!(warnings(&daemon).await, [""; 0]);

    let rolled_back = site.run(&["plugin", "rollback", "noop"]);
    assert_eq!(rolled_back.code, Some(0), "{rolled_back:?}");
    daemon.wait_for_logs(EXCHANGED, 2);
    assert!(warnings(&daemon).await[0].contains("P407"));
    assert_eq!(
        private_copies(&site),
        1,
        "nobody goes forward to what was rolled back"
    );
    verifies(&daemon, NUMBER).await;
    daemon.stop();
    let again = site.run(&["plugin", "rollback", "noop"]);
    assert_eq!(again.code, Some(2));
    assert!(
        again.stderr.contains("P408: no version of noop was used before"),
        "{again:?}"
    );

    let daemon = site.serve();
    daemon.wait_for_log("P407");
    verifies(&daemon, "+13478379635").await;
    assert_eq!(site.run(&["plugin", "trust", "noop"]).code, Some(0));
    daemon.wait_for_logs(EXCHANGED, 1);
    assert_eq!(warnings(&daemon).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_run_apart_come_into_the_daemons_process_and_leave_it_by_a_word_of_the_operator() {
    let mut site = site();
    site.set("plugins", "trust", "tofu");
    let daemon = site.serve();
    for (at, (arguments, isolation)) in [
        (&["plugin", "trust", "noop", "--inline"][..], "isolation=inline"),
        (&["plugin", "trust", "noop"], "isolation=worker"),
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(site.run(arguments).code, Some(0));
        daemon.wait_for_logs(EXCHANGED, at + 1);
        assert!(daemon.log().contains(isolation), "{}", daemon.log());
        verifies(&daemon, &format!("+1347837963{at}")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sighup_takes_over_what_can_change_and_names_what_cannot() {
    let gateway = NexmoGateway::start().await;
    let mut site = Site::with_backend("nexmo.NexmoBackend", &Value::Object(gateway.options()));
    let daemon = site.serve();
    let keys: toml::Table = format!("shop = \"sha256:{}\"", "0".repeat(64)).parse().unwrap();
    site.set("api", "keys", keys)
        .set("phone_verification", "MESSAGE", "{app} says {security_code}")
        .set("phone_verification", "TOKEN_LENGTH", 8)
        .set("dispatch", "concurrency", 8);
    daemon.signal(Signal::HUP);
    daemon.wait_for_log("the settings are reloaded");
    assert!(
        daemon
            .log()
            .contains("these settings have changed and need a restart: [dispatch] concurrency"),
        "{}",
        daemon.log()
    );
    assert_eq!(daemon.get("/v1/verifications/0").await.status, 401);
    assert_eq!(daemon.register(NUMBER).await.status, 200);
    let sms = gateway.sms_to(NUMBER).await;
    assert!(sms.text.starts_with("Phone Verify says "), "{sms:?}");
    assert_eq!(code_in(&sms.text).len(), 8);

    site.set("phone_verification", "TOKEN_LENGTH", 99);
    daemon.signal(Signal::HUP);
    daemon.wait_for_log("TOKEN_LENGTH must be from 4 to 10, not 99");
    site.set("phone_verification", "TOKEN_LENGTH", 6).set(
        "phone_verification",
        "BACKEND",
        "nexmo.NobodysBackend",
    );
    daemon.signal(Signal::HUP);
    daemon.wait_for_log("the backend of the new settings cannot be used");
    assert_eq!(warnings(&daemon).await.len(), 1);
    assert_eq!(daemon.register("+13478379635").await.status, 200);
    assert_eq!(
        code_in(&gateway.sms_to("+13478379635").await.text).len(),
        8,
        "as before"
    );

    site.install("noop");
    site.set("phone_verification", "BACKEND", "noop.FixedCodeBackend")
        .set("phone_verification", "OPTIONS", toml::Table::new());
    daemon.signal(Signal::HUP);
    daemon.wait_for_logs(EXCHANGED, 2);
    verifies(&daemon, "+13478379636").await;
    assert_eq!(warnings(&daemon).await, [""; 0]);
}

/// Registers numbers one after the other until told to stop; returns them.
async fn registers(daemon: Arc<Daemon>, is_over: Arc<AtomicBool>, block: u32) -> Vec<String> {
    let mut numbers = Vec::new();
    while !is_over.load(Ordering::Relaxed) {
        let number = format!(
            "+1347{:07}",
            2_000_000 + block * 100_000 + u32::try_from(numbers.len()).unwrap()
        );
        let answer = daemon.register(&number).await;
        assert_eq!(answer.status, 200, "{number}: {answer:?}\n{}", daemon.log());
        numbers.push(number);
    }
    numbers
}

async fn two_hundred_reloads(isolation: &str) {
    const RELOADS: usize = 200;
    let gateway = NexmoGateway::start().await;
    let mut site = Site::with_backend("nexmo.NexmoBackend", &Value::Object(gateway.options()));
    site.set("plugins", "trust", "any")
        .set("plugins", "isolation", isolation);
    let daemon = Arc::new(site.serve());
    let is_over = Arc::new(AtomicBool::new(false));
    let mut load = JoinSet::new();
    for block in 0..8 {
        load.spawn(registers(Arc::clone(&daemon), Arc::clone(&is_over), block));
    }
    for reload in 1..=RELOADS {
        // Each time another file: in this process two of them in turn, for none of them is ever unloaded.
        let mark = if isolation == "inline" { reload % 2 } else { reload };
        site.install_variant("nexmo", &mark.to_string());
        daemon.signal(Signal::HUP);
        let (daemon, exchanged) = (Arc::clone(&daemon), reload);
        tokio::task::spawn_blocking(move || daemon.wait_for_logs(EXCHANGED, exchanged))
            .await
            .unwrap();
    }
    is_over.store(true, Ordering::Relaxed);
    let numbers: Vec<String> = load.join_all().await.into_iter().flatten().collect();
    assert!(
        numbers.len() > RELOADS,
        "{} registrations under {RELOADS} reloads",
        numbers.len()
    );
    let mut sent: HashMap<String, usize> = HashMap::new();
    for sms in gateway.inbox() {
        *sent.entry(sms.to).or_default() += 1;
    }
    for number in &numbers {
        assert_eq!(sent.remove(number), Some(1), "{number} got no SMS, or several");
    }
    assert!(sent.is_empty(), "nobody else got one: {sent:?}");
    let (status, log) = Arc::into_inner(daemon).unwrap().stop();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(!log.contains("ERROR"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_reloads_in_workers_lose_and_double_nothing() {
    two_hundred_reloads("worker").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_reloads_in_the_daemons_process_lose_and_double_nothing() {
    two_hundred_reloads("inline").await;
}

/// What crashes while it is loaded would do so at each start.
#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_was_put_there_while_the_daemon_was_stopped_cannot_keep_it_from_starting() {
    for isolation in ["inline", "worker"] {
        let mut site = Site::with_backend("villain.VillainBackend", &json!({ "CODE": "123456" }));
        site.set("plugins", "trust", "any");
        site.set("plugins", "isolation", isolation);
        site.serve().stop();
        let broken = rewritten("villain", "constructor:calm", "constructor:boom");
        site.upgrade("villain", &broken);

        let checked = site.run(&["check"]);
        assert_eq!(checked.code, Some(1), "{isolation}: {checked:#?}");
        for words in ["P704: ", "; until then a start goes on with version "] {
            assert!(checked.stderr.contains(words), "{isolation}: {checked:#?}");
        }
        let daemon = site.serve();
        verifies(&daemon, NUMBER).await;
        let told = warnings(&daemon).await;
        assert!(
            told.len() == 1 && told[0].contains("is not used (P704"),
            "{isolation}: {told:?}"
        );
        daemon.stop();

        // Where no version was before, it is at least said whose fault it is.
        std::fs::remove_file(site.path("plugins.lock")).unwrap();
        for arguments in [&["check"][..], &["serve"]] {
            let ended = site.run(arguments);
            assert_eq!(ended.code, Some(1), "{isolation} {arguments:?} {ended:#?}");
            let told = "this is for the author of the library";
            assert!(
                ended.stderr.contains("P704: ") && ended.stderr.contains(told),
                "{isolation} {arguments:?} {ended:#?}"
            );
        }
    }
}
