//! What a library does that the host contains wherever it runs, under load on another library.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use phone_verify_plugin_host::code;
use serde_json::json;

use tokio::net::TcpListener;

use super::shelf::{Bystander, REQUESTS_AT_ONCE, Shelf, alice, call, call_within, rewritten, send};

#[tokio::test(flavor = "multi_thread")]
async fn it_panics() {
    let shelf = Shelf::with(&["villain", "noop"]);
    let bystander = Bystander::of(&shelf);
    let villain = shelf.load("villain.VillainBackend", &json!({})).unwrap();
    for panic in ["panic", "panic-later"] {
        assert_eq!(send(&villain, panic).await.unwrap_err().code, "plugin_panic");
    }
    let call = call_within(Duration::from_millis(100));
    let failure = villain.send_sms(&alice(), "panic-when-dropped", call).await;
    assert_eq!(failure.unwrap_err().code, "deadline");
    assert_eq!(send(&villain, "hello").await.unwrap(), "sms-1");
    bystander.lost_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_answers_late() {
    let shelf = Shelf::with(&["villain", "noop"]);
    let bystander = Bystander::of(&shelf);
    let villain = shelf.load("villain.VillainBackend", &json!({})).unwrap();
    let call = call_within(Duration::from_millis(200));
    let failure = villain.send_sms(&alice(), "late", call).await.unwrap_err();
    assert_eq!(failure.code, "deadline");
    // It stopped when it was told to, and goes on.
    assert_eq!(send(&villain, "hello").await.unwrap(), "sms-1");
    assert_eq!(send(&villain, "hello").await.unwrap(), "sms-2");
    bystander.lost_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn its_constructor_panics() {
    let shelf = Shelf::with(&["villain", "noop"]);
    let bystander = Bystander::of(&shelf);
    let refusals = shelf
        .load("villain.VillainBackend", &json!({ "constructor": "panic" }))
        .unwrap_err();
    assert_eq!(refusals[0].code, code::NOT_CONSTRUCTED);
    bystander.lost_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn its_destructor_panics() {
    let shelf = Shelf::with(&["villain", "noop"]);
    let bystander = Bystander::of(&shelf);
    let load = || shelf.load("villain.VillainBackend", &json!({ "destructor": "panic" }));
    let villain = load().unwrap();
    assert_eq!(send(&villain, "hello").await.unwrap(), "sms-1");
    drop(villain);
    assert_eq!(send(&load().unwrap(), "hello").await.unwrap(), "sms-1");
    bystander.lost_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_answers_with_nonsense_and_twice() {
    let shelf = Shelf::with(&["villain", "noop"]);
    let bystander = Bystander::of(&shelf);
    let villain = shelf.load("villain.VillainBackend", &json!({})).unwrap();
    assert_eq!(send(&villain, "nonsense").await.unwrap_err().code, "bad_receipt");
    let answers = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&answers);
    let settled = Arc::new(move |index, _| heard.lock().unwrap().push(index));
    villain
        .send_bulk_sms(&[alice(), alice()], "hello", call(), settled)
        .await;
    let mut answers = answers.lock().unwrap().clone();
    answers.sort_unstable();
    assert_eq!(answers, [0, 1], "each is heard once");
    bystander.lost_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_waits_for_ever() {
    let shelf = Shelf::with(&["villain", "noop"]);
    let bystander = Bystander::of(&shelf);
    let villain = shelf.load("villain.VillainBackend", &json!({})).unwrap();
    let call = call_within(Duration::from_millis(100));
    let failure = villain.send_sms(&alice(), "hang", call).await.unwrap_err();
    assert_eq!(failure.code, "deadline");
    bystander.lost_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_floods_the_log() {
    let shelf = Shelf::with(&["villain", "noop"]);
    let bystander = Bystander::of(&shelf);
    let villain = shelf.load("villain.VillainBackend", &json!({})).unwrap();
    let call = call_within(Duration::from_secs(120));
    villain.send_sms(&alice(), "flood-log", call).await.unwrap();
    bystander.lost_nothing().await;
}

/// Connections are of what the whole process has few.
#[tokio::test(flavor = "multi_thread")]
async fn it_asks_for_more_connections_than_its_share() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}", nobody.local_addr().unwrap());
    let shelf = Shelf::with(&["villain", "noop"]);
    let bystander = Bystander::of(&shelf);
    let villain = shelf
        .load("villain.VillainBackend", &json!({ "base_url": base_url }))
        .unwrap();
    let accepted = async {
        let mut connections = Vec::new();
        loop {
            connections.push(nobody.accept().await.unwrap());
            assert!(connections.len() <= REQUESTS_AT_ONCE);
            if connections.len() == REQUESTS_AT_ONCE {
                // None of the others comes, however long the call goes on.
                let more = tokio::time::timeout(Duration::from_millis(200), nobody.accept()).await;
                assert!(more.is_err(), "one of the other 136 is there");
                return;
            }
        }
    };
    let (to, call) = (alice(), call_within(Duration::from_secs(60)));
    tokio::select! {
        outcome = villain.send_sms(&to, "crowd", call) => panic!("{outcome:?}"),
        () = accepted => {}
    }
    bystander.lost_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn its_manifest_names_a_backend_that_it_does_not_have() {
    let shelf = Shelf::with(&["noop"]);
    let bystander = Bystander::of(&shelf);
    let lie = rewritten(
        "villain",
        "\"name\":\"VillainBackend\"",
        "\"name\":\"VillainBackenD\"",
    );
    shelf.put("villain", &lie);
    let refusals = shelf.load("villain.VillainBackenD", &json!({})).unwrap_err();
    assert_eq!(refusals[0].code, code::NOT_CONSTRUCTED);
    let sentence = "this library has no backend named VillainBackenD";
    assert!(refusals[0].sentence.contains(sentence), "{refusals:?}");
    bystander.lost_nothing().await;
}
