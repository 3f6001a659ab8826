//! `phone-verify-plugin-host` without the rest: its example is a program of its own, and so are its workers.

use std::process::{Command, Output};

use phone_verify_tests::artifacts;

fn load(arguments: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(artifacts::library("noop"), folder.path().join("libnoop.so")).unwrap();
    Command::new(artifacts::loading_example())
        .arg(folder.path())
        .args(arguments)
        .output()
        .unwrap()
}

#[test]
fn a_program_that_is_no_daemon_sends_through_a_library_in_a_worker_of_its_own() {
    let output = load(&["noop.NoopBackend", "+13478379634", "Hello"]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(
        said.starts_with("noop.NoopBackend (worker) took it"),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn a_refusal_is_the_one_that_the_daemon_would_say() {
    let output = load(&["noop.NopeBackend", "+13478379634", "Hello"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("NoopBackend"), "{said}");
    assert_eq!(output.status.code(), Some(1));
}
