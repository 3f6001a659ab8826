//! Runs a bulk job to its end, or until it is interrupted. The job is in the store, so that the next run goes
//! on where this one stood.
//!
//! Invariants: one run at a time has a job; a number is leased before it is handed to the backend and settled
//! as soon as its outcome is known, so that after a crash only what was under way is unknown; a number whose
//! outcome is unknown is not texted again.

mod reports;

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{MissedTickBehavior, interval, sleep},
};
use tokio_util::sync::CancellationToken;

use self::reports::{Item, OpenReports};
use crate::{
    clock::Clock,
    entropy::{Entropy, NoEntropy},
    fleet::{Content, Fleet, Members, Settled, Sms},
    model::{FailureClass, Locale, Origin, Outcome, PhoneNumber, SendFailure},
    rules::failover::Failover,
    store::{BulkBatch, BulkFailure, BulkLease, BulkProgress, Destination, JobId, RunId, Store, StoreError},
};

/// The most numbers that one call of a backend's own bulk method gets.
const BATCH: u32 = 200;
/// How long a run has the job without a sign of life: what the next run waits for after a crash.
const LEASE: Duration = Duration::from_secs(15);
const SIGN_OF_LIFE: Duration = Duration::from_secs(5);
/// How often one number is tried while certainly nothing was sent.
const MAX_TRIES: u32 = 5;
/// The first pause between two tries, when the provider names none; it grows with each try.
const PAUSE: Duration = Duration::from_millis(250);
/// Failures in a row, none of them the number's, that end the run: the rest would fail as well.
const MAX_FAILURES_IN_A_ROW: u32 = 50;

/// Why a run ended before its job did.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BulkError {
    /// Another process is sending the same.
    #[error("another process is working on this job; wait for it, or stop it and run this again")]
    HeldByAnother,
    /// The backend refuses all, whatever the number, or cannot be run. What was not sent waits for the next run.
    #[error(
        "nothing can be sent through the backend: {0}; what was not sent waits, run this again when that is put right"
    )]
    BackendDown(SendFailure),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The run cannot be given a name.
    #[error(transparent)]
    NoEntropy(#[from] NoEntropy),
}

/// What runs bulk jobs.
pub struct Bulk {
    /// Where jobs are.
    pub store: Arc<dyn Store>,
    /// The backends.
    pub fleet: Arc<Fleet>,
    /// The longest pause between two tries of one number.
    pub max_pause: Duration,
    /// The time.
    pub clock: Clock,
    /// Names the runs.
    pub entropy: Entropy,
}

struct Run<'a, P> {
    bulk: &'a Bulk,
    job: JobId,
    id: RunId,
    reached: BulkProgress,
    progress: P,
    failures_in_a_row: u32,
    /// Set when no more numbers are to be leased.
    end: Option<BulkError>,
}

impl Bulk {
    /// Sends what waits in the job. `progress` hears how far it is, at first and after every change. When
    /// `stop` is cancelled, what is under way finishes and the rest goes on waiting. Returns how far the job is.
    pub async fn run(
        &self,
        job: JobId,
        stop: &CancellationToken,
        progress: impl FnMut(BulkProgress),
    ) -> Result<BulkProgress, BulkError> {
        let mut run = Run {
            bulk: self,
            job,
            id: RunId::generate(&self.entropy)?,
            reached: BulkProgress::default(),
            progress,
            failures_in_a_row: 0,
            end: None,
        };
        let ended = run.send_all(stop).await;
        self.store.end_bulk_run(job, run.id).await?;
        ended?;
        // What a run before left open counts too, so the store has the last word.
        let reached = self.store.bulk_progress(job).await?;
        (run.progress)(reached);
        run.end.map_or(Ok(reached), Err)
    }
}

impl Bulk {
    /// How far a job is.
    pub async fn progress(&self, job: JobId) -> Result<BulkProgress, StoreError> {
        self.store.bulk_progress(job).await
    }

    /// The numbers of a job that failed, in their order.
    pub async fn failures(&self, job: JobId) -> Result<Vec<BulkFailure>, StoreError> {
        self.store.bulk_failures(job).await
    }
}

