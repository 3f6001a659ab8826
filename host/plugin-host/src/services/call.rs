//! The host's side of one call, and which call a thread is in right now.

use std::{
    ops::Deref,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use scoped_tls_hkt::scoped_thread_local;

use super::{Services, report::Reported};
use crate::{BaseCalls, Call, CallFacts, clock::Clock, model::Origin, trace::Trace};

/// What is known about a call while it runs.
pub(crate) struct CallInfo {
    call: Call,
    /// Of the backend that is called.
    services: Arc<Services>,
    /// On the services' clock; set when somebody asks first, in the first poll or after it at the latest. Most calls of
    /// a cheap backend end without, and reading the clock is a good part of what they cost.
    deadline: OnceLock<Duration>,
    /// What [`ActiveCall`] borrows; set in what [`ActiveCall::kept`] gives.
    private: OnceLock<OwnedTexts>,
    /// Where a bulk call reports.
    reported: OnceLock<Arc<Reported>>,
    /// The request that it is made for.
    trace: Option<Trace>,
    /// Where a failure of the call would arise, as far as the host saw: one of [`ORIGINS`] by its place, counted from
    /// 1.
    origin: AtomicU8,
}

const ORIGINS: [Origin; 3] = [Origin::Provider, Origin::Library, Origin::Host];

impl CallInfo {
    /// Should the call fail now, it is there that the failure arose. The last word holds.
    pub(crate) fn arises_in(&self, origin: Origin) {
        let place = ORIGINS.iter().position(|known| *known == origin);
        let place = place.and_then(|place| u8::try_from(place + 1).ok());
        self.origin.store(place.unwrap_or_default(), Ordering::Relaxed);
    }

    /// Where its failure arose; `None`: the host saw nothing of it.
    pub(crate) fn origin(&self) -> Option<Origin> {
        let place = usize::from(self.origin.load(Ordering::Relaxed));
        ORIGINS.get(place.checked_sub(1)?).copied()
    }

    /// Whether the host saw that the library was at work: it asked for a request, or reported what became of a number.
    pub(crate) fn has_been_seen(&self) -> bool {
        self.origin().is_some() || self.reported().is_some_and(|reported| reported.has_settled())
    }

    pub(crate) fn services(&self) -> &Arc<Services> {
        &self.services
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.services.clock
    }

    pub(crate) fn time_limit(&self) -> Duration {
        self.call.time_limit
    }

    pub(super) fn deadline(&self) -> Duration {
        *self
            .deadline
            .get_or_init(|| self.clock().elapsed().saturating_add(self.call.time_limit))
    }

    pub(crate) fn time_left(&self) -> Duration {
        self.deadline().saturating_sub(self.clock().elapsed())
    }

    pub(crate) fn request_id(&self) -> &str {
        &self.call.request_id
    }

    pub(super) fn idempotency_key(&self) -> &str {
        &self.call.idempotency_key
    }

    pub(super) fn locale(&self) -> &str {
        &self.call.locale
    }

    /// What its library is told beside the arguments.
    pub(crate) fn facts(&self) -> &CallFacts {
        &self.call.facts
    }

    /// What an override can call.
    pub(super) fn base(&self) -> &Arc<dyn BaseCalls> {
        &self.call.base
    }

    /// Has what its library reports heard there.
    pub(crate) fn reports_to(&self, reported: &Arc<Reported>) {
        // A call is made for one list of numbers.
        let _ = self.reported.set(Arc::clone(reported));
    }

    /// Where its library reports; `None`: it is no bulk call.
    pub(super) fn reported(&self) -> Option<&Arc<Reported>> {
        self.reported.get()
    }

    /// The request that it is made for.
    pub(crate) fn trace(&self) -> Option<&Trace> {
        self.trace.as_ref()
    }

    /// All that the call is about; of a bulk call also its numbers.
    pub(crate) fn about(&self) -> Vec<&str> {
        let texts = self.private.get();
        self.with_numbers(texts.map(OwnedTexts::borrow).unwrap_or_default())
    }

    fn with_numbers<'a>(&'a self, private: PrivateTexts<'a>) -> Vec<&'a str> {
        let numbers = self
            .reported()
            .into_iter()
            .flat_map(|reported| reported.numbers());
        let code = self.call.facts.security_code.as_str();
        private.all().into_iter().chain(numbers).chain([code]).collect()
    }
}

/// What a call is about, to be masked in all that its library says meanwhile. Empty is what it is not about.
#[derive(Clone, Copy, Default)]
pub(crate) struct PrivateTexts<'a> {
    /// The text of the message, or the code that is judged or put into words.
    pub(crate) text: &'a str,
    /// Or the secret part of the address that a provider reports to.
    pub(crate) session_token: &'a str,
    /// In E.164.
    pub(crate) number: &'a str,
}

