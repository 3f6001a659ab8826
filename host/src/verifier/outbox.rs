//! The way out for messages, as the verifier sees it: a place is reserved before anything is begun, so that what cannot
//! be sent is not begun.

use tokio::sync::oneshot;

use crate::{
    model::{FailureClass, Outcome, SendFailure},
    store::{Destination, Place},
};

/// Takes messages that are durable.
pub trait Outbox: Send + Sync {
    /// A place for one message.
    fn reserve(&self, to: Destination<'_>) -> Result<Place, NoPlace>;
}

/// Why there is no place.
pub enum NoPlace {
    /// All of them are taken.
    Full,
    /// No backend is there for the message.
    Nowhere(SendFailure),
}

/// What became of a message that was handed to the dispatcher.
pub(super) async fn outcome(answer: oneshot::Receiver<Outcome>) -> Outcome {
    let stopped = || {
        SendFailure::new(
            FailureClass::OutcomeUnknown,
            "stopping",
            "the server stopped before the outcome was known",
        )
    };
    answer.await.unwrap_or_else(|_| Err(stopped()))
}