impl<P: FnMut(BulkProgress)> Run<'_, P> {
    async fn send_all(&mut self, stop: &CancellationToken) -> Result<(), BulkError> {
        let fleet = &self.bulk.fleet;
        let whole_batches = fleet.for_whole_batches().is_some();
        let at_once = if whole_batches {
            BATCH
        } else {
            concurrency(&fleet.members())
        };
        let mut first = self.take_over(at_once, stop).await?;
        self.reached = self.bulk.store.bulk_progress(self.job).await?;
        (self.progress)(self.reached);

        let (report, mut reports) = mpsc::unbounded_channel();
        let mut calls = JoinSet::new();
        let mut signs_of_life = interval(SIGN_OF_LIFE);
        signs_of_life.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut under_way: u32 = 0;
        let mut waiting = true;
        loop {
            let room = match whole_batches {
                true if under_way == 0 => BATCH,
                true => 0,
                false => at_once.saturating_sub(under_way),
            };
            if room > 0 && waiting && self.end.is_none() && !stop.is_cancelled() {
                let batch = match first.take() {
                    Some(batch) => Some(batch),
                    None => self.lease(room).await?,
                };
                waiting = batch.is_some();
                if let Some(batch) = batch {
                    under_way += u32::try_from(batch.items.len()).unwrap_or(u32::MAX);
                    self.hand_over(batch, &mut calls, &report, stop);
                }
            }
            if under_way == 0 {
                return Ok(());
            }
            let mut settled = Vec::new();
            tokio::select! {
                _ = reports.recv_many(&mut settled, BATCH as usize) => {}
                _ = signs_of_life.tick() => {
                    let until = self.bulk.clock.now().plus(LEASE);
                    if !self.bulk.store.renew_bulk(self.job, self.id, until).await? {
                        self.end = Some(BulkError::HeldByAnother);
                    }
                }
            }
            while calls.try_join_next().is_some() {}
            if !settled.is_empty() {
                under_way -= u32::try_from(settled.len()).unwrap_or(u32::MAX);
                self.settle(settled).await?;
            }
        }
    }

    /// The first numbers. A run that died has the job until its lease lapses; one that lives renews it.
    async fn take_over(
        &mut self,
        limit: u32,
        stop: &CancellationToken,
    ) -> Result<Option<BulkBatch>, BulkError> {
        let mut patience = LEASE + Duration::from_secs(1);
        loop {
            let Bulk { store, clock, .. } = self.bulk;
            match store
                .lease_bulk(self.job, self.id, clock.now(), LEASE, limit)
                .await?
            {
                BulkLease::Batch(batch) => return Ok(Some(batch)),
                BulkLease::NothingWaits => return Ok(None),
                BulkLease::HeldByAnother { until } => {
                    let pause = clock.now().until(until) + Duration::from_millis(1);
                    if stop.is_cancelled() || pause > patience {
                        return Err(BulkError::HeldByAnother);
                    }
                    patience -= pause;
                    tokio::select! { () = sleep(pause) => {}, () = stop.cancelled() => {} }
                }
            }
        }
    }

    async fn lease(&mut self, limit: u32) -> Result<Option<BulkBatch>, BulkError> {
        let Bulk { store, clock, .. } = self.bulk;
        Ok(
            match store
                .lease_bulk(self.job, self.id, clock.now(), LEASE, limit)
                .await?
            {
                BulkLease::Batch(batch) => Some(batch),
                BulkLease::NothingWaits => None,
                BulkLease::HeldByAnother { .. } => {
                    self.end = Some(BulkError::HeldByAnother);
                    None
                }
            },
        )
    }

    /// Every number of the batch is reported exactly once.
    fn hand_over(
        &self,
        batch: BulkBatch,
        calls: &mut JoinSet<()>,
        report: &mpsc::UnboundedSender<Item>,
        stop: &CancellationToken,
    ) {
        let text = Arc::new(batch.message);
        let (fleet, max_pause, job) = (&self.bulk.fleet, self.bulk.max_pause, self.job);
        let mut items = batch.items;
        items.retain(|(item, number)| match fleet.outcome_without_backend(number) {
            Some(outcome) => {
                OpenReports::new(vec![*item], report.clone()).report(0, outcome);
                false
            }
            None => true,
        });
        if items.is_empty() {
            return;
        }
        if let Some(member) = fleet.for_whole_batches() {
            let open = OpenReports::new(items.iter().map(|(item, _)| *item).collect(), report.clone());
            let numbers: Vec<PhoneNumber> = items.into_iter().map(|(_, number)| number).collect();
            calls.spawn(async move {
                let open = Arc::new(open);
                let settled: Settled = {
                    let open = Arc::clone(&open);
                    Arc::new(move |place, outcome| open.report(place, outcome))
                };
                let of_one = member.lane().bounds().send_timeout;
                let time_limit = of_one * u32::try_from(numbers.len()).unwrap_or(u32::MAX);
                member
                    .sender()
                    .send_bulk(&numbers, &text, time_limit, settled)
                    .await;
                open.close();
            });
            return;
        }
        for (item, number) in items {
            let (fleet, text, stop) = (Arc::clone(fleet), Arc::clone(&text), stop.clone());
            let open = OpenReports::new(vec![item], report.clone());
            calls.spawn(async move {
                let key = format!("{job}-{item}");
                match send_one(&fleet, &number, &text, &key, max_pause, &stop).await {
                    Some(outcome) => open.report(0, outcome),
                    None => open.give_back(0),
                }
            });
        }
    }

    async fn settle(&mut self, mut settled: Vec<Item>) -> Result<(), BulkError> {
        for (_, outcome) in &mut settled {
            self.count(outcome);
        }
        self.bulk.store.settle_bulk(self.job, settled).await?;
        (self.progress)(self.reached);
        Ok(())
    }

    /// Counts an outcome; takes it back if it was the account that was refused and not the number, or if nothing of the
    /// backend ran.
    fn count(&mut self, outcome: &mut Option<Outcome>) {
        let counter = match outcome {
            None => return,
            Some(Ok(_)) => {
                self.failures_in_a_row = 0;
                &mut self.reached.sent
            }
            Some(Err(failure)) => {
                let all_fail = failure.is_untried()
                    || matches!(
                        failure.class,
                        FailureClass::Config | FailureClass::AuthFailed | FailureClass::NoCredit
                    );
                if failure.class.blames_provider() || failure.origin != Origin::Provider {
                    self.failures_in_a_row += 1;
                } else {
                    self.failures_in_a_row = 0;
                }
                if all_fail || self.failures_in_a_row >= MAX_FAILURES_IN_A_ROW {
                    self.end
                        .get_or_insert_with(|| BulkError::BackendDown(failure.clone()));
                }
                if all_fail {
                    *outcome = None;
                    return;
                }
                match failure.class {
                    FailureClass::OutcomeUnknown => &mut self.reached.unknown,
                    _ => &mut self.reached.failed,
                }
            }
        };
        *counter += 1;
        self.reached.waiting = self.reached.waiting.saturating_sub(1);
    }
}

