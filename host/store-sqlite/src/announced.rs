//! Outcomes of messages that were told to whoever asked for them, and are not recorded yet. What is read shows them, so
//! that nobody who was told that an SMS was sent finds that it is still to be sent.
//!
//! Invariant: what is not in here is in the database. So a reader looks in here first.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::{
    model::{Delivery, Message, VerificationId},
    store::{Dispatched, OutboxMessage},
};

/// By verification: the last message whose outcome was told. No more than are under way.
#[derive(Default)]
pub(super) struct Announced(Mutex<HashMap<VerificationId, Message>>);

impl Announced {
    fn lock(&self) -> MutexGuard<'_, HashMap<VerificationId, Message>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It is told from now on.
    pub(super) fn tell(&self, message: &OutboxMessage, dispatched: &Dispatched) {
        let (delivery, provider_id) = match &dispatched.outcome {
            Ok(receipt) => (Delivery::Sent, receipt.message_id.clone()),
            Err(failure) => (Delivery::Failed(failure.class), None),
        };
        let announced = Message {
            id: message.id,
            delivery,
            backend: Some(dispatched.backend.to_string()),
            provider_id,
            tries: dispatched.tries.clone(),
            reported: None,
        };
        self.lock().insert(message.verification, announced);
    }

    /// It is recorded.
    pub(super) fn is_recorded(&self, message: &OutboxMessage) {
        let mut told = self.lock();
        if told
            .get(&message.verification)
            .is_some_and(|announced| announced.id == message.id)
        {
            told.remove(&message.verification);
        }
    }

    /// Another message of the verification is under way, and what became of the one before is the past.
    pub(super) fn is_past(&self, verification: VerificationId) {
        self.lock().remove(&verification);
    }

    /// To be asked before the database is.
    pub(super) fn of(&self, verification: VerificationId) -> Option<Message> {
        self.lock().get(&verification).cloned()
    }
}

/// Puts what was announced into what the database says.
pub(super) fn show(announced: &Message, found: &mut [Message]) {
    for message in found.iter_mut().filter(|message| message.id == announced.id) {
        if message.delivery == Delivery::Pending {
            *message = announced.clone();
        }
    }
}
