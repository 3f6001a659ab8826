//! Bulk jobs: a number is texted by one run, and never twice when that is not known.

use super::desk::{Desk, MILLISECOND, failed, number, sent};
use crate::{
    entropy::Entropy,
    model::{FailureClass, PhoneNumber},
    store::{BulkBatch, BulkLease, BulkProgress, JobId, RunId},
};

/// How long a run has a job without a sign of life.
const LEASE: std::time::Duration = std::time::Duration::from_secs(60);

const TEXT: &str = "The shop is closed on Monday";

async fn job(desk: &Desk, count: u32) -> JobId {
    let numbers: Vec<PhoneNumber> = (0..count).map(number).collect();
    let job = desk.keyring.job_id(&numbers, TEXT, "");
    let begun = desk
        .store
        .begin_bulk(job, numbers, TEXT.to_owned(), desk.clock.now())
        .await;
    assert!(begun.unwrap());
    job
}

fn run() -> RunId {
    RunId::generate(&Entropy::system()).unwrap()
}

async fn lease(desk: &Desk, job: JobId, run: RunId, limit: u32) -> BulkLease {
    desk.store
        .lease_bulk(job, run, desk.clock.now(), LEASE, limit)
        .await
        .unwrap()
}

async fn batch(desk: &Desk, job: JobId, run: RunId, limit: u32) -> BulkBatch {
    match lease(desk, job, run, limit).await {
        BulkLease::Batch(batch) => batch,
        _ => panic!("numbers wait"),
    }
}

async fn progress(desk: &Desk, job: JobId) -> BulkProgress {
    desk.store.bulk_progress(job).await.unwrap()
}

pub async fn a_job_is_begun_once(desk: &Desk) {
    let job = job(desk, 3).await;
    let numbers: Vec<PhoneNumber> = (0..3).map(number).collect();
    assert_eq!(desk.keyring.job_id(&numbers, TEXT, ""), job);
    let reversed: Vec<PhoneNumber> = numbers.iter().rev().cloned().collect();
    assert_eq!(desk.keyring.job_id(&reversed, TEXT, ""), job);
    assert_ne!(desk.keyring.job_id(&numbers, TEXT, "again"), job);
    assert_ne!(desk.keyring.job_id(&numbers[..2], TEXT, ""), job);
    assert!(
        !desk
            .store
            .begin_bulk(job, numbers, TEXT.to_owned(), desk.clock.now())
            .await
            .unwrap()
    );
    assert_eq!(
        progress(desk, job).await,
        BulkProgress {
            total: 3,
            waiting: 3,
            ..BulkProgress::default()
        }
    );
}

pub async fn every_number_is_leased_once_and_settled(desk: &Desk) {
    let (job, run) = (job(desk, 25).await, run());
    let mut seen = Vec::new();
    while let BulkLease::Batch(batch) = lease(desk, job, run, 10).await {
        assert_eq!(batch.message.as_str(), TEXT);
        let outcomes = batch.items.iter().map(|(item, _)| match item % 5 {
            0 => (*item, Some(failed(FailureClass::InvalidNumber))),
            1 => (*item, Some(failed(FailureClass::OutcomeUnknown))),
            _ => (*item, Some(sent())),
        });
        desk.store.settle_bulk(job, outcomes.collect()).await.unwrap();
        seen.extend(batch.items.into_iter().map(|(_, number)| number));
    }
    assert_eq!(seen, (0..25).map(number).collect::<Vec<_>>());
    let reached = BulkProgress {
        total: 25,
        sent: 15,
        failed: 5,
        unknown: 5,
        waiting: 0,
    };
    assert_eq!(progress(desk, job).await, reached);
    let failures = desk.store.bulk_failures(job).await.unwrap();
    assert_eq!(failures.len(), 10);
    assert_eq!(failures[0].number, number(0));
    assert_eq!(
        (failures[0].class.as_str(), failures[0].code.as_str()),
        ("invalid_number", "test")
    );
    assert_eq!(failures[1].class, "outcome_unknown");
}

