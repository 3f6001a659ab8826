//! Counters: exact whoever counts, and gone when nothing in them counts any more.

use std::{net::IpAddr, sync::Arc, time::Duration};

use futures_util::future::join_all;

use super::desk::{Desk, MILLISECOND, Session, failed, number, sent, tried};
use crate::{
    model::{ClientAddress, FailureClass, Limit, LimitReached, PhoneNumber},
    store::{Begun, Counted, Counter},
};

const HOUR: Duration = Duration::from_secs(3600);
const MAX: u64 = 3;

fn limit(code: &'static str, max: u64) -> Arc<[Limit]> {
    [Limit::new(code, max, HOUR)].into()
}

/// Counts all that register from now on: up to [`MAX`] in all, and as many from one address.
fn counted(desk: &mut Desk) {
    let address = ClientAddress::from(IpAddr::from([192, 0, 2, 1]));
    let keys = desk.keyring.counter_keys(&number(0), Some(address));
    desk.counters = [
        Counter {
            counted: Counted::Service,
            key: Counted::Service.in_public(""),
            amount: 1,
            limits: limit("service", MAX),
        },
        Counter {
            counted: Counted::Address,
            key: keys.address(Counted::Address).unwrap(),
            amount: 1,
            limits: limit("address", MAX + 1),
        },
    ]
    .into();
}

async fn refused(desk: &Desk, number: &PhoneNumber) -> Option<LimitReached> {
    match desk.try_register(number).await {
        Ok(_) => None,
        Err(Begun::LimitReached(reached)) => Some(reached),
        Err(other) => panic!("{other:?}"),
    }
}

async fn register_all(desk: &Desk) -> Vec<Session> {
    let numbers: Vec<_> = (0..64).map(number).collect();
    let all = join_all(numbers.iter().map(|number| desk.try_register(number))).await;
    all.into_iter().filter_map(Result::ok).collect()
}

pub async fn as_many_begin_at_once_as_a_limit_allows(desk: &mut Desk) {
    counted(desk);
    assert_eq!(register_all(desk).await.len() as u64, MAX);
    desk.clock.advance(HOUR.saturating_sub(MILLISECOND));
    assert_eq!(register_all(desk).await.len(), 0);
    desk.clock.advance(MILLISECOND);
    assert_eq!(register_all(desk).await.len() as u64, MAX);
}

pub async fn two_processes_share_a_limit(desk: &mut Desk) {
    counted(desk);
    let other = desk.second();
    let (here, there) = tokio::join!(register_all(desk), register_all(&other));
    assert_eq!((here.len() + there.len()) as u64, MAX);
}

pub async fn a_limit_survives_a_crash(desk: &mut Desk) {
    counted(desk);
    register_all(desk).await;
    let after = desk.after_a_crash();
    let reached = refused(&after, &number(100)).await.unwrap();
    assert_eq!(reached.code, "service");
    assert_eq!(after.clock.now().until(reached.until), HOUR);
}

pub async fn what_is_refused_is_counted_nowhere(desk: &mut Desk) {
    counted(desk);
    register_all(desk).await;
    // The address has room for one more, and none of those that were refused took it.
    let counters = Arc::clone(&desk.counters);
    desk.counters = counters[1..].into();
    assert_eq!(refused(desk, &number(100)).await, None);
    assert_eq!(refused(desk, &number(101)).await.unwrap().code, "address");
    desk.counters = counters;
    // Of two that are reached, the one that lasts longer is told: here the same for both.
    assert_eq!(
        desk.clock
            .now()
            .until(refused(desk, &number(102)).await.unwrap().until),
        HOUR
    );
}

pub async fn a_message_that_was_not_sent_is_taken_back(desk: &mut Desk) {
    counted(desk);
    let sessions = register_all(desk).await;
    desk.clock.advance(MILLISECOND);
    desk.settle(&sessions[0], sent()).await;
    desk.settle(&sessions[1], failed(FailureClass::OutcomeUnknown))
        .await;
    assert_eq!(refused(desk, &number(100)).await.unwrap().code, "service");
    desk.settle(&sessions[2], failed(FailureClass::Transient)).await;
    assert_eq!(refused(desk, &number(101)).await, None);
    // That was the fourth of the address, which stays charged for the one that was not sent.
    assert_eq!(refused(desk, &number(102)).await.unwrap().code, "address");
}

pub async fn a_message_that_its_process_never_tried_is_taken_back_by_the_next(desk: &mut Desk) {
    counted(desk);
    let sessions = register_all(desk).await;
    let untried = [sessions[0].message.clone()];
    desk.store.release_messages(&untried).await.unwrap();
    let mut after = desk.after_a_crash();
    for message in after.taken_over().await {
        let outcome = tried(failed(FailureClass::Transient));
        after
            .store
            .settle_message(&message, &outcome, after.clock.now())
            .await
            .unwrap();
    }
    // The address stays charged for it.
    after.counters = desk.counters[..1].into();
    assert_eq!(refused(&after, &number(100)).await, None);
    assert_eq!(refused(&after, &number(101)).await.unwrap().code, "service");
}

pub async fn what_its_process_never_tried_is_taken_back_once(desk: &mut Desk) {
    let keys = desk.keyring.counter_keys(&number(1), None);
    let of_number = |counted, code, max| Counter {
        counted,
        key: keys.number(),
        amount: 1,
        limits: limit(code, max),
    };
    desk.counters = [
        of_number(Counted::Number, "number", 2),
        of_number(Counted::FailedChecks, "failed_checks", 9),
    ]
    .into();
    let [untried, other] = [desk.register(&number(1)).await, desk.register(&number(1)).await];
    desk.settle(&other, sent()).await;
    desk.store.release_messages(&[untried.message]).await.unwrap();
    let after = desk.after_a_crash();
    for message in after.taken_over().await {
        let outcome = tried(failed(FailureClass::Transient));
        after
            .store
            .settle_message(&message, &outcome, after.clock.now())
            .await
            .unwrap();
    }
    assert_eq!(refused(&after, &number(1)).await, None);
    assert_eq!(refused(&after, &number(1)).await.unwrap().code, "number");
}

pub async fn a_message_that_another_process_left_stays_counted(desk: &mut Desk) {
    counted(desk);
    register_all(desk).await;
    let after = desk.after_a_crash();
    for message in after.taken_over().await {
        let outcome = tried(failed(FailureClass::Transient));
        after
            .store
            .settle_message(&message, &outcome, after.clock.now())
            .await
            .unwrap();
    }
    assert_eq!(refused(&after, &number(100)).await.unwrap().code, "service");
}
