//! What a library prints is in the host's log, without what nobody may read.

use serde_json::json;

use super::{
    calls::Log,
    shelf::{send, villain},
};

#[tokio::test]
async fn secrets_codes_and_numbers_are_masked_in_the_log_and_in_the_cause_of_a_crash() {
    let (log, _guard) = Log::of_this_thread();
    let villain = villain(&json!({ "SECRET": "s3cret-value" }));
    send(&villain, "print Your code is 482913.").await.unwrap_err();
    let failure = send(&villain, "print abort 482913").await.unwrap_err();
    assert!(
        failure.message.contains("it last wrote: told +13****34"),
        "{failure}"
    );
    let lines = log.text();
    let line = lines.lines().find(|line| line.contains("told")).expect(&lines);
    assert!(line.contains("plugin=\"villain\""), "{line}");
    for secret in ["s3cret-value", "482913", "3478379634"] {
        assert!(!lines.contains(secret), "{lines}");
        assert!(!failure.to_string().contains(secret), "{failure}");
    }
}
