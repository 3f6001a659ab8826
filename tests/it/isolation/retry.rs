//! A process that dies in the middle of a send: the call is made again if nothing can have been sent, and never if
//! something can have been.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use axum::{Router, routing::post};
use phone_verify::model::{FailureClass, SecurityCode, SendFailure, Verdict};
use phone_verify_plugin_host::{Backend, BaseCalls, Call, code};
use serde_json::json;
use tokio::net::TcpListener;

use super::shelf::{Shelf, alice, call, code, send};

/// A provider that counts.
async fn provider() -> (Arc<AtomicUsize>, Backend) {
    let inbox = Arc::new(AtomicUsize::new(0));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}", listener.local_addr().unwrap());
    let counted = Arc::clone(&inbox);
    let router = Router::new().route(
        "/sms",
        post(async move || {
            counted.fetch_add(1, Ordering::SeqCst);
            "taken"
        }),
    );
    tokio::spawn(async move { axum::serve(listener, router).await });
    let villain = Shelf::with(&["villain"])
        .load("villain.VillainBackend", &json!({ "base_url": base_url }))
        .unwrap();
    (inbox, villain)
}

/// A base by which the library knows which try it is in.
#[derive(Default)]
struct Tries(AtomicUsize);

#[async_trait::async_trait]
impl BaseCalls for Tries {
    fn security_code(&self) -> Result<SecurityCode, SendFailure> {
        let tries = self.0.fetch_add(1, Ordering::SeqCst) + 1;
        Ok(code(&format!("{tries:06}")))
    }

    fn message(&self, code: &SecurityCode) -> String {
        code.expose().to_owned()
    }

    async fn validate(&self, _code: &SecurityCode) -> Option<Result<Verdict, SendFailure>> {
        None
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_before_any_request_is_made_good_and_the_sms_is_sent_once() {
    let (inbox, villain) = provider().await;
    for attack in ["abort", "exit", "segfault", "overflow"] {
        let call = Call {
            base: Arc::new(Tries::default()),
            ..call()
        };
        let before = inbox.load(Ordering::SeqCst);
        let receipt = villain.send_sms(&alice(), &format!("once {attack}"), call).await;
        assert_eq!(
            receipt.unwrap().message_id.as_deref(),
            Some("200 taken"),
            "{attack}"
        );
        assert_eq!(inbox.load(Ordering::SeqCst), before + 1, "{attack}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_after_a_request_leaves_the_outcome_unknown_and_the_sms_is_sent_once() {
    let (inbox, villain) = provider().await;
    let failure = send(&villain, "fetch-then abort").await.unwrap_err();
    assert_eq!(failure.class, FailureClass::OutcomeUnknown);
    assert_eq!(failure.code, code::WORKER_DIED);
    assert_eq!(inbox.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_beside_the_one_that_crashed_are_made_again_too() {
    let (inbox, villain) = provider().await;
    let villain = Arc::new(villain);
    let calls = (0..8).map(|_| {
        let villain = Arc::clone(&villain);
        tokio::spawn(async move { send(&villain, "fetch /sms").await })
    });
    let calls: Vec<_> = calls.collect();
    let crash = send(&villain, "attack abort").await;
    assert_eq!(crash.unwrap_err().class, FailureClass::Internal);
    let mut sent = 0;
    let mut unknown = 0;
    for call in calls {
        match call.await.unwrap() {
            Ok(_) => sent += 1,
            Err(failure) => {
                // Its own second process was ended by the crash's second try, or it had asked already.
                assert!(
                    [FailureClass::OutcomeUnknown, FailureClass::Internal].contains(&failure.class),
                    "{failure}"
                );
                unknown += 1;
            }
        }
    }
    assert_eq!(sent + unknown, 8);
    let taken = inbox.load(Ordering::SeqCst);
    assert!(
        (sent..=8).contains(&taken),
        "{taken} taken, {sent} told to be sent"
    );
}
