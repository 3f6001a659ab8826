//! Runs a bulk job to its end, or until it is interrupted. The job is in the store, so it goes on where it
//! stood.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::{StreamExt, stream};
use tokio_util::sync::CancellationToken;

use super::{Limits, Sender, Settled};
use crate::{
    clock::Clock,
    model::{FailureClass, Outcome, PhoneNumber, SendFailure},
    store::{BulkBatch, BulkProgress, JobId, Store, StoreError},
};

/// Numbers in one batch, and the most that a backend's own bulk call gets.
const BATCH: u32 = 200;

/// Sends what is waiting in the job. `progress` hears how far it is after each batch. When `stop` is cancelled,
/// calls under way finish, the rest goes back to waiting. Returns how far the job is.
pub async fn run(
    job: JobId,
    store: &Arc<dyn Store>,
    sender: &Arc<dyn Sender>,
    limits: Limits,
    clock: &Clock,
    stop: &CancellationToken,
    mut progress: impl FnMut(BulkProgress),
) -> Result<BulkProgress, StoreError> {
    let lease = limits.lease() + limits.send_timeout * BATCH;
    while !stop.is_cancelled() {
        let Some(batch) = store.lease_bulk(job, clock.now(), lease, BATCH).await? else {
            break;
        };
        let (outcomes, untried) = send_batch(&batch, job, sender, limits, stop).await;
        store.settle_bulk(job, outcomes).await?;
        store.release_bulk(job, untried).await?;
        progress(store.bulk_progress(job).await?);
    }
    store.bulk_progress(job).await
}

/// Returns the outcomes, and the items that were not tried.
async fn send_batch(
    batch: &BulkBatch,
    job: JobId,
    sender: &Arc<dyn Sender>,
    limits: Limits,
    stop: &CancellationToken,
) -> (Vec<(u64, Outcome)>, Vec<u64>) {
    let numbers: Vec<PhoneNumber> = batch.items.iter().map(|(_, number)| number.clone()).collect();
    let reported = Arc::new(Mutex::new(vec![None; numbers.len()]));
    let settled: Settled = {
        let reported = Arc::clone(&reported);
        Arc::new(move |place: usize, outcome: Outcome| {
            let mut reported = reported.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(entry @ None) = reported.get_mut(place) {
                *entry = Some(outcome);
            }
        })
    };
    let items = || batch.items.iter().map(|(item, _)| *item);
    let time_limit = limits.send_timeout * u32::try_from(numbers.len()).unwrap_or(u32::MAX);
    if sender
        .send_bulk(&numbers, &batch.message, time_limit, settled)
        .await
    {
        let reported = std::mem::take(&mut *reported.lock().unwrap_or_else(PoisonError::into_inner));
        let outcomes = reported
            .into_iter()
            .map(|outcome| outcome.unwrap_or_else(|| Err(not_reported())));
        return (items().zip(outcomes).collect(), Vec::new());
    }
    let (mut outcomes, mut untried) = (Vec::new(), Vec::new());
    let mut sends = stream::iter(&batch.items)
        .map(|(item, number)| async move {
            if stop.is_cancelled() {
                return (*item, None);
            }
            let key = format!("{job}-{item}");
            (
                *item,
                Some(send_one(sender, number, &batch.message, &key, limits).await),
            )
        })
        .buffer_unordered(limits.concurrency);
    while let Some((item, outcome)) = sends.next().await {
        match outcome {
            Some(outcome) => outcomes.push((item, outcome)),
            None => untried.push(item),
        }
    }
    (outcomes, untried)
}

/// A bulk job has time: a throttling provider is waited for, a few times.
async fn send_one(
    sender: &Arc<dyn Sender>,
    number: &PhoneNumber,
    text: &str,
    key: &str,
    limits: Limits,
) -> Outcome {
    const MAX_TRIES: u32 = 5;
    let mut tries = 1;
    loop {
        let outcome = sender.send_one(number, text, key, limits.send_timeout).await;
        match &outcome {
            Err(failure) if failure.class.may_be_retried() && tries < MAX_TRIES => {
                let pause = failure.retry_after.unwrap_or(Duration::from_millis(250) * tries);
                tokio::time::sleep(pause.min(limits.total_timeout)).await;
                tries += 1;
            }
            _ => return outcome,
        }
    }
}

fn not_reported() -> SendFailure {
    SendFailure::new(
        FailureClass::OutcomeUnknown,
        "not_reported",
        "the backend did not say what became of this number",
    )
}