impl<'a> PrivateTexts<'a> {
    pub(crate) fn all(self) -> [&'a str; 3] {
        [self.text, self.session_token, self.number]
    }

    fn to_owned(self) -> OwnedTexts {
        OwnedTexts {
            text: self.text.to_owned(),
            session_token: self.session_token.to_owned(),
            number: self.number.to_owned(),
        }
    }
}

/// [`PrivateTexts`] that outlive the call.
struct OwnedTexts {
    text: String,
    session_token: String,
    number: String,
}

impl OwnedTexts {
    fn borrow(&self) -> PrivateTexts<'_> {
        PrivateTexts {
            text: &self.text,
            session_token: &self.session_token,
            number: &self.number,
        }
    }
}

/// A call that is being made. Nobody but it has its [`CallInfo`] without the private texts.
pub(crate) struct ActiveCall<'a> {
    info: Arc<CallInfo>,
    /// What the call is about, such as the message with its code and the number: masked in what the library says
    /// meanwhile. Borrowed, since a copy for each call would cost a good part of it. `None`: it is not known here.
    private: Option<PrivateTexts<'a>>,
}

scoped_thread_local!(static CURRENT: for<'a> &'a ActiveCall<'a>);

impl<'a> ActiveCall<'a> {
    pub(crate) fn new(call: Call, services: &Arc<Services>, private: PrivateTexts<'a>) -> Self {
        let info = Arc::new(CallInfo {
            deadline: OnceLock::new(),
            services: Arc::clone(services),
            call,
            private: OnceLock::new(),
            reported: OnceLock::new(),
            trace: Trace::current(),
            origin: AtomicU8::new(0),
        });
        Self {
            info,
            private: Some(private),
        }
    }

    /// The same call again, elsewhere.
    pub(crate) fn of(kept: &'a Arc<CallInfo>) -> Self {
        Self {
            info: Arc::clone(kept),
            private: kept.private.get().map(OwnedTexts::borrow),
        }
    }

    /// All that the call is about; of a bulk call also its numbers.
    pub(crate) fn about(&self) -> Vec<&str> {
        self.with_numbers(self.private())
    }

    /// What the call is about as a whole.
    pub(super) fn private(&self) -> PrivateTexts<'a> {
        self.private.unwrap_or_default()
    }

    /// What is known about it, for its library.
    pub(super) fn shared(&self) -> Arc<CallInfo> {
        Arc::clone(&self.info)
    }

    /// What is known about it, to keep: with its private texts.
    pub(crate) fn kept(&self) -> Arc<CallInfo> {
        if let Some(private) = self.private {
            self.info.private.get_or_init(|| private.to_owned());
        }
        Arc::clone(&self.info)
    }

    /// Runs `code` with this call as the current one of the thread. The ABI's log and HTTP functions do not
    /// say for which call they are called; they are called from inside a poll of it.
    pub(crate) fn within<T>(&self, code: impl FnOnce() -> T) -> T {
        CURRENT.set(self, code)
    }
}

impl Deref for ActiveCall<'_> {
    type Target = CallInfo;

    fn deref(&self) -> &CallInfo {
        &self.info
    }
}

/// The call that this thread is in; `None` in a constructor or on a thread of the library's own.
pub(super) fn current<T>(look: impl FnOnce(Option<&ActiveCall<'_>>) -> T) -> T {
    if CURRENT.is_set() {
        CURRENT.with(|call| look(Some(call)))
    } else {
        look(None)
    }
}

/// The same, to keep; for a backend that runs elsewhere and asks for the host's services from another thread.
pub(crate) fn entered() -> Option<Arc<CallInfo>> {
    current(|call| call.map(ActiveCall::kept))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn active() -> ActiveCall<'static> {
        ActiveCall::new(
            testing::call(Duration::from_secs(1)),
            &testing::services(),
            PrivateTexts::default(),
        )
    }

    #[test]
    fn a_call_is_seen_by_a_request_or_a_report() {
        let call = active();
        assert!(!call.has_been_seen());
        call.arises_in(Origin::Provider);
        assert!(call.has_been_seen());

        let call = active();
        let number = crate::model::PhoneNumber::parse("+13478379634", None).unwrap();
        let reported = Reported::new(&[number.clone(), number], 0, Arc::new(|_, _| {}), Arc::default());
        call.reports_to(&reported);
        assert!(!call.has_been_seen());
        reported.settle(&call, 1, Err(crate::convert::raw_error(0, "x", "x")));
        assert!(call.has_been_seen());
    }
}
