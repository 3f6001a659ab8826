//! What a library prints is in the host's log, without what nobody may read.

use serde_json::json;

use super::{
    calls::Log,
    shelf::{call, send, villain},
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
    assert!(line.contains("library=\"villain\""), "{line}");
    for secret in ["s3cret-value", "482913", "3478379634"] {
        assert!(!lines.contains(secret), "{lines}");
        assert!(!failure.to_string().contains(secret), "{failure}");
    }
}

#[tokio::test]
async fn a_code_is_masked_that_nobody_but_the_library_knows_yet() {
    let (log, _guard) = Log::of_this_thread();
    for made in ["482913", "KXWTRM", "7K4X"] {
        let villain = villain(&json!({ "CODE": made, "PRINTS": true }));
        let code = villain.generate_security_code(call()).await.unwrap();
        assert_eq!(code.expose(), made);
        let lines = log.text();
        for told in [
            "logged when made: ***",
            "fields=\"code=***\"",
            "printed when made: ***",
        ] {
            assert!(lines.contains(told), "{told}: {lines}");
        }
        assert!(!lines.contains(made), "{lines}");
    }
}

#[tokio::test]
async fn a_code_is_masked_that_comes_out_when_its_call_is_over() {
    let (log, _guard) = Log::of_this_thread();
    let villain = villain(&json!({}));
    send(&villain, "mutter Your code is 482913").await.unwrap();
    send(&villain, "print").await.unwrap();
    let lines = log.text();
    assert!(lines.contains("mutter Your code is ***"), "{lines}");
    assert!(!lines.contains("482913"), "{lines}");
}
