//! The life of worker processes: started when needed, ended when idle, given up when they do nothing but crash.

use std::time::Duration;

use phone_verify::model::FailureClass;
use phone_verify_plugin_host::{Isolation, IsolationMode, IsolationRules, code};
use serde_json::json;

use super::shelf::{Shelf, built, send, workers};

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_process_ends_and_the_next_call_has_another() {
    let shelf = Shelf::isolated(
        false,
        IsolationRules {
            idle_stop: Duration::from_millis(50),
            ..workers()
        },
    );
    shelf.put("villain", &built("villain"));
    let villain = shelf.load("villain.VillainBackend", &json!({})).unwrap();
    let mut before = send(&villain, "hello").await.unwrap();
    // Its own count begins again with the next process.
    for _ in 0..200 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let now = send(&villain, "hello").await.unwrap();
        if now == "sms-1" && before == "sms-1" {
            return;
        }
        before = now;
    }
    panic!("the process never ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_library_that_does_nothing_but_crash_is_quarantined_until_it_changes() {
    let shelf = Shelf::with(&["villain"]);
    let villain = shelf.load("villain.VillainBackend", &json!({})).unwrap();
    for _ in 0..3 {
        let failure = send(&villain, "attack abort").await.unwrap_err();
        assert_eq!(failure.class, FailureClass::Internal);
    }
    let failure = send(&villain, "hello").await.unwrap_err();
    assert_eq!(failure.class, FailureClass::Internal);
    assert_eq!(failure.code, code::QUARANTINED);
    assert!(
        failure
            .message
            .contains("its worker process crashed 5 times within 60 s, and last was killed by SIGABRT"),
        "{failure}"
    );

    let mut changed = built("villain");
    changed.extend_from_slice(b"fixed");
    shelf.put("villain", &changed);
    let fixed = shelf.load("villain.VillainBackend", &json!({})).unwrap();
    assert_eq!(send(&fixed, "hello").await.unwrap(), "sms-1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_library_that_is_not_bundled_runs_in_a_worker_and_one_trusted_by_its_hash_does_not() {
    let rules = IsolationRules {
        default: Isolation::Auto,
        ..workers()
    };
    let shelf = Shelf::isolated(false, rules.clone());
    shelf.put("noop", &built("noop"));
    let noop = shelf.load("noop.NoopBackend", &json!({})).unwrap();
    assert_eq!(noop.isolation(), IsolationMode::Worker);

    let mut trusting = rules;
    let trusted = trusting.libraries.entry("noop".to_owned()).or_default();
    trusted.sha256 = Some(noop.library_sha256().to_owned());
    let shelf = Shelf::isolated(false, trusting);
    shelf.put("noop", &built("noop"));
    let noop = shelf.load("noop.NoopBackend", &json!({})).unwrap();
    assert_eq!(noop.isolation(), IsolationMode::Inline);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_program_to_run_the_library_is_refused() {
    let shelf = Shelf::isolated(
        false,
        IsolationRules {
            worker_program: Some("/no/such/program".into()),
            ..workers()
        },
    );
    shelf.put("noop", &built("noop"));
    let (code, sentence) = shelf.refusal("noop.NoopBackend");
    assert_eq!(code, code::WORKER_NOT_STARTED);
    assert_eq!(
        sentence,
        "no worker process can be started for libnoop.so (/no/such/program: No such file or directory (os error 2)); set \
         isolation = \"inline\" for a library that you trust"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn options_that_no_frame_holds_are_refused_and_the_process_goes_on() {
    let shelf = Shelf::with(&["villain"]);
    let villain = shelf.load("villain.VillainBackend", &json!({})).unwrap();
    assert_eq!(send(&villain, "hello").await.unwrap(), "sms-1");
    let too_long = json!({ "SECRET": "x".repeat(2 << 20) });
    let refusals = shelf.load("villain.VillainBackend", &too_long).unwrap_err();
    assert_eq!(refusals[0].code, code::NOT_CONSTRUCTED);
    assert_eq!(
        refusals[0].sentence,
        "villain.VillainBackend could not be constructed: its options are longer than 2 MiB, which a worker process does \
         not take; shorten them"
    );
    assert_eq!(send(&villain, "hello").await.unwrap(), "sms-2");
}
