//! Whatever the program's parent left it, and whatever a library does to what all of the process shares: it works, and
//! its files are where the settings say.
#![cfg(target_os = "linux")]

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::Path,
    process::{Command, Stdio},
};

use phone_verify_tests::{
    artifacts,
    daemon::Daemon,
    site::{Site, ran},
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::isolation::daemon::workers;

const NUMBER: &str = "+13478379634";

/// The program, started by a shell that has done something first.
fn after(site: &Site, does: &str, arguments: &str) -> Command {
    let script = format!("{does} exec {} {arguments}", artifacts::program().display());
    let mut command = Command::new("sh");
    command
        .args(["-c", &script])
        .current_dir(site.folder())
        .stdin(Stdio::null());
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn signals_that_the_parent_ignored_or_blocked_are_its_own_again() {
    for left in [
        "env --ignore-signal=CHLD,TERM,HUP,INT",
        "env --block-signal=CHLD,TERM,HUP,INT",
        "nohup",
    ] {
        let site = Site::with_backend("noop.NoopBackend", &json!({}));
        let script = format!("exec {left} {} serve", artifacts::program().display());
        let mut command = Command::new("sh");
        command
            .args(["-c", &script])
            .current_dir(site.folder())
            .stdin(Stdio::null());
        let daemon = Daemon::start(&mut command);
        for worker in workers(&daemon) {
            let id = Pid::from_raw(i32::try_from(worker).unwrap()).unwrap();
            kill_process(id, Signal::KILL).unwrap();
        }
        daemon.wait_for_log("was killed by SIGKILL");
        let answer = daemon.register(NUMBER).await;
        assert_eq!(answer.status, 200, "{left}: {answer:?}");
        daemon.signal(Signal::HUP);
        daemon.wait_for_log("the settings are reloaded");
        let (status, log) = daemon.stop();
        assert!(status.success(), "{left}: {log}");
    }
}

#[test]
fn no_file_of_ours_gets_the_number_of_a_stream_that_was_closed() {
    for closed in ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"] {
        let site = Site::with_backend("noop.FixedCodeBackend", &json!({}));
        let registered = ran(&mut after(&site, "", &format!("register {NUMBER} {closed}")));
        assert_eq!(registered.code, Some(0), "{closed}: {registered:?}");
        let database = fs::read(site.path("phone-verify.db")).unwrap();
        assert!(database.starts_with(b"SQLite format 3\0"), "{closed}");
        let checked = site.run(&["check"]);
        assert_eq!(checked.code, Some(0), "{closed}: {checked:?}");
    }
}

#[test]
fn the_working_folder_need_not_be_there_unless_a_path_begins_in_it() {
    let site = Site::with_backend("noop.FixedCodeBackend", &json!({}));
    let gone = "mkdir gone; cd gone; rmdir ../gone;";
    let settings = site.path("phone-verify.toml");
    let registered = ran(&mut after(
        &site,
        gone,
        &format!("register {NUMBER} --settings {}", settings.display()),
    ));
    assert_eq!(registered.code, Some(0), "{registered:?}");
    let lost = ran(&mut after(&site, gone, "check --settings phone-verify.toml"));
    assert_eq!(lost.code, Some(2), "{lost:?}");
    assert!(lost.stderr.contains("phone-verify.toml"), "{lost:?}");
}

#[test]
fn it_takes_as_many_descriptors_as_it_may_have() {
    let site = Site::with_backend("noop.FixedCodeBackend", &json!({}));
    let daemon = Daemon::start(&mut after(&site, "ulimit -Sn 64; ulimit -Hn 512;", "serve"));
    let limits = fs::read_to_string(format!("/proc/{}/limits", daemon.id())).unwrap();
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"))
        .unwrap();
    let numbers: Vec<&str> = line.split_whitespace().skip(3).take(2).collect();
    assert_eq!(numbers, ["512", "512"]);
}

#[test]
fn a_limit_on_files_is_an_error_and_not_the_end() {
    let site = Site::with_backend("noop.FixedCodeBackend", &json!({}));
    let full = ran(&mut after(&site, "ulimit -f 8;", &format!("register {NUMBER}")));
    assert!(full.code.is_some_and(|code| code != 0), "{full:?}");
}

#[test]
fn its_files_are_its_own_whatever_mask_it_was_left() {
    for mask in ["0", "777", "222"] {
        let site = Site::with_backend("noop.FixedCodeBackend", &json!({}));
        let registered = ran(&mut after(
            &site,
            &format!("umask {mask};"),
            &format!("register {NUMBER}"),
        ));
        assert_eq!(registered.code, Some(0), "{mask}: {registered:?}");
        for file in fs::read_dir(site.folder()).unwrap().flatten() {
            let mode = file.metadata().unwrap().mode();
            let is_ours = !["plugins", "phone-verify.toml"].contains(&&*file.file_name().to_string_lossy());
            if is_ours {
                assert_eq!(mode & 0o022, 0, "{mask}: {} has {mode:o}", file.path().display());
                assert_eq!(
                    mode & 0o400,
                    0o400,
                    "{mask}: {} has {mode:o}",
                    file.path().display()
                );
            }
        }
    }
}

/// What a library in this process does when it is constructed.
fn inline(constructor: &str) -> Site {
    let mut site = Site::with_backend(
        "villain.VillainBackend",
        &json!({ "CODE": "123456", "constructor": constructor }),
    );
    site.set("plugins", "isolation", "inline");
    site
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn a_library_that_changes_the_working_folder_moves_no_file() {
    let mut site = inline("wander");
    site.set("plugins", "trust", "any");
    let at_the_root = names(Path::new("/"));
    let daemon = Daemon::start(&mut site.command(&["serve", "--settings", "phone-verify.toml"]));
    let registered = daemon.register(NUMBER).await;
    assert_eq!(registered.status, 200, "{registered:?}");
    assert_eq!(
        fs::read_link(format!("/proc/{}/cwd", daemon.id())).unwrap(),
        Path::new("/")
    );
    // What is looked at again and again is found, too.
    site.install_variant("villain", "second");
    daemon.wait_for_log("the backend is exchanged");
    site.set("phone_verification", "APP_NAME", "Another");
    daemon.signal(Signal::HUP);
    daemon.wait_for_log("the settings are reloaded");
    let checked = daemon.verify(NUMBER, registered.session_token(), "123456").await;
    assert_eq!(checked.status, 200, "{checked:?}");
    for file in [
        "phone-verify.db",
        "phone-verify.db.key",
        "plugins.lock",
        "staging",
    ] {
        assert!(site.path(file).exists(), "{:?}", names(site.folder()));
    }
    assert_eq!(names(Path::new("/")), at_the_root);
}

#[test]
fn what_a_library_prints_is_in_no_result() {
    let site = inline("babble");
    for arguments in [
        &["check", "--json"][..],
        &["register", NUMBER, "--json"],
        &["verify", NUMBER, "--session-token", "x", "--code", "1", "--json"],
        &["send", "--message", "hello", NUMBER, "--json"],
        &["backends", "--json"],
        &["audit", "--json"],
        &["cleanup", "--json"],
        &["forget", NUMBER, "--json"],
    ] {
        let told = site.run(arguments);
        let result = told.json();
        assert_ne!(result["ok"], "said by a library", "{arguments:?}: {told:?}");
    }
    let registered = site.run(&["register", NUMBER]);
    assert!(!registered.stdout.contains("said by"), "{registered:?}");
    assert!(registered.stderr.contains("said by"), "{registered:?}");
}
