//! Messages: sent by one process at a time, and forgotten when they are settled.

use std::time::Duration;

use super::desk::{Desk, LIFETIME, MAX_SESSIONS, MILLISECOND, failed, number, sent};
use crate::model::{FailureClass, Verdict};

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

pub async fn a_message_that_a_dead_process_left_is_sent_once_more(desk: &Desk) {
    let session = desk.register(&number(1)).await;
    let next = desk.after_a_crash();
    let again = next.taken_over().await;
    assert_eq!(again.len(), 1);
    let (again, before) = (&again[0], &session.message);
    assert!(again.id == before.id && again.number == before.number && again.locale == before.locale);
    assert_eq!(again.text, before.text);
    let third = next.after_a_crash();
    assert!(third.taken_over().await.is_empty(), "two processes died over it");
    assert_eq!(third.check(&session, &session.code).await, Verdict::Valid);
}

pub async fn a_message_of_a_living_process_is_nobody_elses_whatever_the_time(desk: &Desk) {
    desk.register(&number(1)).await;
    let other = desk.second();
    for step in [0, DAY_MS, -2 * DAY_MS] {
        desk.clock.step(step);
        assert!(desk.taken_over().await.is_empty());
        assert!(other.taken_over().await.is_empty());
    }
    desk.clock.advance(Duration::from_secs(60 * 60));
    assert!(other.taken_over().await.is_empty());
}

pub async fn a_settled_message_is_gone(desk: &Desk) {
    for (n, outcome) in [
        sent(),
        failed(FailureClass::OutcomeUnknown),
        failed(FailureClass::NoCredit),
    ]
    .into_iter()
    .enumerate()
    {
        let session = desk.register(&number(u32::try_from(n).unwrap())).await;
        desk.settle(&session, outcome).await;
    }
    assert!(desk.after_a_crash().taken_over().await.is_empty());
}

pub async fn a_settled_message_is_not_settled_again(desk: &Desk) {
    let session = desk.register(&number(1)).await;
    desk.settle(&session, sent()).await;
    desk.settle(&session, failed(FailureClass::NoCredit)).await;
    assert!(desk.pending(&number(1)).await.is_some());
    assert_eq!(desk.check(&session, &session.code).await, Verdict::Valid);
}

pub async fn a_message_that_its_process_never_tried_may_be_tried_by_two_more(desk: &Desk) {
    let session = desk.register(&number(1)).await;
    desk.store
        .release_messages(std::slice::from_ref(&session.message))
        .await
        .unwrap();
    let second = desk.after_a_crash();
    assert_eq!(second.taken_over().await.len(), 1);
    let third = second.after_a_crash();
    assert_eq!(third.taken_over().await.len(), 1);
    assert!(third.after_a_crash().taken_over().await.is_empty());
}

pub async fn a_message_is_not_sent_once_its_code_expired(desk: &Desk) {
    desk.register(&number(1)).await;
    desk.clock.advance(LIFETIME + MILLISECOND);
    assert!(desk.after_a_crash().taken_over().await.is_empty());
}

pub async fn a_code_that_nobody_got_is_not_pending(desk: &Desk) {
    let session = desk.register(&number(1)).await;
    desk.settle(&session, failed(FailureClass::Transient)).await;
    assert!(desk.pending(&number(1)).await.is_none());
}

pub async fn a_code_that_somebody_may_have_got_stays_pending(desk: &Desk) {
    let first = desk.register(&number(1)).await;
    desk.settle(&first, failed(FailureClass::OutcomeUnknown)).await;
    assert!(desk.pending(&number(1)).await.is_some());
    // The same code to a second session; that it failed there takes nothing from the first.
    let second = desk.register(&number(1)).await;
    desk.settle(&second, failed(FailureClass::Transient)).await;
    assert!(desk.pending(&number(1)).await.is_some());
    // The first one's failure comes last: the second may have got it.
    let [first, second] = [desk.register(&number(2)).await, desk.register(&number(2)).await];
    desk.settle(&second, sent()).await;
    desk.settle(&first, failed(FailureClass::Transient)).await;
    assert!(desk.pending(&number(2)).await.is_some());
}

pub async fn a_message_that_two_tried_may_have_been_sent_by_the_first(desk: &Desk) {
    let session = desk.register(&number(1)).await;
    desk.check_wrong(&session).await;
    let next = desk.after_a_crash();
    assert_eq!(next.taken_over().await.len(), 1);
    next.settle(&session, failed(FailureClass::Transient)).await;
    let pending = next.pending(&number(1)).await.unwrap();
    assert!(pending.code == session.code);
    assert_eq!(next.check(&session, &session.code).await, Verdict::Valid);
}

pub async fn a_session_that_got_no_message_gives_up_its_place(desk: &Desk) {
    let first = desk.register(&number(1)).await;
    for _ in 0..3 * MAX_SESSIONS {
        let refused = desk.register(&number(1)).await;
        desk.settle(&refused, failed(FailureClass::Throttled)).await;
        assert_eq!(
            desk.check(&refused, &refused.code).await,
            Verdict::TooManyAttempts
        );
    }
    // Both that are left fail too, the first one first: nobody has got the code.
    let second = desk.register(&number(1)).await;
    desk.settle(&first, failed(FailureClass::Throttled)).await;
    assert!(desk.pending(&number(1)).await.is_some());
    desk.settle(&second, failed(FailureClass::Throttled)).await;
    assert!(desk.pending(&number(1)).await.is_none());
}
