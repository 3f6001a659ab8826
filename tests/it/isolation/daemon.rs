//! A daemon whose backend does its worst.
#![cfg(target_os = "linux")]

use std::{collections::BTreeSet, fs, time::Duration};

use futures_util::future::join_all;
use phone_verify_tests::{
    daemon::Daemon,
    gateways::{Behaviour, Gateway, Nexmo},
    site::Site,
};
use serde_json::{Value, json};

const NUMBERS: [&str; 4] = ["+13478379634", "+13478379635", "+13478379636", "+442079460018"];

/// A daemon that has this said to its villain, with every SMS.
fn daemon(message: &str) -> Daemon {
    let mut site = Site::with_backend("villain.VillainBackend", &json!({}));
    site.set("phone_verification", "MESSAGE", message);
    site.set("dispatch", "send_timeout_seconds", 1);
    site.set("dispatch", "total_timeout_seconds", 1);
    site.serve()
}

#[tokio::test(flavor = "multi_thread")]
async fn it_stays_while_its_backend_crashes_and_says_why() {
    let daemon = daemon("attack segfault {security_code}");
    let before = workers(&daemon);
    assert_eq!(before.len(), 1);
    for number in NUMBERS {
        let answer = daemon.register(number).await;
        assert!((500..600).contains(&answer.status), "{answer:?}");
        assert_eq!(daemon.get("/healthz").await.status, 200);
    }
    daemon.wait_for_log("its worker process was killed by SIGSEGV (invalid memory access)");
    daemon.wait_for_log("it is quarantined for 600 s: its worker process crashed 5 times within 60 s");
    assert!(workers(&daemon).is_disjoint(&before));
    let (status, log) = daemon.stop();
    assert!(status.success(), "{log}");
}

/// The provider is well and was asked; what this process's own worker lost says nothing about it.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_dies_with_sixteen_calls_under_way_costs_those_and_no_other() {
    let gateway = Gateway::<Nexmo>::start().await;
    let mut site = Site::with_backend("nexmo.NexmoBackend", &Value::Object(gateway.options()));
    site.set("plugins", "isolation", "worker");
    let daemon = site.serve();
    let numbers: Vec<String> = (0..16)
        .map(|place| format!("+1347837{:04}", 4000 + place))
        .collect();
    for _ in &numbers {
        gateway.next(Behaviour::Hold);
    }
    let registered = join_all(numbers.iter().map(|number| daemon.register(number)));
    let crash = async {
        for number in &numbers {
            gateway.sms_to(number).await;
        }
        for worker in workers(&daemon) {
            kill(worker);
        }
    };
    let (registered, ()) = tokio::join!(registered, crash);
    for answer in registered {
        assert_eq!(
            (answer.status, answer.code()),
            (502, "sms_outcome_unknown"),
            "{answer:?}"
        );
    }
    let next = daemon.register("+13478379634").await;
    assert_eq!(next.status, 200, "{next:?}");
    let readiness = daemon.get("/readyz").await;
    assert_eq!(
        (
            readiness.status,
            &readiness.body["status"],
            &readiness.body["backend"]["breaker"]
        ),
        (200, &json!("ready"), &json!("closed")),
        "{readiness:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_only_crashes_degrades_the_daemon_and_the_provider_is_not_blamed() {
    let daemon = daemon("attack abort {security_code}");
    for number in NUMBERS {
        daemon.register(number).await;
    }
    daemon.wait_for_log("it is quarantined for 600 s");
    let readiness = daemon.get("/readyz").await;
    assert_eq!(
        (
            readiness.status,
            &readiness.body["status"],
            &readiness.body["backend"]["breaker"]
        ),
        (200, &json!("degraded"), &json!("closed")),
        "{readiness:?}"
    );
    let warning = readiness.body["warnings"][0].as_str().unwrap();
    assert!(
        warning.starts_with("P709: villain is quarantined for another"),
        "{warning}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_loops_for_ever_ends_with_its_daemon() {
    let daemon = daemon("attack spin {security_code}");
    let worker = *workers(&daemon).first().unwrap();
    tokio::select! {
        answer = daemon.register(NUMBERS[0]) => panic!("{answer:?}"),
        () = until(|| is_spinning(worker)) => {}
    }
    daemon.signal(rustix::process::Signal::KILL);
    until(|| !is_running(worker)).await;
}

/// Each question is some twenty bytes, and its answer two hundred times as many.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_questions_whose_answers_nobody_reads_costs_it_no_memory() {
    const PEAK_KIB: u64 = 192 << 10;
    let daemon = daemon("attack questions {security_code}");
    let answer = daemon.register(NUMBERS[0]).await;
    assert!((500..600).contains(&answer.status), "{answer:?}");
    daemon.wait_for_log("it broke the protocol: it does not read what it is sent");
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.id())).unwrap();
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(peak < PEAK_KIB, "{peak} KiB");
}

/// Whoever may list processes sees no option, and none of the variables that the settings refer to.
#[test]
fn a_worker_has_no_rights_and_shows_no_secret_in_the_list_of_processes() {
    let site = Site::with_backend(
        "villain.VillainBackend",
        &json!({ "SECRET": "${env:VILLAIN_SECRET}" }),
    );
    let daemon = Daemon::start(site.command(&["serve"]).env("VILLAIN_SECRET", "s3cret-value"));
    let worker = *workers(&daemon).first().unwrap();
    let told = |what| fs::read_to_string(format!("/proc/{worker}/{what}"));
    assert_eq!(told("cmdline").unwrap(), "phone-verify\0__plugin-worker\0");
    // Nobody but root may even look; what there is is a setting of the allocator.
    let environment = told("environ").unwrap_or_default();
    assert!(
        ["", "MIMALLOC_ARENA_RESERVE=0\0"].contains(&&*environment),
        "{environment}"
    );
    let status = told("status").unwrap();
    for line in ["NoNewPrivs:\t1", "Seccomp:\t2", "CapEff:\t0000000000000000"] {
        assert!(status.contains(line), "{status}");
    }
}

pub(super) async fn until(mut is_so: impl FnMut() -> bool) {
    for _ in 0..1000 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("it never came to that");
}

pub(crate) fn workers(daemon: &Daemon) -> BTreeSet<u32> {
    children(daemon.id())
}

/// The processes that a process has started; none where it has ended.
pub(super) fn children(process: u32) -> BTreeSet<u32> {
    let threads = fs::read_dir(format!("/proc/{process}/task"));
    threads
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok())
        .flat_map(|children| {
            children
                .split_whitespace()
                .map(|id| id.parse().unwrap())
                .collect::<Vec<_>>()
        })
        .collect()
}

pub(super) fn kill(process: u32) {
    let id = rustix::process::Pid::from_raw(i32::try_from(process).unwrap()).unwrap();
    rustix::process::kill_process(id, rustix::process::Signal::KILL).unwrap();
}

/// Nobody may have asked yet how it ended.
pub(super) fn is_running(process: u32) -> bool {
    stat(process).is_some_and(|fields| fields[0] != "Z")
}

/// It has used more than 50 ms of processor time; starting takes a tenth of that.
pub(super) fn is_spinning(process: u32) -> bool {
    stat(process).is_some_and(|fields| fields[11].parse::<u64>().unwrap() > 5)
}

/// What the system tells of it after its name.
fn stat(process: u32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let fields = stat.rsplit(')').next()?.split_whitespace();
    Some(fields.map(str::to_owned).collect())
}
