//! What a worker process cannot reach, and how its library learns so.
#![cfg(target_os = "linux")]

use std::os::fd::AsRawFd;

use phone_verify_plugin_host::code;
use serde_json::json;
use tokio::net::TcpListener;

use super::shelf::{Bystander, Shelf, rewritten, send};

#[tokio::test(flavor = "multi_thread")]
async fn neither_the_network_nor_files_nor_other_processes() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shelf = Shelf::with(&["villain", "noop"]);
    let bystander = Bystander::of(&shelf);
    let villain = shelf.load("villain.VillainBackend", &json!({})).unwrap();
    let host = std::process::id();
    for way in [
        format!("connect {address}"),
        "udp".to_owned(),
        "unix /run/systemd/notify".to_owned(),
        "read /etc/hostname".to_owned(),
        "read /proc/self/environ".to_owned(),
        format!("read {}", shelf.path("villain").display()),
        format!("write {}", shelf.staged().join("new").display()),
        "run /bin/true".to_owned(),
        format!("read /proc/{host}/mem"),
        "thread".to_owned(),
        "fork".to_owned(),
        "listen 127.0.0.1:0".to_owned(),
        format!("signal {host}"),
        format!("owner {host}"),
        format!("priority {host}"),
        format!("trace {host}"),
        "pass".to_owned(),
        "alarm".to_owned(),
        "outlive".to_owned(),
        #[cfg(target_arch = "x86_64")]
        "second-calls".to_owned(),
    ] {
        let outcome = send(&villain, &format!("try {way}")).await.unwrap();
        assert_eq!(outcome, "Operation not permitted (os error 1)", "{way}");
    }
    // A setting of the allocator.
    assert_eq!(send(&villain, "try environment").await.unwrap(), "1 variables");
    assert!(!shelf.staged().join("new").exists());
    bystander.lost_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_the_host_was_given_by_its_own_parent() {
    // A number that a worker has no use for itself.
    let given = rustix::io::fcntl_dupfd_cloexec(tempfile::tempfile().unwrap(), 700).unwrap();
    rustix::io::fcntl_setfd(&given, rustix::io::FdFlags::empty()).unwrap();
    let shelf = Shelf::with(&["villain"]);
    let villain = shelf.load("villain.VillainBackend", &json!({})).unwrap();
    let way = format!("try descriptor {}", given.as_raw_fd());
    let outcome = send(&villain, &way).await.unwrap();
    assert_eq!(outcome, "Bad file descriptor (os error 9)");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_constructor_of_the_file_reaches_nothing_either() {
    let shelf = Shelf::with(&[]);
    shelf.put(
        "villain",
        &rewritten("villain", "constructor:calm", "constructor:peek"),
    );
    let villain = shelf.load("villain.VillainBackend", &json!({})).unwrap();
    assert_eq!(send(&villain, "hello").await.unwrap(), "sms-1");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_constructor_of_the_file_says_to_the_host_is_not_believed() {
    let shelf = Shelf::with(&["noop"]);
    let bystander = Bystander::of(&shelf);
    for (word, code, sentence) in [
        (
            "lies",
            code::WORKER_CONTRACT,
            "libvillain.so cannot be opened: its worker process was killed: it broke the protocol: it was started \
             twice; this is for the author of the library",
        ),
        ("mock", code::NOT_OPENED, " [2Jpwnd"),
    ] {
        let bytes = rewritten("villain", "constructor:calm", &format!("constructor:{word}"));
        shelf.put("villain", &bytes);
        let refusal = tokio::task::block_in_place(|| shelf.refusal("villain.VillainBackend"));
        assert_eq!(refusal, (code, sentence.to_owned()));
    }
    bystander.lost_nothing().await;
}
