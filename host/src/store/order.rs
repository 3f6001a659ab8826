//! How a message gets from the verifier to the dispatcher of this process.

use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use super::OutboxMessage;
use crate::{model::Outcome, trace::Trace};

/// A message that is durable in the outbox, on its way to the dispatcher.
pub struct Order {
    /// The message.
    pub message: OutboxMessage,
    /// When it began, on the clock's `elapsed`: it is not sent when that is too long ago.
    pub since: Duration,
    /// The request that it is sent for; `None`: another process had it.
    pub trace: Option<Trace>,
    /// Who waits for the outcome; the receiver may be gone.
    pub answer: Option<oneshot::Sender<Outcome>>,
    /// Its place among the messages that wait for the same backend; `None`: another process had it.
    pub waiting: Option<Waiting>,
}

/// A place among the messages that wait for a backend, until it is dropped.
pub struct Waiting(#[expect(dead_code, reason = "held, not read")] OwnedSemaphorePermit);

impl Waiting {
    /// The place that this permit stands for.
    pub fn at(permit: OwnedSemaphorePermit) -> Self {
        Self(permit)
    }
}

/// A place on the way to the dispatcher, which takes one message, also after it takes no new ones.
pub struct Place {
    /// The end of the way.
    pub orders: mpsc::OwnedPermit<Order>,
    /// Among the messages that wait for a backend.
    pub waiting: Waiting,
}

impl Place {
    /// Hands a message to the dispatcher, who says on the receiver what became of it.
    pub fn send(self, message: OutboxMessage, since: Duration) -> oneshot::Receiver<Outcome> {
        let (answer, outcome) = oneshot::channel();
        self.orders.send(Order {
            message,
            since,
            trace: Trace::current(),
            answer: Some(answer),
            waiting: Some(self.waiting),
        });
        outcome
    }
}
