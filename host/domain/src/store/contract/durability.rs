//! What is stored.

use futures_util::future::join_all;

use super::desk::{Desk, number, sent};
use crate::model::Verdict;

pub async fn what_was_acknowledged_survives_a_crash(desk: &Desk) {
    let numbers: Vec<_> = (0..200).map(number).collect();
    let sessions = join_all(numbers.iter().map(|number| desk.register(number))).await;
    for session in &sessions[..50] {
        assert_eq!(desk.check(session, &session.code).await, Verdict::Valid);
    }
    let after = desk.after_a_crash();
    for (n, session) in sessions.iter().enumerate() {
        let expected = if n < 50 {
            Verdict::AlreadyVerified
        } else {
            Verdict::Valid
        };
        assert_eq!(after.check(session, &session.code).await, expected);
    }
    // None was settled; those that were verified need no SMS any more.
    let after = desk.after_a_crash();
    let mut again = after.taken_over().await;
    again.extend(after.taken_over().await);
    assert_eq!(again.len(), 150);
    assert!(after.taken_over().await.is_empty());
}

pub async fn nothing_readable_is_stored(desk: &Desk) {
    let session = desk.register(&number(1)).await;
    desk.check_wrong(&session).await;
    let job = desk.keyring.job_id(&[number(2)], "The shop is closed", "");
    let text = "The shop is closed".to_owned();
    desk.store
        .begin_bulk(job, vec![number(2)], text, desk.clock.now())
        .await
        .unwrap();
    desk.settle(&session, sent()).await;
    let token = desk.keyring.session_token(session.id, &number(1));
    let (first, second) = (number(1), number(2));
    let secrets = [
        session.code.expose(),
        token.expose(),
        &first.e164()[1..],
        &second.e164()[1..],
        "Your code is",
        "The shop is",
    ];
    for (name, bytes) in desk.engine.stored() {
        for secret in secrets {
            let found = bytes
                .windows(secret.len())
                .any(|window| window == secret.as_bytes());
            assert!(!found, "{secret} is in {name}");
        }
    }
}

pub async fn it_says_whether_it_can_write(desk: &Desk) {
    desk.store.ready().await.unwrap();
    desk.store.ready().await.unwrap();
}
