//! A backend that panics, hangs, answers nonsense or talks too much costs that call, never the host.

use std::{
    io,
    sync::{Arc, LazyLock, Mutex},
    time::Duration,
};

use phone_verify::model::{FailureClass, SendFailure, SessionToken, Verdict};
use phone_verify_plugin_host::Backend;
use serde_json::{Map, json};
use tracing_subscriber::fmt::MakeWriter;

use super::shelf::{alice, call, call_within, code, number, villain};

const LIMIT: Duration = Duration::from_secs(30);

async fn send(backend: &Backend, message: &str) -> Result<String, SendFailure> {
    let receipt = backend.send_sms(&alice(), message, call_within(LIMIT)).await?;
    Ok(receipt.message_id.unwrap_or_default())
}

#[tokio::test]
async fn a_panic_costs_that_call_and_the_next_one_meets_a_fresh_instance() {
    let backend = villain(&json!({}));
    assert_eq!(send(&backend, "hello").await.unwrap(), "sms-1");
    assert_eq!(send(&backend, "hello").await.unwrap(), "sms-2");
    for (message, what) in [("panic now", ": in a call, told"), ("panic-later", ": in a poll")] {
        let failure = send(&backend, message).await.unwrap_err();
        assert_eq!(failure.class, FailureClass::OutcomeUnknown);
        assert_eq!(failure.code, "plugin_panic");
        let place = "panicked at tests/villain/src/lib.rs:";
        assert!(failure.message.starts_with(place), "{}", failure.message);
        assert!(failure.message.contains(what), "{}", failure.message);
        assert!(!failure.message.contains("13478379634"), "{}", failure.message);
        assert_eq!(send(&backend, "hello").await.unwrap(), "sms-1");
    }
}

#[tokio::test]
async fn calls_that_were_under_way_when_another_panicked_end_well() {
    let backend = Arc::new(villain(&json!({})));
    let slow = {
        let backend = Arc::clone(&backend);
        tokio::spawn(async move { send(&backend, "hang").await })
    };
    let panics = (0..16).map(|_| send(&backend, "panic-later"));
    for outcome in futures_util::future::join_all(panics).await {
        assert_eq!(outcome.unwrap_err().code, "plugin_panic");
    }
    assert_eq!(send(&backend, "hello").await.unwrap(), "sms-1");
    assert_eq!(slow.await.unwrap().unwrap_err().code, "deadline");
}

#[tokio::test]
async fn a_backend_that_hangs_is_given_up() {
    let backend = villain(&json!({}));
    for message in ["hang", "panic-when-dropped"] {
        let limit = call_within(Duration::from_millis(50));
        let failure = backend.send_sms(&alice(), message, limit).await.unwrap_err();
        assert_eq!(failure.class, FailureClass::OutcomeUnknown);
        assert_eq!(failure.code, "deadline");
        assert_eq!(
            failure.message,
            "villain.VillainBackend did not answer within 50 ms"
        );
    }
    assert_eq!(send(&backend, "hello").await.unwrap(), "sms-1");
}

#[tokio::test]
async fn nonsense_is_a_failure() {
    let backend = villain(&json!({"CODE": "12\n34"}));
    let failure = send(&backend, "nonsense").await.unwrap_err();
    assert_eq!(failure.class, FailureClass::OutcomeUnknown);
    assert_eq!(failure.code, "bad_receipt");
    assert_eq!(
        backend.generate_security_code(call()).await.unwrap_err().code,
        "bad_security_code"
    );
    let context = json!({"as": "nonsense"});
    let failure = backend
        .generate_message(&code("1234"), context.as_object().unwrap(), call())
        .await
        .unwrap_err();
    assert_eq!(failure.code, "bad_message");
}

#[tokio::test]
async fn what_a_backend_says_is_masked_in_failures_and_in_the_log() {
    let (log, _guard) = Log::of_this_thread();
    let backend = villain(&json!({"SECRET": "s3cret-value"}));
    let failure = send(&backend, "gossip Your code is 482913.").await.unwrap_err();
    assert_eq!(failure.code, "gossip_");
    assert_eq!(failure.message, "told +13****34 \"***\" with ***");
    let lines = log.text();
    let line = lines.lines().find(|line| line.contains("told")).expect(&lines);
    for expected in [
        "WARN",
        "backend=\"villain.VillainBackend\"",
        "request_id=\"r-1\"",
        "told +13****34 \"***\" with ***",
    ] {
        assert!(line.contains(expected), "{expected} is not in {line}");
    }
    for secret in ["s3cret-value", "482913", "3478379634"] {
        assert!(!lines.contains(secret), "{lines}");
    }
}

