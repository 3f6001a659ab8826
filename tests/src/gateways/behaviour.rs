//! What a gateway is told to do with requests to come, and the queue in which it is told.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// What to do with one request, instead of judging it and answering at once.
///
/// Where the SMS is *taken*, it is in the inbox although the client may never learn of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// As the provider would: for the place in a queue between two others.
    AsItself,
    /// Refuses in the provider's own words for "too fast", and asks for this wait.
    Throttle(Duration),
    /// Refuses with this documented status or error code.
    Refuse(u32),
    /// Takes all parts of a long text but the last, which it refuses so. Providers that do not answer by part refuse all.
    RefuseLastPart(u32),
    /// A bare HTTP error, with a body that is not the provider's; 429 comes with `Retry-After: 1`.
    HttpStatus(u16),
    /// Closes the connection when the request arrives, without looking at it.
    DropBeforeReading,
    /// Takes the SMS and closes the connection without an answer.
    DropAfterReading,
    /// Takes the SMS and answers that much later.
    AnswerAfter(Duration),
    /// Takes the SMS and answers when [`super::Gateway::release`] is called.
    Hold,
    /// Takes the SMS and answers in gzip, which nobody asked for.
    Gzip,
    /// Takes the SMS and answers with half of the JSON.
    BrokenJson,
    /// Takes the SMS and answers with 8 MiB.
    HugeBody,
}

/// The queue of what was asked for, and the numbers that are always refused.
#[derive(Default)]
pub(super) struct Script {
    queue: Mutex<VecDeque<Behaviour>>,
    refused_numbers: Mutex<HashMap<String, u32>>,
}

impl Script {
    pub(super) fn push(&self, behaviour: Behaviour) {
        unpoisoned(&self.queue).push_back(behaviour);
    }

    pub(super) fn pop(&self) -> Behaviour {
        unpoisoned(&self.queue).pop_front().unwrap_or(Behaviour::AsItself)
    }

    /// Takes the front of the queue if it says to drop the connection unread.
    pub(super) fn pop_drop_before_reading(&self) -> bool {
        let mut queue = unpoisoned(&self.queue);
        let is_it = queue.front() == Some(&Behaviour::DropBeforeReading);
        if is_it {
            queue.pop_front();
        }
        is_it
    }

    pub(super) fn refuse_number(&self, number: &str, code: u32) {
        unpoisoned(&self.refused_numbers).insert(number.to_owned(), code);
    }

    pub(super) fn refusal_of(&self, number: &str) -> Option<u32> {
        unpoisoned(&self.refused_numbers).get(number).copied()
    }
}

/// A test that failed while it held a lock must not turn the others' failures into lock errors.
pub(super) fn unpoisoned<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
