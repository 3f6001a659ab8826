//! What a library prints is in the host's log, without what nobody may read.

use std::{
    io,
    sync::{Arc, Mutex},
};

use serde_json::json;

use super::shelf::{send, villain};

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn secrets_codes_and_numbers_are_masked_in_the_log_and_in_the_cause_of_a_crash() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(move || writer.clone())
        .with_ansi(false)
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let villain = villain(&json!({ "SECRET": "s3cret-value" }));
    send(&villain, "print Your code is 482913.").await.unwrap_err();
    let failure = send(&villain, "print abort 482913").await.unwrap_err();
    assert!(
        failure.message.contains("it last wrote: told +13****34"),
        "{failure}"
    );
    let lines = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let line = lines.lines().find(|line| line.contains("told")).expect(&lines);
    assert!(line.contains("plugin=\"villain\""), "{line}");
    for secret in ["s3cret-value", "482913", "3478379634"] {
        assert!(!lines.contains(secret), "{lines}");
        assert!(!failure.to_string().contains(secret), "{failure}");
    }
}
