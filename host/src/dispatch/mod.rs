//! Takes messages that are durable in the store to the backend, and settles them.
//!
//! Invariants: it never judges a code; a message whose outcome is not known is never sent again by the
//! process that tried it; what this process has under way is never taken up a second time, however long it takes and
//! whatever the time; at most [`Limits::concurrency`] calls are under way; every call has a deadline.

mod breaker;
pub mod bulk;
#[cfg(test)]
mod stories;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    time::{MissedTickBehavior, interval, sleep},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use breaker::{Breaker, BreakerState, Counts};

use crate::{
    clock::{Clock, UnixMillis},
    metrics::MessageMetrics,
    model::{FailureClass, MessageId, Origin, Outcome, PhoneNumber, Receipt, SendFailure, Try},
    store::{Dispatched, Order, OutboxMessage, Store, Tried},
    trace::Trace,
};

/// Who sends. The daemon puts the loaded backend behind this.
#[async_trait]
pub trait Sender: Send + Sync {
    /// The name of the backend that a message would be handed to now.
    fn name(&self) -> Arc<str>;

    /// Sends one message, within the time limit; says with which backend.
    async fn send(&self, message: &OutboxMessage, time_limit: Duration) -> Tried;

    /// Whether a number is for tests at this time, so that its messages count as sent and no backend is asked.
    fn is_test(&self, number: &PhoneNumber, now: UnixMillis) -> bool;

    /// Why no message can be handed to the backend now; `None`: one can.
    fn trouble(&self) -> Option<String> {
        None
    }

    /// Whether the backend has a way of its own to send one text to several numbers.
    fn sends_bulk(&self) -> bool;

    /// Sends one text to several numbers in the backend's own way; `settled` hears each outcome as it comes.
    async fn send_bulk(&self, numbers: &[PhoneNumber], text: &str, time_limit: Duration, settled: Settled);

    /// Sends one text to one number of a bulk job.
    async fn send_one(&self, number: &PhoneNumber, text: &str, key: &str, time_limit: Duration) -> Outcome;
}

/// Hears the outcome for one number of a bulk call, by its place.
pub type Settled = Arc<dyn Fn(usize, Outcome) + Send + Sync>;

/// The bounds.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Calls under way at once.
    pub concurrency: usize,
    /// How long one call may take.
    pub send_timeout: Duration,
    /// How long all tries of one message may take together, waiting for a slot included.
    pub total_timeout: Duration,
}

/// How often what dead processes left and expired codes are looked for.
const SWEEP_INTERVAL: Duration = Duration::from_secs(15);
/// Messages that are taken up in one sweep.
const SWEEP_LIMIT: u32 = 256;
/// The wait before the second try when the provider names none.
const RETRY_PAUSE: Duration = Duration::from_millis(250);

/// The wait before what could not be recorded is tried again, when the process is to end.
const RECORD_PAUSE: Duration = Duration::from_millis(250);
/// How long requests may take to hand over what they began, when the process is to end.
const RELEASE_LIMIT: Duration = Duration::from_secs(1);

/// The running dispatcher.
pub struct Dispatcher {
    stop: CancellationToken,
    lane: Arc<Lane>,
}

struct Lane {
    store: Arc<dyn Store>,
    sender: Arc<dyn Sender>,
    breaker: Arc<Breaker>,
    limits: Limits,
    slots: Arc<Semaphore>,
    clock: Clock,
    tasks: TaskTracker,
    metrics: Arc<MessageMetrics>,
    /// What this process tried and could not record: to be recorded later. No more than was under way while the store was
    /// down, since nothing begins without it.
    unrecorded: Mutex<HashMap<MessageId, (OutboxMessage, Dispatched)>>,
    /// What no backend was asked about before this process was to end.
    untried: Mutex<Vec<OutboxMessage>>,
    /// The tasks that take messages: once they have ended, all that was not tried is known.
    takers: TaskTracker,
}

impl Dispatcher {
    /// Starts to take orders.
    pub fn start(
        store: Arc<dyn Store>,
        sender: Arc<dyn Sender>,
        breaker: Arc<Breaker>,
        limits: Limits,
        orders: mpsc::Receiver<Order>,
        clock: Clock,
    ) -> Self {
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let slots = Arc::new(Semaphore::new(limits.concurrency));
        let lane = Arc::new(Lane {
            store,
            sender,
            breaker,
            limits,
            slots,
            clock,
            tasks: tasks.clone(),
            metrics: Arc::default(),
            unrecorded: Mutex::default(),
            untried: Mutex::default(),
            takers: TaskTracker::new(),
        });
        let takers = &lane.takers;
        tasks.spawn(takers.track_future(Arc::clone(&lane).take_orders(orders, stop.clone())));
        tasks.spawn(takers.track_future(Arc::clone(&lane).sweep(stop.clone())));
        takers.close();
        Self { stop, lane }
    }

