//! Outcomes of messages that were told to whoever asked for them, and are not recorded yet. What is read shows them, so that
//! nobody who was told that an SMS was sent finds that it is still to be sent.
//!
//! Invariant: what is not in here is in the database. So a reader looks in here first.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{
    model::{Delivery, VerificationId},
    store::{Found, OutboxMessage, Tried},
};

/// By verification: the last message whose outcome was told. No more than are under way.
#[derive(Default)]
pub(super) struct Announced(Mutex<HashMap<VerificationId, Outcome>>);

/// What became of a message.
#[derive(Clone)]
pub(super) struct Outcome {
    message: VerificationId,
    delivery: Delivery,
    message_id: Option<String>,
    backend: Arc<str>,
}

impl Announced {
    fn lock(&self) -> MutexGuard<'_, HashMap<VerificationId, Outcome>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It is told from now on.
    pub(super) fn tell(&self, message: &OutboxMessage, tried: &Tried) {
        let (delivery, message_id) = match &tried.outcome {
            Ok(receipt) => (Delivery::Sent, receipt.message_id.clone()),
            Err(failure) => (Delivery::Failed(failure.class), None),
        };
        let outcome = Outcome {
            message: message.id,
            delivery,
            message_id,
            backend: Arc::clone(&tried.backend),
        };
        self.lock().insert(message.verification, outcome);
    }

    /// It is recorded.
    pub(super) fn is_recorded(&self, message: &OutboxMessage) {
        let mut told = self.lock();
        if told
            .get(&message.verification)
            .is_some_and(|outcome| outcome.message == message.id)
        {
            told.remove(&message.verification);
        }
    }

    /// Another message of the verification is under way, and what became of the one before is the past.
    pub(super) fn is_past(&self, verification: VerificationId) {
        self.lock().remove(&verification);
    }

    /// To be asked before the database is.
    pub(super) fn of(&self, verification: VerificationId) -> Option<Outcome> {
        self.lock().get(&verification).cloned()
    }
}

impl Outcome {
    /// Puts it into what the database says.
    pub(super) fn show(self, found: &mut Found) {
        if found.first_delivery == Delivery::Pending && self.message == found.verification.id {
            found.first_delivery = self.delivery;
        }
        if found.verification.delivery == Delivery::Pending {
            found.verification.delivery = self.delivery;
            found.verification.backend = Some(self.backend.to_string());
            found.message_id = self.message_id;
        }
    }
}
