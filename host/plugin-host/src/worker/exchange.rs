//! One message to a worker and its answer, with all that the library asks of the host in between.
//!
//! What a library asks for that takes time runs here, inside of the call's own future: it is polled, bounded and dropped
//! with the call, as it is for a library in this process.
//!
//! Invariant: dropping the future gives the call up in the worker.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll},
};

use phone_verify_plugin_abi::{CallObj, RawError, abi_stable::std_types::RStr, http_error, kind};
use tokio::sync::mpsc;

use super::{
    death::Death,
    link::{Event, Instance, Link, Pending},
    message::{Outcome, ToWorker},
    raw,
};
use crate::convert::raw_error;

/// Why there is no answer.
pub(super) enum Lost {
    /// The process ended meanwhile.
    Died { death: Arc<Death>, is_touched: bool },
    /// It was about to end when the call came: nothing ran.
    Closed,
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
        instance: Arc::clone(&pending.instance),
        call: pending.call.clone(),
        running: Vec::new(),
    };
    link.begin(id, pending).map_err(|_| Lost::Closed)?;
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
    outcome.ok_or_else(|| match link.death() {
        Some(death) => Lost::Died {
            death,
            is_touched: is_touched.load(Ordering::Relaxed) || !link.is_sealed(),
        },
        None => Lost::Closed,
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

type Errand = Pin<Box<dyn Future<Output = ToWorker> + Send>>;

/// What the library waits for.
struct Errands<'a> {
    link: &'a Link,
    id: u64,
    instance: Arc<Instance>,
    call: Option<Arc<CallObj>>,
    running: Vec<(u32, Errand)>,
}

impl Errands<'_> {
    fn begin(&mut self, event: Event) {
        match event {
            Event::Http { request, http, held } => {
                let exchange = self.instance.host.http(http.0);
                let errand = async move {
                    let answer = exchange.await.into_result();
                    drop(held);
                    ToWorker::HttpAnswer {
                        request,
                        answer: answer.map(raw::HttpResponse).map_err(raw::Error),
                    }
                };
                self.running.push((request, Box::pin(errand)));
            }
            Event::Validate {
                request,
                security_code,
                held,
            } => {
                let Some(call) = self.call.clone() else {
                    return;
                };
                let errand = async move {
                    let verdict = call.base_validate(RStr::from(security_code.as_str())).await;
                    drop(held);
                    ToWorker::Verdict {
                        request,
                        answer: verdict.into_result().map_err(raw::Error),
                    }
                };
                self.running.push((request, Box::pin(errand)));
            }
            Event::Drop { request } => self.running.retain(|(running, _)| *running != request),
            // Taken by the caller.
            Event::Done(_) => {}
        }
    }

    fn poll(&mut self, context: &mut Context<'_>) {
        self.running
            .retain_mut(|(request, errand)| match errand.as_mut().poll(context) {
                Poll::Ready(answer) => {
                    if self.link.send(self.id, &answer).is_err() {
                        // Its headers are longer than all that was thought possible.
                        let answer = Err(raw::Error(too_large()));
                        let request = *request;
                        let _ = self.link.send(self.id, &ToWorker::HttpAnswer { request, answer });
                    }
                    false
                }
                Poll::Pending => true,
            });
    }
}

fn too_large() -> RawError {
    let why = "the answer has more than 2 MiB with its headers";
    raw_error(kind::OUTCOME_UNKNOWN, http_error::TOO_LARGE, why)
}
