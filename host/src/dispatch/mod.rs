//! Takes messages that are durable in the store to a backend of the fleet, and settles them.
//!
//! A message waits for a slot in the lane of the member of the fleet that is to send it; then that member's breaker is
//! asked, and the message is sent under a deadline. If certainly nothing was sent, the next member has it, or the same one
//! a second time.
//!
//! Invariants: it never judges a code; a message whose outcome is not known is never sent again by the
//! process that tried it; what this process has under way is never taken up a second time, however long it takes and
//! whatever the time; no more calls are under way than a lane has slots; every call has a deadline.

pub mod bulk;
mod entrance;
#[cfg(test)]
mod failover_stories;
#[cfg(test)]
mod fault_stories;
#[cfg(test)]
mod stories;
mod tries;
mod turn;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{mpsc, oneshot},
    time::{MissedTickBehavior, interval, sleep},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use self::entrance::Entrance;
use self::{
    tries::Tries,
    turn::{NoTurn, Turn},
};
use crate::{
    clock::Clock,
    fleet::Fleet,
    metrics::MessageMetrics,
    model::{FailureClass, MessageId, Outcome, SendFailure},
    store::{Destination, Dispatched, Order, OutboxMessage, Store},
    trace::Trace,
};

/// How often what dead processes left and expired codes are looked for.
const SWEEP_INTERVAL: Duration = Duration::from_secs(15);
/// Messages that are taken up in one sweep.
const SWEEP_LIMIT: u32 = 256;
/// The wait before what could not be recorded is tried again, when the process is to end.
const RECORD_PAUSE: Duration = Duration::from_millis(250);
/// How long requests may take to hand over what they began, when the process is to end.
const RELEASE_LIMIT: Duration = Duration::from_secs(1);

/// The running dispatcher.
pub struct Dispatcher {
    stop: CancellationToken,
    desk: Arc<Desk>,
}

/// What all messages on their way share.
struct Desk {
    store: Arc<dyn Store>,
    fleet: Arc<Fleet>,
    /// How long all tries of one message may take together, waiting for a slot included.
    total_timeout: Duration,
    clock: Clock,
    tasks: TaskTracker,
    metrics: Arc<MessageMetrics>,
    /// What this process tried and could not record: to be recorded later. No more than was under way while the store
    /// was down, since nothing begins without it.
    unrecorded: Mutex<HashMap<MessageId, (OutboxMessage, Dispatched)>>,
    /// What no backend was asked about before this process was to end.
    untried: Mutex<Vec<OutboxMessage>>,
    /// The tasks that take messages: once they have ended, all that was not tried is known.
    takers: TaskTracker,
}

impl Dispatcher {
    /// Starts to take orders. `total_timeout`: how long all tries of one message may take together, waiting for a slot
    /// included.
    pub fn start(
        store: Arc<dyn Store>,
        fleet: Arc<Fleet>,
        total_timeout: Duration,
        orders: mpsc::Receiver<Order>,
        clock: Clock,
    ) -> Self {
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let desk = Arc::new(Desk {
            store,
            fleet,
            total_timeout,
            clock,
            tasks: tasks.clone(),
            metrics: Arc::default(),
            unrecorded: Mutex::default(),
            untried: Mutex::default(),
            takers: TaskTracker::new(),
        });
        let takers = &desk.takers;
        tasks.spawn(takers.track_future(Arc::clone(&desk).take_orders(orders, stop.clone())));
        tasks.spawn(takers.track_future(Arc::clone(&desk).sweep(stop.clone())));
        takers.close();
        Self { stop, desk }
    }

    /// What it counts.
    pub fn metrics(&self) -> Arc<MessageMetrics> {
        Arc::clone(&self.desk.metrics)
    }

    /// Takes no more orders, and waits until what was taken is settled, at most for `limit`. What is not
    /// settled by then is left to the next process, which is told what was not tried.
    pub async fn drain(&self, limit: Duration) -> bool {
        self.stop.cancel();
        let Desk { fleet, tasks, .. } = &*self.desk;
        tasks.close();
        let drained = async {
            tasks.wait().await;
            while !self.desk.settle_unrecorded().await {
                sleep(RECORD_PAUSE).await;
            }
        };
        let is_drained = tokio::time::timeout(limit, drained).await.is_ok();
        // No message gets a slot from here on.
        fleet.close();
        self.desk.release_untried().await;
        is_drained
    }
}

impl Desk {
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
            self.dispatch(order);
        }
    }

    /// Sends in a task of its own, which waits for its turn: no message waits for one of another backend.
    fn dispatch(self: &Arc<Self>, mut order: Order) {
        let desk = Arc::clone(self);
        let trace = order.trace.clone();
        // Until it has its turn, it is one that was not tried.
        let taking = self.takers.token();
        self.tasks.spawn(Trace::scope(trace, async move {
            let turn = Turn::first(&desk.fleet, Destination::from(&order.message)).await;
            drop(order.waiting.take());
            if matches!(turn, Err(NoTurn::Closed)) {
                desk.is_untried(order.message);
                return;
            }
            drop(taking);
            let dispatched = match turn {
                Ok(turn) => {
                    let _under_way = desk.metrics.begin();
                    desk.send(&order, turn).await
                }
                Err(NoTurn::Nobody(failure)) => desk.sent_by_nobody(failure),
                Err(NoTurn::Closed) => return,
            };
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
                desk.store.announce(&message, &dispatched);
                reply(answer.take(), outcome);
            }
            desk.settle(&message, &dispatched).await;
            reply(answer, outcome);
        }));
    }

    async fn settle(&self, message: &OutboxMessage, dispatched: &Dispatched) {
        let recorded = self
            .store
            .settle_message(message, dispatched, self.clock.now())
            .await;
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

    /// Has a message sent, by the member whose turn it is and those after it.
    async fn send(&self, order: &Order, turn: Turn) -> Dispatched {
        // Whatever the backend and its breaker are up to.
        if let Some(outcome) = self.fleet.outcome_without_backend(&order.message.number) {
            return Dispatched {
                backend: Arc::clone(turn.member.backend()),
                outcome,
                tries: Vec::new(),
            };
        }
        let mut tries = Tries::of(order, self);
        let (member, outcome) = tries.run(turn).await;
        self.metrics.settled(&member, &outcome);
        Dispatched {
            backend: Arc::clone(member.backend()),
            outcome,
            tries: tries.made(),
        }
    }

    /// What becomes of a message for which no backend is there.
    fn sent_by_nobody(&self, failure: SendFailure) -> Dispatched {
        Dispatched {
            backend: Arc::clone(self.fleet.usual().backend()),
            outcome: Err(failure),
            tries: Vec::new(),
        }
    }

    /// How much of the time of all its tries a message has left.
    fn time_left(&self, order: &Order) -> Duration {
        let waited = self.clock.elapsed().saturating_sub(order.since);
        self.total_timeout.saturating_sub(waited)
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
                            waiting: None,
                        });
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