pub async fn one_run_at_a_time_has_a_job(desk: &Desk) {
    let (job, first, second) = (job(desk, 25).await, run(), run());
    batch(desk, job, first, 10).await;
    let until = desk.clock.now().plus(LEASE);
    let held = lease(desk, job, second, 10).await;
    assert!(matches!(held, BulkLease::HeldByAnother { until: then } if then == until));
    desk.clock.advance(LEASE);
    assert!(
        desk.store
            .renew_bulk(job, first, desk.clock.now().plus(LEASE))
            .await
            .unwrap()
    );
    desk.clock.advance(MILLISECOND);
    assert!(matches!(
        lease(desk, job, second, 10).await,
        BulkLease::HeldByAnother { .. }
    ));
    assert!(
        !desk
            .store
            .renew_bulk(job, second, desk.clock.now())
            .await
            .unwrap()
    );
}

pub async fn what_a_dead_run_had_under_way_is_unknown(desk: &Desk) {
    let (job, dead, next) = (job(desk, 25).await, run(), run());
    let had = batch(desk, job, dead, 10).await.items;
    desk.store
        .settle_bulk(job, vec![(had[0].0, Some(sent()))])
        .await
        .unwrap();
    desk.clock.advance(LEASE + MILLISECOND);
    let got = batch(desk, job, next, 100).await.items;
    assert_eq!(got.len(), 15);
    assert!(
        got.iter()
            .all(|(item, _)| had.iter().all(|(other, _)| other != item))
    );
    let reached = BulkProgress {
        total: 25,
        sent: 1,
        unknown: 9,
        waiting: 15,
        failed: 0,
    };
    assert_eq!(progress(desk, job).await, reached);
    assert_eq!(
        desk.store.bulk_failures(job).await.unwrap()[0].code,
        "interrupted"
    );
}

pub async fn a_run_that_ended_leaves_the_job_to_the_next(desk: &Desk) {
    let (job, first, second) = (job(desk, 25).await, run(), run());
    let items = batch(desk, job, first, 10).await.items;
    let outcomes = items
        .iter()
        .skip(1)
        .map(|(item, _)| (*item, Some(sent())))
        .collect();
    desk.store.settle_bulk(job, outcomes).await.unwrap();
    desk.store.end_bulk_run(job, second).await.unwrap();
    assert!(matches!(
        lease(desk, job, second, 10).await,
        BulkLease::HeldByAnother { .. }
    ));
    desk.store.end_bulk_run(job, first).await.unwrap();
    assert_eq!(progress(desk, job).await.unknown, 1, "leased and not settled");
    assert_eq!(batch(desk, job, second, 10).await.items.len(), 10);
}

pub async fn what_was_not_sent_waits_again(desk: &Desk) {
    let (job, run) = (job(desk, 3).await, run());
    let first = batch(desk, job, run, 2).await.items;
    desk.store
        .settle_bulk(job, vec![(first[0].0, None)])
        .await
        .unwrap();
    let second = batch(desk, job, run, 10).await.items;
    assert_eq!(
        second.iter().map(|(item, _)| *item).collect::<Vec<_>>(),
        [first[0].0, 2]
    );
}

pub async fn a_late_outcome_is_better_than_none(desk: &Desk) {
    let (job, slow, next) = (job(desk, 2).await, run(), run());
    let items = batch(desk, job, slow, 1).await.items;
    desk.clock.advance(LEASE + MILLISECOND);
    batch(desk, job, next, 1).await;
    assert_eq!(progress(desk, job).await.unknown, 1);
    desk.store
        .settle_bulk(job, vec![(items[0].0, Some(sent()))])
        .await
        .unwrap();
    // Once it is known, nothing changes it.
    let late = vec![(items[0].0, Some(failed(FailureClass::Transient)))];
    desk.store.settle_bulk(job, late).await.unwrap();
    let reached = progress(desk, job).await;
    assert_eq!((reached.sent, reached.unknown, reached.failed), (1, 0, 0));
}
