//! What a worker says about its calls, one message after the other, in the thread that watches it.
//!
//! Invariants: a log line, a question and an outcome are dealt with here and now, so that a worker that sends more than
//! the host can take waits; what takes time is handed to its call; and the error is the rule that was broken, for which
//! the worker is killed.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use phone_verify_plugin_abi::{
    RawHttpRequest,
    abi_stable::std_types::{RResult, RSliceMut, RStr, Tuple2},
    kind,
};
use tokio::sync::mpsc::error::TrySendError;

use super::{
    death::Killed,
    link::{Event, Instance, Link, Pending},
    message::{Answer, MAX_RANDOM_BYTES, Question, ToHost, ToWorker},
    raw,
};
use crate::{bounded::warn_of_slow_poll, convert::raw_error, services::call::ActiveCall};

/// Deals with a message about the call `id`. What is said about a call that was given up is nobody's business.
pub(super) fn receive(link: &Link, library: &str, id: u64, message: ToHost) -> Result<(), Killed> {
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
            forward(link.end(id), Event::Done(outcome))?;
        }
        ToHost::Http { request, http } => {
            let pending = pending();
            if let Some(pending) = &pending {
                pending.is_touched.store(true, Ordering::Relaxed);
            }
            let held = link.hold(size(&http.0))?;
            forward(pending, Event::Http { request, http, held })?;
        }
        ToHost::Validate {
            request,
            security_code,
        } => {
            let held = link.hold(security_code.len())?;
            let event = Event::Validate {
                request,
                security_code,
                held,
            };
            forward(pending(), event)?;
        }
        ToHost::Drop { request } => forward(pending(), Event::Drop { request })?,
        ToHost::Log {
            instance,
            level,
            message,
            fields,
        } => {
            let pending = pending();
            if let Some(instance) = instance_of(link, pending.as_ref(), instance) {
                let log = || instance.host.log(level, RStr::from(message.as_str()), fields);
                match pending.and_then(|pending| pending.info) {
                    Some(info) => ActiveCall::of(&info).within(log),
                    None => log(),
                }
            }
        }
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
        ToHost::Ask { request, question } => {
            let answer = answer(link, pending().as_ref(), question)?;
            // Bounded by what is asked, and by the length of a message.
            let _ = link.send(id, &ToWorker::Answer { request, answer });
        }
        ToHost::Settle { index, outcome } => {
            if let Some(pending) = pending()
                && let Some(report) = &pending.report
            {
                pending.is_touched.store(true, Ordering::Relaxed);
                let outcome = outcome.map(|receipt| receipt.0).map_err(|error| error.0);
                report.settle(index, RResult::from(outcome));
            }
        }
    }
    Ok(())
}

/// What a request takes in memory, its answer not counted.
fn size(http: &RawHttpRequest) -> usize {
    let pairs = http.headers.iter().chain(&http.ext);
    let pairs: usize = pairs.map(|Tuple2(name, value)| name.len() + value.len()).sum();
    http.method.len() + http.url.len() + http.body.len() + pairs
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

fn instance_of(link: &Link, pending: Option<&Pending>, instance: u64) -> Option<Arc<Instance>> {
    match pending {
        Some(pending) => Some(Arc::clone(&pending.instance)),
        None => link.state().instances.get(&instance).cloned(),
    }
}

fn answer(link: &Link, pending: Option<&Pending>, question: Question) -> Result<Answer, Killed> {
    let call = pending.and_then(|pending| pending.call.as_ref());
    let over = || raw::Error(raw_error(kind::INTERNAL, "call_over", "the call is over"));
    Ok(match question {
        Question::Random { instance, length } => {
            let length = length as usize;
            let instance = instance_of(link, pending, instance)
                .filter(|_| length <= MAX_RANDOM_BYTES)
                .ok_or(Killed::Breach("it asked for too much randomness, or for nobody"))?;
            let mut bytes = vec![0; length];
            instance.host.random(RSliceMut::from_mut_slice(&mut bytes));
            Answer::Random(bytes)
        }
        Question::SecurityCode => Answer::Text(call.map(|call| call.base_security_code()).ok_or_else(over)),
        Question::Message { security_code } => {
            let message = call.ok_or_else(over).and_then(|call| {
                let message = call.base_message(RStr::from(security_code.as_str()));
                message.into_result().map_err(raw::Error)
            });
            Answer::Text(message)
        }
    })
}