    /// What it counts.
    pub fn metrics(&self) -> Arc<MessageMetrics> {
        Arc::clone(&self.lane.metrics)
    }

    /// Takes no more orders, and waits until what was taken is settled, at most for `limit`. What is not
    /// settled by then is left to the next process, which is told what was not tried.
    pub async fn drain(&self, limit: Duration) -> bool {
        self.stop.cancel();
        let Lane { slots, tasks, .. } = &*self.lane;
        tasks.close();
        let drained = async {
            tasks.wait().await;
            while !self.lane.settle_unrecorded().await {
                sleep(RECORD_PAUSE).await;
            }
        };
        let is_drained = tokio::time::timeout(limit, drained).await.is_ok();
        // No message gets a slot from here on.
        slots.close();
        self.lane.release_untried().await;
        is_drained
    }
}

impl Lane {
    async fn take_orders(self: Arc<Self>, mut orders: mpsc::Receiver<Order>, stop: CancellationToken) {
        loop {
            let order = tokio::select! {
                order = orders.recv() => order,
                () = stop.cancelled() => {
                    // Requests that already have a place are still served.
                    orders.close();
                    orders.recv().await
                }
            };
            let Some(order) = order else { return };
            self.dispatch(order).await;
        }
    }

    /// Sends in a task of its own, once there is a slot.
    async fn dispatch(self: &Arc<Self>, order: Order) {
        let Ok(slot) = Arc::clone(&self.slots).acquire_owned().await else {
            self.is_untried(order.message);
            return;
        };
        let lane = Arc::clone(self);
        let trace = order.trace.clone();
        self.tasks.spawn(Trace::scope(trace, async move {
            let under_way = lane.metrics.begin();
            let dispatched = lane.send(&order).await;
            drop((slot, under_way));
            let Order { message, answer, .. } = order;
            let outcome = &dispatched.outcome;
            match outcome {
                Ok(_) => {
                    tracing::debug!(verification = %message.verification, number = ?message.number, "sent");
                }
                Err(failure) => tracing::warn!(
                    verification = %message.verification,
                    number = ?message.number,
                    class = failure.class.as_str(),
                    origin = failure.origin.as_str(),
                    code = failure.code,
                    reason = failure.message,
                    "{}",
                    if failure.class == FailureClass::OutcomeUnknown {
                        "not known whether it was sent"
                    } else {
                        "not sent"
                    }
                ),
            }
            // A success need not wait until it is recorded: a crash before that only means that the same code
            // is sent again. A failure waits, so that whoever tries again at once finds no trace of it.
            let mut answer = answer;
            if outcome.is_ok() {
                lane.store.announce(&message, &dispatched);
                reply(answer.take(), outcome);
            }
            lane.settle(&message, &dispatched).await;
            reply(answer, outcome);
        }));
    }

    async fn settle(&self, message: &OutboxMessage, dispatched: &Dispatched) {
        let recorded = self.store.settle_message(message, dispatched).await;
        let mut unrecorded = self.unrecorded.lock().unwrap_or_else(PoisonError::into_inner);
        match recorded {
            Ok(()) => {
                unrecorded.remove(&message.id);
            }
            Err(error) => {
                tracing::error!(verification = %message.verification, %error, "a message could not be settled");
                unrecorded.insert(message.id, (message.clone(), dispatched.clone()));
            }
        }
    }

    fn is_untried(&self, message: OutboxMessage) {
        let mut untried = self.untried.lock().unwrap_or_else(PoisonError::into_inner);
        untried.push(message);
    }

    /// Records what could not be recorded before. Returns whether that is all of it.
    async fn settle_unrecorded(&self) -> bool {
        let unrecorded: Vec<_> = {
            let unrecorded = self.unrecorded.lock().unwrap_or_else(PoisonError::into_inner);
            unrecorded.values().cloned().collect()
        };
        for (message, dispatched) in unrecorded {
            self.settle(&message, &dispatched).await;
        }
        let unrecorded = self.unrecorded.lock().unwrap_or_else(PoisonError::into_inner);
        unrecorded.is_empty()
    }

