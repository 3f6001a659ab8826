//! How a message gets from the verifier to the dispatcher of this process.

use std::time::Duration;

use tokio::sync::oneshot;

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
}
