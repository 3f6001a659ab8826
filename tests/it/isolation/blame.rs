//! Whose doing the end of a worker process was: the library's, the system's, or somebody else's. Only the first is for
//! the author of the library.
#![cfg(target_os = "linux")]

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use phone_verify_plugin_host::code;
use phone_verify_tests::{
    artifacts,
    daemon::Daemon,
    gateways::{Behaviour, NexmoGateway},
    site::{Ran, Site, ran},
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::{
    calls::Log,
    daemon::{children, is_running, is_spinning, kill, until, workers},
    shelf::{Shelf, rewritten, send, villain},
};
use crate::loading::shelf::Shelf as InlineShelf;

const NUMBER: &str = "+13478379634";

/// One of many numbers.
fn number(which: usize) -> String {
    format!("+134783796{:02}", 10 + which)
}

fn signal_workers(daemon: &Daemon, signal: Signal) {
    for worker in workers(daemon) {
        let id = Pid::from_raw(i32::try_from(worker).unwrap()).unwrap();
        kill_process(id, signal).unwrap();
    }
}

/// What a service manager sends to all processes of a service, and a terminal to all of a group.
const TO_ALL: [Signal; 7] = [
    Signal::TERM,
    Signal::INT,
    Signal::HUP,
    Signal::QUIT,
    Signal::USR1,
    Signal::USR2,
    Signal::TSTP,
];

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_to_all_processes_of_a_service_is_for_the_daemon_alone() {
    let site = Site::with_backend("noop.NoopBackend", &json!({}));
    let daemon = site.serve();
    let before = workers(&daemon);
    assert_eq!(before.len(), 1);
    for (which, signal) in TO_ALL.into_iter().enumerate() {
        signal_workers(&daemon, signal);
        let answer = daemon.register(&number(which)).await;
        assert_eq!(answer.status, 200, "{signal:?}: {answer:?}");
    }
    assert_eq!(workers(&daemon), before);
    let (status, log) = daemon.stop();
    assert!(status.success(), "{log}");
    assert!(!log.contains("its worker process"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_the_service_finishes_what_is_under_way_and_blames_nobody() {
    let gateway = NexmoGateway::start().await;
    let site = Site::with_backend("nexmo.NexmoBackend", &Value::Object(gateway.options()));
    let daemon = std::sync::Arc::new(site.serve());
    gateway.next(Behaviour::Hold);
    let under_way = tokio::spawn({
        let daemon = std::sync::Arc::clone(&daemon);
        async move { daemon.register(NUMBER).await }
    });
    gateway.sms_to(NUMBER).await;
    signal_workers(&daemon, Signal::TERM);
    daemon.signal(Signal::TERM);
    daemon.wait_for_log("stopping");
    gateway.release();
    let answer = under_way.await.unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    let (status, log) = std::sync::Arc::into_inner(daemon).unwrap().wait();
    assert!(status.success(), "{log}");
    assert!(!log.contains("its worker process"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_an_operator_kills_is_no_fault_of_its_library_however_often() {
    let site = Site::with_backend("noop.NoopBackend", &json!({}));
    let daemon = site.serve();
    for times in 1..=6 {
        let [worker] = Vec::from_iter(workers(&daemon))[..] else {
            panic!("{}", daemon.log());
        };
        signal_workers(&daemon, Signal::KILL);
        until(|| !is_running(worker)).await;
        daemon.wait_for_logs("P712", times);
        let answer = daemon.register(&number(times)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let log = daemon.log();
    assert!(log.contains("was killed by SIGKILL: from outside"), "{log}");
    for blame in ["author", "P704", "quarantine"] {
        assert!(!log.contains(blame), "{log}");
    }
}

/// Kills each worker process of a daemon that starts, until the daemon gives up.
async fn killed_while_it_starts(site: &Site) -> Ran {
    let mut daemon = site
        .command(&["serve"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    until(|| {
        for worker in children(daemon.id()) {
            if is_spinning(worker) {
                kill(worker);
            }
        }
        daemon.try_wait().unwrap().is_some()
    })
    .await;
    let ended = daemon.wait_with_output().unwrap();
    Ran {
        code: ended.status.code(),
        stdout: String::from_utf8(ended.stdout).unwrap(),
        stderr: String::from_utf8(ended.stderr).unwrap(),
    }
}

/// As by the system when it lacks memory. The next start may well succeed, so a supervisor has to try it.
#[tokio::test(flavor = "multi_thread")]
async fn a_start_whose_worker_is_killed_may_be_tried_again() {
    let constructing = Site::with_backend("villain.VillainBackend", &json!({ "CONSTRUCTOR": "spin" }));
    let opening = Site::with_backend("villain.VillainBackend", &json!({}));
    opening.upgrade(
        "villain",
        &rewritten("villain", "constructor:calm", "constructor:spin"),
    );
    for site in [constructing, opening] {
        let ended = killed_while_it_starts(&site).await;
        assert!(ended.stderr.contains("P712: "), "{ended:#?}");
        assert_eq!(ended.code, Some(1), "{ended:#?}");
    }
}

/// A library does not get out of it by having itself killed: that would look as if somebody else had done it.
#[tokio::test(flavor = "multi_thread")]
async fn a_library_cannot_kill_its_process_as_if_from_outside() {
    let villain = villain(&json!({}));
    for signal in [9, 31, 19] {
        let outcome = send(&villain, &format!("try raise {signal}")).await.unwrap();
        assert_eq!(outcome, "Operation not permitted (os error 1)", "{signal}");
    }
}

/// A check of the villain's settings by a shell that has limited itself first.
fn checked_under(limit: &str, constructor: &str) -> Ran {
    let options = json!({ "CONSTRUCTOR": constructor });
    let site = Site::with_backend("villain.VillainBackend", &options);
    let script = format!("{limit} && exec {} check", artifacts::program().display());
    ran(Command::new("sh")
        .args(["-c", &script])
        .current_dir(site.folder()))
}

#[test]
fn limits_that_are_tighter_than_the_sandboxs_are_no_weaker_sandbox() {
    for limit in [
        "ulimit -n 31",
        "ulimit -u 0",
        "ulimit -f 0",
        "ulimit -c 0",
        "ulimit -v 500000",
        "ulimit -d 500000",
        "ulimit -s 4000",
    ] {
        let checked = checked_under(limit, "behave");
        let told = format!("{}{}", checked.stdout, checked.stderr);
        assert!(!told.contains("weaker"), "{limit}: {told}");
        assert!(!told.contains("author"), "{limit}: {told}");
    }
}

#[test]
fn a_library_that_needs_more_than_the_daemon_may_have_is_not_blamed_for_it() {
    for (limit, constructor, told) in [
        (
            "ulimit -v 400000",
            "allocate",
            "ran out of memory, of which it has 390 MiB by a limit",
        ),
        (
            "ulimit -d 200000",
            "allocate",
            "ran out of memory, of which it has 195 MiB by a limit",
        ),
        (
            "ulimit -s 1000",
            "overflow",
            "overflowed its stack, of which it has 1000 KiB by a limit",
        ),
    ] {
        let checked = checked_under(limit, constructor);
        assert!(
            checked.stderr.contains("P714: ") && checked.stderr.contains(told),
            "{limit}: {checked:#?}"
        );
        assert!(!checked.stderr.contains("author"), "{limit}: {checked:#?}");
    }
}

/// Runs the program where something is not mounted; `None` where this user may not do that.
fn without_mount(site: &Site, folder: &str, arguments: &str) -> Option<Command> {
    let may = Command::new("unshare").args(["-m", "true"]).output();
    if !may.is_ok_and(|tried| tried.status.success()) {
        eprintln!("skipped: this user may not make a mount namespace");
        return None;
    }
    let program = artifacts::program();
    let script = format!(
        "mount -t tmpfs none {folder} && exec {} {arguments}",
        program.display()
    );
    let mut command = Command::new("unshare");
    command
        .args(["-m", "sh", "-c", &script])
        .current_dir(site.folder());
    Some(command)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_needs_neither_devices_nor_a_list_of_processes() {
    for folder in ["/dev", "/proc"] {
        let site = Site::with_backend("noop.NoopBackend", &json!({}));
        let Some(mut command) = without_mount(&site, folder, "serve") else {
            return;
        };
        let daemon = Daemon::start(&mut command);
        let answer = daemon.register(NUMBER).await;
        assert_eq!(answer.status, 200, "{folder}: {answer:?}");
        assert!(!daemon.log().contains("weaker"), "{folder}: {}", daemon.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_sandbox_refuses_a_library_is_explained() {
    let (log, _guard) = Log::of_this_thread();
    let villain = villain(&json!({}));
    for way in [
        "connect 127.0.0.1:80",
        "read /etc/hostname",
        "thread",
        "run /bin/true",
        "resolve provider.example",
    ] {
        let failure = send(&villain, &format!("stumble {way}")).await.unwrap_err();
        assert!(
            failure.message.starts_with(
                "a worker process has no network, files, threads or processes of its own; use the host's HTTP"
            ),
            "{way}: {failure}"
        );
    }
    assert!(!log.text().contains("P704"), "{}", log.text());
}

const NEEDS_ACME: &str = r#"
    __attribute__((section(".pv_plugin"), visibility("default")))
    const char PHONE_VERIFY_MANIFEST[] = "{\"schema\":1,\"version\":\"1.0.0\",\"abi\":{\"major\":1,\"minor\":0},"
        "\"plugin_api\":\"\",\"backends\":[{\"name\":\"XBackend\"}]}";
    int acme(void);
    int (*needed)(void) = acme;
    const char pv_plugin_entry_v1[128];
"#;

/// A library in C in this folder.
fn dependency(folder: &Path, name: &str, source: &str, options: &[&str]) -> PathBuf {
    std::fs::create_dir_all(folder).unwrap();
    let (file, text) = (folder.join(name), folder.join(format!("{name}.c")));
    std::fs::write(&text, source).unwrap();
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .args([&file, &text])
        .args(options)
        .status();
    assert!(built.unwrap().success());
    file
}

/// It is there, and the library would find it: the sandbox does not let it be read.
#[test]
fn a_dependency_outside_of_the_systems_folders_is_not_called_missing() {
    let shelf = Shelf::with(&[]);
    let folder = shelf.folder().join("opt");
    let file = dependency(
        &folder,
        "libacmedependency.so",
        "int acme(void) { return 1; }",
        &[],
    );
    let file = file.to_str().unwrap();
    let [found_at, run_path] = ["-L", "-Wl,-rpath,"].map(|option| format!("{option}{}", folder.display()));
    // By its name and a folder, and by its path.
    for (name, options) in [
        (
            "libacmedependency.so",
            &[&*found_at, &*run_path, "-lacmedependency"][..],
        ),
        (file, &[file]),
    ] {
        let options = [&["-shared", "-fPIC", "-Wl,--no-as-needed"], options].concat();
        shelf.compile("x", NEEDS_ACME, &options);
        let (code, sentence) = shelf.refusal("x.XBackend");
        assert_eq!(code, code::MISSING_DEPENDENCY, "{sentence}");
        assert!(
            sentence.starts_with(&format!("libx.so needs {name}, which is "))
                && sentence.contains("/opt/libacmedependency.so, where a worker process may not read"),
            "{sentence}"
        );
    }
}

/// The system's loader does not say by whom it is needed.
#[test]
fn a_dependency_of_a_dependency_is_told_with_the_one_that_needs_it() {
    let shelf = InlineShelf::with(&[]);
    let folder = shelf.folder().join("opt");
    let found_at = format!("-L{}", folder.display());
    let leaf = dependency(&folder, "libacmeleaf.so", "int leaf(void) { return 1; }", &[]);
    let middle = "int leaf(void); int acme(void) { return leaf(); }";
    dependency(&folder, "libacmemiddle.so", middle, &[&found_at, "-lacmeleaf"]);
    std::fs::remove_file(leaf).unwrap();
    let run_path = format!("-Wl,-rpath,{}", folder.display());
    let options = [
        "-shared",
        "-fPIC",
        "-Wl,--no-as-needed",
        "-Wl,--allow-shlib-undefined",
    ];
    let of_middle = [&*found_at, &*run_path, "-lacmemiddle"];
    shelf.compile("x", NEEDS_ACME, &[&options[..], &of_middle].concat());
    let (code, sentence) = shelf.refusal("x.XBackend");
    assert_eq!(code, code::MISSING_DEPENDENCY, "{sentence}");
    let told = "libx.so needs libacmemiddle.so, which needs libacmeleaf.so, which this system does not have; install it";
    assert!(sentence.starts_with(told), "{sentence}");
}

/// Whatever the two say first, its refusal or its end.
#[tokio::test(flavor = "multi_thread")]
async fn a_library_that_is_refused_is_not_said_to_have_crashed() {
    const SOURCE: &str = r#"
        __attribute__((section(".pv_plugin"), visibility("default")))
        const char PHONE_VERIFY_MANIFEST[] = "{\"schema\":1,\"version\":\"1.0.0\",\"abi\":{\"major\":1,\"minor\":0},"
            "\"plugin_api\":\"1.0.0\",\"backends\":[{\"name\":\"XBackend\",\"hosts\":[]}]}";
        __attribute__((visibility("default"))) const char pv_plugin_entry_v1[64] = "";
        void missing(void);
        void (*needed)(void) = missing;
    "#;
    let (log, _guard) = Log::of_this_thread();
    let folder = tempfile::tempdir().unwrap();
    let [source, library] = ["x.c", "libx.so"].map(|name| folder.path().join(name));
    std::fs::write(&source, SOURCE).unwrap();
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .args([&library, &source])
        .status();
    assert!(built.unwrap().success());
    let shelf = Shelf::with(&[]);
    for round in 0..100_u8 {
        // Other bytes: a supervisor belongs to a hash.
        let mut bytes = std::fs::read(&library).unwrap();
        bytes.push(round);
        shelf.put("x", &bytes);
        let (code, sentence) = shelf.refusal("x.XBackend");
        assert_eq!(code, code::NOT_OPENED, "{sentence}");
    }
    assert_eq!(log.text(), "");
}
