//! What a worker process cannot reach, and how its library learns so.
#![cfg(target_os = "linux")]

use serde_json::json;
use tokio::net::TcpListener;

use super::shelf::{Shelf, rewritten, send};

#[tokio::test(flavor = "multi_thread")]
async fn neither_the_network_nor_files_nor_other_processes() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shelf = Shelf::with(&["villain"]);
    let villain = shelf.load("villain.VillainBackend", &json!({})).unwrap();
    for way in [
        format!("connect {address}"),
        "udp".to_owned(),
        "unix /run/systemd/notify".to_owned(),
        "read /etc/hostname".to_owned(),
        "read /proc/self/environ".to_owned(),
        format!("read {}", shelf.path("villain").display()),
        format!("write {}", shelf.staged().join("new").display()),
        "run /bin/true".to_owned(),
        "thread".to_owned(),
    ] {
        let outcome = send(&villain, &format!("try {way}")).await.unwrap();
        assert_eq!(outcome, "Operation not permitted (os error 1)", "{way}");
    }
    assert_eq!(send(&villain, "try environment").await.unwrap(), "0 variables");
    assert!(!shelf.staged().join("new").exists());
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
