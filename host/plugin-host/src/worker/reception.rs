//! What a worker says about its calls, one message after the other, in the thread that watches it.
//!
//! Invariants: a log line, a question and an outcome are dealt with here and now, so that a worker that sends more than
//! the host can take waits; what takes time is handed to its call; and the error is the rule that was broken, for which
//! the worker is killed.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::sync::mpsc::error::TrySendError;

use super::{
    death::Killed,
    link::{Event, Link, Pending},
    message::{NO_REPLY, ToHost},
};
use crate::{
    bounded::warn_of_slow_poll,
    raw,
    services::{
        call::ActiveCall,
        over,
        protocol::{Answer, HostRequest},
    },
};

/// Deals with a message about the call `id`. What is said about a call that was given up is nobody's business.
/// `bytes`: the length of its frame.
pub(super) fn receive(
    link: &Link,
    library: &str,
    id: u64,
    message: ToHost,
    bytes: usize,
) -> Result<(), Killed> {
    let pending = || link.state().calls.get(&id).cloned();
    match message {
        ToHost::Preparing { .. } | ToHost::Confined { .. } | ToHost::Ready | ToHost::Refused { .. } => {
            return Err(Killed::Breach("it was started twice"));
        }
        ToHost::Cancelled => link.stopped(id)?,
        ToHost::Discarded { instance } => {
            link.stopped(id)?;
            link.state().instances.remove(&instance);
        }
        ToHost::Done(outcome) => {
            let outcome = outcome.map_err(|error| error.0);
            let pending = pending();
            if let Some(pending) = &pending {
                // It has run: should its outcome be lost, it must not be made again.
                pending.is_touched.store(true, Ordering::Relaxed);
            }
            // A call whose outcome finds no room stays, so that it hears that its process was killed for it.
            forward(pending, Event::Done(outcome))?;
            link.end(id);
        }
        ToHost::Ask {
            request,
            instance,
            what,
        } => ask(link, id, pending(), request, instance, what, bytes)?,
        ToHost::Drop { request } => forward(pending(), Event::Drop { request })?,
        ToHost::Slow { took_ms } => {
            if let Some(pending) = pending()
                && let Some(info) = pending.info
                && !pending.is_slow.swap(true, Ordering::Relaxed)
            {
                warn_of_slow_poll(
                    None,
                    Some(library),
                    info.request_id(),
                    Duration::from_millis(took_ms),
                );
            }
        }
    }
    Ok(())
}

fn forward(pending: Option<Pending>, event: Event) -> Result<(), Killed> {
    let Some(pending) = pending else {
        return Ok(());
    };
    match pending.events.try_send(event) {
        Err(TrySendError::Full(_)) => Err(Killed::Breach("one call asked for too many things at once")),
        // Who waited is gone: the call is just being given up.
        Err(TrySendError::Closed(_)) | Ok(()) => Ok(()),
    }
}

/// Has the host answer what the library asks: here and now, or in the future of its call. `bytes` is what it takes in
/// memory.
fn ask(
    link: &Link,
    id: u64,
    pending: Option<Pending>,
    request: u32,
    instance: u64,
    what: HostRequest,
    bytes: usize,
) -> Result<(), Killed> {
    if let Some(pending) = pending.as_ref().filter(|_| what.may_send()) {
        pending.is_touched.store(true, Ordering::Relaxed);
    }
    let services = match &pending {
        Some(pending) => Some(Arc::clone(&pending.services)),
        None => link.state().instances.get(&instance).cloned(),
    };
    let info = pending.as_ref().and_then(|pending| pending.info.as_ref());
    let call = info.map(ActiveCall::of);
    let answer = services.map(|services| services.answer(call.as_ref(), what));
    match (answer, pending) {
        (Some(Answer::Later(work)), Some(pending)) => {
            let held = link.hold(bytes)?;
            return forward(Some(pending), Event::Errand { request, work, held });
        }
        (Some(Answer::Now(answer)), _) if request != NO_REPLY => link.reply(id, request, answer),
        (Some(Answer::Later(_)) | None, _) if request != NO_REPLY => {
            link.reply(id, request, Err(raw::Error(over())));
        }
        _ => {}
    }
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use std::{future::Future, pin::pin, task::Context, time::Duration};

    use super::*;
    use crate::{
        clock::Clock,
        testing,
        worker::{
            channel::Channel,
            death::{Death, Remains},
            exchange::{Lost, exchange},
            message::{Outcome, Times, ToWorker},
        },
    };

    /// What becomes of an exchange, its call's events having come while nobody looked.
    #[allow(clippy::unwrap_used, reason = "for tests")]
    async fn lost_after(events: impl Fn(&Link, u64)) -> Option<Lost> {
        let (channel, _worker) = Channel::new().unwrap();
        let link = Link::new(channel, Clock::system());
        link.seal();
        let (pending, receiver) = Pending::new(testing::services(), None);
        let message = ToWorker::Create {
            instance: 1,
            export: String::new(),
            options_json: String::new(),
            times: Times {
                unix_ms: 0,
                monotonic_ns: 0,
            },
        };
        let mut exchange = pin!(exchange(&link, message, pending, receiver));
        let mut context = Context::from_waker(std::task::Waker::noop());
        assert!(exchange.as_mut().poll(&mut context).is_pending());
        let id = *link.state().calls.keys().next().unwrap();
        events(&link, id);
        link.close(Arc::new(Death::new(
            Some(&Killed::Breach("a test")),
            &Remains::default(),
        )));
        tokio::time::timeout(Duration::from_secs(60), exchange)
            .await
            .unwrap()
            .err()
    }

    fn done(link: &Link, id: u64) -> Result<(), Killed> {
        receive(link, "x", id, ToHost::Done(Ok(Outcome::Nothing)), 1)
    }

    #[tokio::test]
    async fn a_call_whose_outcome_finds_no_room_is_not_made_again() {
        let lost = lost_after(|link, id| {
            while receive(link, "x", id, ToHost::Drop { request: 1 }, 1).is_ok() {}
            assert!(done(link, id).is_err());
        })
        .await;
        assert!(matches!(lost, Some(Lost::Died { is_touched: true, .. })));
    }

    #[tokio::test]
    async fn a_call_that_ended_has_its_outcome_though_the_process_is_gone() {
        let lost = lost_after(|link, id| assert!(done(link, id).is_ok())).await;
        assert!(lost.is_none());
    }
}
