//! One message to a worker and its answer, with all that the library asks of the host in between.
//!
//! What a library asks for that takes time runs here, inside of the call's own future: it is polled, bounded and
//! dropped with the call, as it is for a library in this process.
//!
//! Invariant: dropping the future gives the call up in the worker.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll},
};

use phone_verify_plugin_abi::RawError;
use tokio::sync::mpsc;

use super::{
    death::Death,
    link::{Event, Held, Link, Pending},
    message::{Outcome, ToWorker},
};
use crate::services::protocol::Answered;

/// Why there is no answer.
pub(super) enum Lost {
    /// The process ended meanwhile.
    Died { death: Arc<Death>, is_touched: bool },
    /// It was about to end when the call came; nothing ran unless it is touched.
    Closed { is_touched: bool },
    /// The message is longer than a frame.
    TooLarge,
}

/// Sends `message` and waits for its answer.
pub(super) async fn exchange(
    link: &Link,
    message: ToWorker,
    pending: Pending,
    mut events: mpsc::Receiver<Event>,
) -> Result<Result<Outcome, RawError>, Lost> {
    let id = link.next_id();
    let is_touched = Arc::clone(&pending.is_touched);
    let mut errands = Errands {
        link,
        id,
        running: Vec::new(),
    };
    link.begin(id, pending)
        .map_err(|_| Lost::Closed { is_touched: false })?;
    let mut give_up = GiveUp { link, id: Some(id) };
    if link.send(id, &message).is_err() {
        link.end(id);
        give_up.id = None;
        return Err(Lost::TooLarge);
    }
    drop(message);
    let outcome = poll_fn(|context| {
        loop {
            match events.poll_recv(context) {
                Poll::Ready(Some(Event::Done(outcome))) => return Poll::Ready(Some(outcome)),
                Poll::Ready(Some(event)) => errands.begin(event),
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => break,
            }
        }
        errands.poll(context);
        Poll::Pending
    })
    .await;
    give_up.id = None;
    outcome.ok_or_else(|| {
        let is_touched = is_touched.load(Ordering::Relaxed) || !link.is_sealed();
        match link.death() {
            Some(death) => Lost::Died { death, is_touched },
            None => Lost::Closed { is_touched },
        }
    })
}

struct GiveUp<'a> {
    link: &'a Link,
    id: Option<u64>,
}

impl Drop for GiveUp<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.link.give_up(id);
        }
    }
}

/// What the library waits for, with the memory that it takes meanwhile.
struct Errand {
    request: u32,
    work: Pin<Box<dyn Future<Output = Answered> + Send>>,
    _held: Held,
}

struct Errands<'a> {
    link: &'a Link,
    id: u64,
    running: Vec<Errand>,
}

impl Errands<'_> {
    fn begin(&mut self, event: Event) {
        match event {
            Event::Errand { request, work, held } => self.running.push(Errand {
                request,
                work,
                _held: held,
            }),
            Event::Drop { request } => self.running.retain(|running| running.request != request),
            // Taken by the caller.
            Event::Done(_) => {}
        }
    }

    fn poll(&mut self, context: &mut Context<'_>) {
        self.running
            .retain_mut(|errand| match errand.work.as_mut().poll(context) {
                Poll::Ready(answer) => {
                    self.link.reply(self.id, errand.request, answer);
                    false
                }
                Poll::Pending => true,
            });
    }
}