/// As many as all lanes have room for.
fn concurrency(members: &Members) -> u32 {
    let lanes = members.entries().iter().map(|entry| entry.member.lane());
    let slots: usize = lanes.map(|lane| lane.bounds().concurrency).sum();
    u32::try_from(slots).unwrap_or(u32::MAX).max(1)
}

/// A bulk job has time: a provider that throttles is waited for, a few times. `None`: stopped before it was
/// sent.
async fn send_one(
    fleet: &Fleet,
    number: &PhoneNumber,
    text: &str,
    key: &str,
    max_pause: Duration,
    stop: &CancellationToken,
) -> Option<Outcome> {
    let (mut tries, mut place, locale) = (1, 0, Locale::default());
    let to = Destination::new(number, &locale);
    let mut failover = Failover::default();
    loop {
        let member = match fleet.nth(to, place) {
            Some(member) => member,
            None => match fleet.first(to) {
                // The fleet has fewer members than before.
                Ok(first) => first,
                Err(nobody) => return Some(Err(nobody)),
            },
        };
        let _slot = member.lane().slot().await;
        let _ = member.lane().turn(Duration::MAX).await;
        let sms = Sms {
            number,
            text,
            locale: &locale,
            key: key.to_owned(),
            content: Content::Text,
        };
        let time_limit = member.lane().bounds().send_timeout;
        let outcome = member.sender().send(sms, time_limit).await;
        let pause = match &outcome {
            Err(failure) if failure.class.may_be_retried() && tries < MAX_TRIES => {
                failure.retry_after.unwrap_or(PAUSE * tries).min(max_pause)
            }
            Err(failure)
                if fleet.nth(to, place + 1).is_some()
                    && failover.goes_on(failure.class, fleet.fails_over_by_destination(to)) =>
            {
                (tries, place) = (1, place + 1);
                continue;
            }
            _ => return Some(outcome),
        };
        tries += 1;
        tokio::select! {
            () = sleep(pause) => {}
            () = stop.cancelled() => return None,
        }
    }
}
