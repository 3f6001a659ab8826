//! P7: worker processes, when a library is loaded and when it is called.

use std::{fs, os::unix::fs::PermissionsExt, time::Duration};

use phone_verify::model::SendFailure;
use phone_verify_plugin_host::IsolationRules;
use serde_json::json;

use super::Told;
use crate::isolation::shelf::{Shelf, alice, built, call_within, send, workers};

fn failure(told: &mut Told, shelf: &Shelf, failure: &SendFailure) {
    told.line(shelf.folder(), &failure.code, &failure.message);
}

#[tokio::test(flavor = "multi_thread")]
async fn worker_processes() {
    let mut told = Told::nothing();
    let of_attack = async |told: &mut Told, attack: &str| {
        let shelf = Shelf::with(&["villain"]);
        let villain = shelf.load("villain.VillainBackend", &json!({})).unwrap();
        let call = call_within(Duration::from_secs(30));
        let message = format!("attack {attack}");
        let found = villain.send_sms(&alice(), &message, call).await.unwrap_err();
        failure(told, &shelf, &found);
    };
    for attack in ["abort", "allocate", "scribble"] {
        of_attack(&mut told, attack).await;
    }

    // Of a call beside others that are given up. It is made again once, and dies of the next.
    let shelf = Shelf::with(&["villain"]);
    let villain = shelf.load("villain.VillainBackend", &json!({})).unwrap();
    let spinning = async {
        loop {
            let briefly = call_within(Duration::from_millis(100));
            let _ = villain.send_sms(&alice(), "attack spin", briefly).await;
        }
    };
    let number = alice();
    let beside = villain.send_sms(&number, "hang", call_within(Duration::from_secs(30)));
    let found = tokio::select! {
        sent = beside => sent.unwrap_err(),
        () = spinning => unreachable!(),
    };
    failure(&mut told, &shelf, &found);

    let shelf = Shelf::with(&["villain"]);
    let villain = shelf.load("villain.VillainBackend", &json!({})).unwrap();
    for _ in 0..3 {
        send(&villain, "attack abort").await.unwrap_err();
    }
    let mut quarantined = Told::nothing();
    failure(
        &mut quarantined,
        &shelf,
        &send(&villain, "hello").await.unwrap_err(),
    );
    let sentence = quarantined.text();
    let left = sentence
        .split("for another ")
        .nth(1)
        .unwrap()
        .split(' ')
        .next()
        .unwrap()
        .to_owned();
    told.lines
        .push(sentence.replace(&format!("another {left} s"), "another <n> s"));

    // The constructor of the file itself, which runs while it is opened.
    let mut bytes = built("villain");
    let fuse = b"constructor:calm";
    let at = bytes.windows(fuse.len()).position(|word| word == fuse).unwrap();
    bytes[at..at + fuse.len()].copy_from_slice(b"constructor:spin");
    let shelf = Shelf::empty();
    shelf.put("villain", &bytes);
    let refusals = shelf.load("villain.VillainBackend", &json!({})).unwrap_err();
    told.refusals(shelf.folder(), refusals);

    let nobody = IsolationRules {
        worker_program: Some("/no/such/program".into()),
        ..workers()
    };
    let shelf = Shelf::isolated(false, nobody);
    shelf.put("noop", &built("noop"));
    told.refusals(
        shelf.folder(),
        shelf.load("noop.NoopBackend", &json!({})).unwrap_err(),
    );

    // What ends before it has opened anything.
    for script in [
        "kill -KILL $$",
        "exit 3",
        "echo memory allocation of 64 bytes failed; kill -ABRT $$",
    ] {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("program");
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let ends_early = IsolationRules {
            worker_program: Some(program),
            ..workers()
        };
        let shelf = Shelf::isolated(false, ends_early);
        shelf.put("noop", &built("noop"));
        told.refusals(
            shelf.folder(),
            shelf.load("noop.NoopBackend", &json!({})).unwrap_err(),
        );
    }
    insta::assert_snapshot!(told.text());
}
