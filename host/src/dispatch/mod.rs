//! Takes messages from the store's outbox to the backend and settles them.
//!
//! Invariants: it never judges a code; a message whose outcome is not known is never sent again by the
//! process that tried it; at most [`Limits::concurrency`] calls are under way; every call has a deadline.

mod breaker;
pub mod bulk;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::{
    sync::{Semaphore, mpsc},
    time::{MissedTickBehavior, interval, sleep},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use breaker::{Breaker, BreakerState};

use crate::{
    clock::Clock,
    model::{FailureClass, Outcome, PhoneNumber, SendFailure},
    store::{Order, OutboxMessage, Store},
};

/// Who sends. The daemon puts the loaded backend behind this.
#[async_trait]
pub trait Sender: Send + Sync {
    /// Sends one message, within the time limit.
    async fn send(&self, message: &OutboxMessage, time_limit: Duration) -> Outcome;

    /// Sends one text to several numbers if the backend has a way of its own for that; `settled` hears each
    /// outcome as it comes. `false`: it has none, and nothing was done.
    async fn send_bulk(
        &self,
        numbers: &[PhoneNumber],
        text: &str,
        time_limit: Duration,
        settled: Settled,
    ) -> bool;

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
    /// How long all tries of one message may take together.
    pub total_timeout: Duration,
}

/// How often lapsed leases and expired codes are looked for.
const SWEEP_INTERVAL: Duration = Duration::from_secs(15);
/// Lapsed messages that are taken up in one sweep.
const SWEEP_LIMIT: u32 = 256;
/// The wait before the second try when the provider names none.
const RETRY_PAUSE: Duration = Duration::from_millis(250);

/// The running dispatcher.
pub struct Dispatcher {
    stop: CancellationToken,
    tasks: TaskTracker,
}

struct Lane {
    store: Arc<dyn Store>,
    sender: Arc<dyn Sender>,
    breaker: Arc<Breaker>,
    limits: Limits,
    slots: Arc<Semaphore>,
    clock: Clock,
    tasks: TaskTracker,
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
        });
        tasks.spawn(Arc::clone(&lane).take_orders(orders, stop.clone()));
        tasks.spawn(lane.sweep(stop.clone()));
        Self { stop, tasks }
    }

    /// Takes no more orders, and waits until what was taken is settled, at most for `limit`. What is not
    /// settled by then stays in the outbox under its lease.
    pub async fn drain(self, limit: Duration) -> bool {
        self.stop.cancel();
        self.tasks.close();
        tokio::time::timeout(limit, self.tasks.wait()).await.is_ok()
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
            return;
        };
        let lane = Arc::clone(self);
        self.tasks.spawn(async move {
            let Order { message, answer } = order;
            let outcome = lane.send(&message).await;
            drop(slot);
            match &outcome {
                Ok(_) => tracing::debug!(message = %message.id, number = ?message.number, "sent"),
                Err(failure) => tracing::warn!(
                    message = %message.id,
                    number = ?message.number,
                    class = failure.class.as_str(),
                    code = failure.code,
                    reason = failure.message,
                    "not sent"
                ),
            }
            // The request need not wait for this: the row is durable, and a crash before it is settled
            // only means that the same code is sent again.
            if let Some(answer) = answer {
                let _ = answer.send(outcome.clone());
            }
            if let Err(error) = lane.store.settle_message(&message, &outcome).await {
                tracing::error!(message = %message.id, %error, "a message could not be settled");
            }
        });
    }

    /// Sends, and once more if certainly nothing was sent and there is time.
    async fn send(&self, message: &OutboxMessage) -> Outcome {
        let begin = self.clock.elapsed();
        let first = self.try_once(message, self.limits.send_timeout).await;
        let Err(failure) = &first else { return first };
        let pause = failure.retry_after.unwrap_or(RETRY_PAUSE);
        let left = self
            .limits
            .total_timeout
            .saturating_sub(self.clock.elapsed().saturating_sub(begin));
        if !failure.class.may_be_retried() || failure.code == breaker::OPEN || pause >= left {
            return first;
        }
        sleep(pause).await;
        self.try_once(message, self.limits.send_timeout.min(left.saturating_sub(pause)))
            .await
    }

    async fn try_once(&self, message: &OutboxMessage, time_limit: Duration) -> Outcome {
        self.breaker.admit()?;
        let outcome = self.sender.send(message, time_limit).await;
        self.breaker.record(&outcome);
        outcome
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
            let lease = self.limits.lease();
            match self
                .store
                .lease_lapsed_messages(self.clock.now(), lease, SWEEP_LIMIT)
                .await
            {
                Ok(messages) => {
                    for message in messages {
                        tracing::info!(message = %message.id, "sending again what another process left");
                        self.dispatch(Order {
                            message,
                            answer: None,
                        })
                        .await;
                    }
                }
                Err(error) => tracing::error!(%error, "the outbox cannot be looked through"),
            }
            if let Err(error) = self.store.expire_codes(self.clock.now()).await {
                tracing::error!(%error, "expired codes cannot be forgotten");
            }
        }
    }
}

impl Limits {
    /// How long a message is one process's alone: longer than that process can take over it, waiting for a
    /// slot included.
    pub fn lease(&self) -> Duration {
        self.total_timeout * 3
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
