//! An upgrade of the program's own file, while the daemon runs: its workers are the program that runs, whatever lies at
//! its path, and a library that came with the program is still known for one.
#![cfg(target_os = "linux")]

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    process::Command,
};

use phone_verify_tests::{artifacts, daemon::Daemon, site::Site};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use super::daemon::{is_running, until, workers};

const NUMBER: &str = "+13478379634";

/// The program in a folder of its own, as a package manager installs it.
fn installed(site: &Site) -> Command {
    fs::create_dir_all(site.path("usr/bin")).unwrap();
    let program = site.path("usr/bin/phone-verify");
    if fs::hard_link(artifacts::program(), &program).is_err() {
        fs::copy(artifacts::program(), &program).unwrap();
    }
    let mut command = Command::new(program);
    command.current_dir(site.folder());
    command
}

/// Ends the worker, so that the next call needs another one.
async fn lose_worker(daemon: &Daemon) {
    for worker in workers(daemon) {
        let id = Pid::from_raw(i32::try_from(worker).unwrap()).unwrap();
        kill_process(id, Signal::KILL).unwrap();
        until(|| !is_running(worker)).await;
    }
}

/// Has something happen to the program's file.
type Fate = fn(&Path);

/// What may become of it, one after the other.
const FATES: [(&str, Fate); 6] = [
    ("another program replaces it", |program| {
        let new = program.with_extension("new");
        symlink("/bin/false", &new).unwrap();
        fs::rename(new, program).unwrap();
    }),
    ("what replaces it is no program", |program| {
        let new = program.with_extension("new");
        fs::write(&new, "not a program").unwrap();
        fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).unwrap();
        fs::rename(new, program).unwrap();
    }),
    ("it may not be run", |program| {
        fs::set_permissions(program, fs::Permissions::from_mode(0o600)).unwrap();
    }),
    ("it is removed", |program| fs::remove_file(program).unwrap()),
    ("a folder lies there", |program| fs::create_dir(program).unwrap()),
    ("its folder is gone", |program| {
        fs::rename(
            program.parent().unwrap(),
            program.parent().unwrap().with_extension("old"),
        )
        .unwrap();
    }),
];

#[tokio::test(flavor = "multi_thread")]
async fn whatever_becomes_of_its_file_a_new_worker_is_the_program_that_runs() {
    for half in FATES.chunks(3) {
        let mut site = Site::with_backend("noop.NoopBackend", &json!({}));
        site.set("plugins", "trust", "any");
        let daemon = Daemon::start(installed(&site).arg("serve"));
        for (fate, happens) in half {
            if !site.path("usr/bin/phone-verify").exists() {
                fs::create_dir_all(site.path("usr/bin")).unwrap();
            }
            happens(&site.path("usr/bin/phone-verify"));
            lose_worker(&daemon).await;
            let answer = daemon.register(NUMBER).await;
            assert_eq!(answer.status, 200, "{fate}: {answer:?}\n{}", daemon.log());
            assert_eq!(workers(&daemon).len(), 1, "{fate}");
        }
        // A new version of the library is opened by a process of its own, too.
        site.install_variant("noop", "upgraded");
        daemon.wait_for_log("the backend is exchanged");
        assert_eq!(daemon.register(NUMBER).await.status, 200, "{}", daemon.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_library_that_came_with_the_program_is_known_for_one_after_the_upgrade() {
    let mut site = Site::with_backend("noop.NoopBackend", &json!({}));
    let library = site.install("noop");
    let bundled = site.path("usr/lib/phone-verify/plugins");
    fs::create_dir_all(&bundled).unwrap();
    fs::rename(&library, bundled.join(library.file_name().unwrap())).unwrap();
    site.set("plugins", "directories", vec![bundled.display().to_string()]);
    let daemon = Daemon::start(installed(&site).arg("serve"));
    assert!(workers(&daemon).is_empty());
    fs::remove_file(site.path("usr/bin/phone-verify")).unwrap();
    site.set("phone_verification", "APP_NAME", "Another");
    daemon.signal(Signal::HUP);
    daemon.wait_for_log("reloaded");
    assert!(workers(&daemon).is_empty(), "{}", daemon.log());
    assert_eq!(daemon.register(NUMBER).await.status, 200);
}