    /// Leaves what was not tried to the next process, as if this one never had it.
    async fn release_untried(&self) {
        // Those that wait for a slot are put there as soon as there will be none.
        let _ = tokio::time::timeout(RELEASE_LIMIT, self.takers.wait()).await;
        let untried = std::mem::take(&mut *self.untried.lock().unwrap_or_else(PoisonError::into_inner));
        if untried.is_empty() {
            return;
        }
        if let Err(error) = self.store.release_messages(&untried).await {
            tracing::error!(%error, "messages that were not tried could not be given back");
        }
    }

    /// Sends, and once more if certainly nothing was sent and there is time.
    async fn send(&self, order: &Order) -> Dispatched {
        // Whatever the backend and the breaker are up to.
        if self.sender.is_test(&order.message.number, self.clock.now()) {
            return self.unasked(Ok(Receipt::default()));
        }
        let dispatched = self.send_through(order).await;
        self.metrics.settled(&dispatched.backend, &dispatched.outcome);
        dispatched
    }

    /// The outcome of a message that no backend was asked about.
    fn unasked(&self, outcome: Outcome) -> Dispatched {
        Dispatched {
            backend: self.sender.name(),
            outcome,
            tries: Vec::new(),
        }
    }

    async fn send_through(&self, order: &Order) -> Dispatched {
        let time_left = || {
            let waited = self.clock.elapsed().saturating_sub(order.since);
            self.limits.total_timeout.saturating_sub(waited)
        };
        if time_left().is_zero() {
            return self.unasked(Err(SendFailure::new(
                FailureClass::Transient,
                "queue_timeout",
                "the queue to the backend moves too slowly; nothing was sent",
            )
            .arisen_in(Origin::Host)));
        }
        let admitted = match self.breaker.admit() {
            Ok(admitted) => admitted,
            Err(refused) => return self.unasked(Err(refused)),
        };
        let mut each_try = Vec::new();
        let mut try_once = async || {
            let time_limit = time_left().min(self.limits.send_timeout);
            let began = self.clock.elapsed();
            let mut tried = self.sender.send(&order.message, time_limit).await;
            let took = self.clock.elapsed().saturating_sub(began);
            self.metrics.tried(&tried.backend, took);
            if let Err(failure) = &mut tried.outcome
                && failure.class.blames_provider()
                && time_limit < self.limits.send_timeout / 2
            {
                // It waited in the queue for so long that the provider had hardly any of its time.
                failure.origin = Origin::Host;
            }
            each_try.push(Try::of(&tried.backend, &tried.outcome, took));
            tried
        };
        let mut tried = try_once().await;
        if let Err(failure) = &tried.outcome {
            let pause = failure.retry_after.unwrap_or(RETRY_PAUSE);
            if failure.class.may_be_retried() && pause < time_left() {
                sleep(pause).await;
                tried = try_once().await;
            }
        }
        let Tried { backend, outcome } = tried;
        self.breaker.record(&admitted, &outcome);
        Dispatched {
            backend,
            outcome,
            tries: each_try,
        }
    }

    /// Takes up what a dead process left behind, and forgets expired codes.
    async fn sweep(self: Arc<Self>, stop: CancellationToken) {
        let mut ticks = interval(SWEEP_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = stop.cancelled() => return,
            }
            if let Err(error) = self.store.share_time(&self.clock).await {
                tracing::error!(%error, "the time cannot be shared with other processes");
            }
            self.settle_unrecorded().await;
            let since = self.clock.elapsed();
            match self.store.take_over_messages(self.clock.now(), SWEEP_LIMIT).await {
                Ok(messages) => {
                    tracing::debug!(
                        found = messages.len(),
                        "looked for messages that dead processes left"
                    );
                    for message in messages {
                        if stop.is_cancelled() {
                            self.is_untried(message);
                            continue;
                        }
                        tracing::info!(verification = %message.verification, "sending again what another process left");
                        self.dispatch(Order {
                            message,
                            since,
                            trace: None,
                            answer: None,
                        })
                        .await;
                    }
                }
                Err(error) => tracing::error!(%error, "the outbox cannot be looked through"),
            }
            match self.store.expire_codes(self.clock.now()).await {
                Ok(expired) => self.metrics.expired(expired),
                Err(error) => tracing::error!(%error, "expired codes cannot be forgotten"),
            }
        }
    }
}

fn reply(answer: Option<oneshot::Sender<Outcome>>, outcome: &Outcome) {
    if let Some(answer) = answer {
        // Nobody may be waiting any more.
        let _ = answer.send(outcome.clone());
    }
}

/// A failure that says that the deadline passed after the message was handed over.
pub fn deadline_passed() -> SendFailure {
    SendFailure::new(
        FailureClass::OutcomeUnknown,
        "deadline",
        "the backend did not answer within its deadline, so the SMS may have been sent",
    )
}