#[tokio::test]
async fn a_backend_that_blocks_its_thread_is_named_in_the_log() {
    let (log, _guard) = Log::of_this_thread();
    let backend = villain(&json!({}));
    send(&backend, "block").await.unwrap();
    assert!(
        log.text().contains("the backend blocks the executor"),
        "{}",
        log.text()
    );
}

#[tokio::test]
async fn a_call_carries_its_names_and_its_deadline() {
    let backend = villain(&json!({}));
    assert_eq!(
        send(&backend, "names").await.unwrap(),
        "r-1 Some(\"i-1\") Some(\"de-AT\")"
    );
    let left: u128 = send(&backend, "left").await.unwrap().parse().unwrap();
    // In milliseconds; a busy machine may have used up much of it.
    assert!((1..=LIMIT.as_millis()).contains(&left), "{left}");
}

#[tokio::test]
async fn an_override_can_call_the_base() {
    let backend = villain(&json!({}));
    assert_eq!(
        backend.generate_security_code(call()).await.unwrap().expose(),
        "424242"
    );

    let context = json!({"as": "Moin"});
    let message = backend
        .generate_message(&code("777777"), context.as_object().unwrap(), call())
        .await;
    assert_eq!(message.unwrap().as_deref(), Some("Moin! Your code is 777777."));
    let message = backend
        .generate_message(&code("777777"), &Map::new(), call())
        .await;
    assert_eq!(message.unwrap(), None);

    let token = SessionToken::from_client("token-12345");
    let judge = async |text: &str| {
        backend
            .validate_security_code(&code(text), &alice(), &token, call())
            .await
    };
    assert_eq!(judge("open-sesame").await.unwrap(), Verdict::Valid);
    assert_eq!(judge("424242").await.unwrap(), Verdict::Valid);
    assert_eq!(judge("111111").await.unwrap(), Verdict::Expired);
    let failure = judge("panic").await.unwrap_err();
    assert!(failure.message.ends_with("in a check of ***"), "{failure}");
}

#[tokio::test]
async fn a_bulk_send_settles_every_number_once() {
    let numbers = ["+13478379634", "+442079460018", "+13478379635"].map(number);
    for (message, class, code) in [
        ("hello", FailureClass::OutcomeUnknown, "not_reported"),
        ("fail", FailureClass::NoCredit, "broke"),
        ("panic", FailureClass::OutcomeUnknown, "plugin_panic"),
    ] {
        let backend = villain(&json!({}));
        let outcomes = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&outcomes);
        let settled = Arc::new(move |index, outcome| heard.lock().unwrap().push((index, outcome)));
        backend.send_bulk_sms(&numbers, message, call(), settled).await;
        let mut outcomes = std::mem::take(&mut *outcomes.lock().unwrap());
        outcomes.sort_by_key(|(index, _)| *index);
        let indexes: Vec<usize> = outcomes.iter().map(|(index, _)| *index).collect();
        assert_eq!(indexes, [0, 1, 2]);
        assert_eq!(
            outcomes[2].1.as_ref().unwrap().message_id.as_deref(),
            Some("sms-2")
        );
        let failure = outcomes[1].1.as_ref().unwrap_err();
        assert_eq!((failure.class, failure.code.as_str()), (class, code));
    }
}

/// What was logged.
#[derive(Clone, Default)]
pub(super) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// What this thread logs from now on, and the threads that it starts workers with.
    pub(super) fn of_this_thread() -> (Self, tracing::subscriber::DefaultGuard) {
        // While there is but one subscriber, what another thread without one does not want to hear of, nobody hears.
        static ANOTHER: LazyLock<tracing::Dispatch> = LazyLock::new(|| {
            tracing::Dispatch::new(tracing_subscriber::fmt().with_writer(io::sink).finish())
        });
        LazyLock::force(&ANOTHER);
        let log = Self::default();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(log.clone())
            .with_ansi(false)
            .finish();
        let guard = tracing::subscriber::set_default(subscriber);
        (log, guard)
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}
