//! The plugin directory of the loading stories, whose libraries run in worker processes here.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use phone_verify::{
    backends::{Backend, Isolation, IsolationRules},
    model::SendFailure,
};
use phone_verify_tests::artifacts;
use serde_json::{Value, json};
use tokio::task::JoinSet;

pub(super) use crate::loading::shelf::{alice, built, call, call_within, code, number};

pub(super) type Shelf = crate::loading::shelf::Shelves<true>;

/// Every library in a worker of the program as it is built.
pub(super) fn workers() -> IsolationRules {
    IsolationRules {
        default: Isolation::Worker,
        worker_program: Some(artifacts::program()),
        ..IsolationRules::default()
    }
}

/// A villain, loaded.
pub(super) fn villain(options: &Value) -> Backend {
    Shelf::with(&["villain"])
        .load("villain.VillainBackend", options)
        .unwrap()
}

/// Sends a message to alice within five seconds; the answer is the provider's message id.
pub(super) async fn send(backend: &Backend, message: &str) -> Result<String, SendFailure> {
    let call = call_within(Duration::from_secs(5));
    let receipt = backend.send_sms(&alice(), message, call).await?;
    Ok(receipt.message_id.unwrap_or_default())
}

/// Calls of another backend that go on all the time.
pub(super) struct Bystander {
    is_over: Arc<AtomicBool>,
    calls: JoinSet<usize>,
}

impl Bystander {
    /// Loads it from the same shelf, so that it has the same loader.
    pub(super) fn of(shelf: &Shelf) -> Self {
        let backend = Arc::new(shelf.load("noop.NoopBackend", &json!({})).unwrap());
        let is_over = Arc::new(AtomicBool::new(false));
        let mut calls = JoinSet::new();
        for _ in 0..4 {
            let (backend, is_over) = (Arc::clone(&backend), Arc::clone(&is_over));
            calls.spawn(async move {
                let mut sent = 0;
                while !is_over.load(Ordering::Relaxed) {
                    let outcome = backend.send_sms(&alice(), "hello", call()).await;
                    assert!(outcome.is_ok(), "the bystander lost a call: {outcome:?}");
                    sent += 1;
                }
                sent
            });
        }
        Self { is_over, calls }
    }

    /// None of its calls was lost, and there were some.
    pub(super) async fn lost_nothing(self) {
        self.is_over.store(true, Ordering::Relaxed);
        for sent in self.calls.join_all().await {
            assert!(sent > 0, "the bystander made no call");
        }
    }
}
