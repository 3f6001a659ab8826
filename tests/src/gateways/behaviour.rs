//! The scripted behaviour of a gateway: a queue of what to do with the next requests.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// What a gateway does with one request, instead of judging it and answering at once.
///
/// Where it *accepts* the SMS, the SMS is in the inbox, even if the client never gets the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// Behaves normally. Needed to let a request pass between two scripted ones.
    AsItself,
    /// Refuses with the provider's own error for too many requests, and asks for this wait.
    Throttle(Duration),
    /// Refuses with this documented status or error code.
    Refuse(u32),
    /// Accepts all parts of a long text but the last, which it refuses with this code. Providers that do not report
    /// parts refuse the whole text.
    RefuseLastPart(u32),
    /// Answers with a plain HTTP error whose body is not the provider's. 429 has `Retry-After: 1`.
    HttpStatus(u16),
    /// Closes the connection when the request arrives, without reading it.
    DropBeforeReading,
    /// Accepts the SMS and closes the connection without an answer.
    DropAfterReading,
    /// Accepts the SMS and answers after this time.
    AnswerAfter(Duration),
    /// Accepts the SMS and answers when [`super::Gateway::release`] is called.
    Hold,
    /// Accepts the SMS and answers in gzip, although the request did not allow it.
    Gzip,
    /// Accepts the SMS and answers with half of the JSON.
    BrokenJson,
    /// Accepts the SMS and answers with 8 MiB.
    HugeBody,
}

/// The queue of behaviours, and the numbers that are always refused.
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

    /// Removes the front of the queue if it is [`Behaviour::DropBeforeReading`].
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

/// Locks a mutex and ignores poisoning, so that one failed test does not hide behind lock errors in others.
pub(super) fn unpoisoned<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
