//! The host's side of one call, and which call a thread is in right now.

use std::{
    ops::Deref,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use phone_verify_plugin_abi::{
    CallObj, CallV1, CallV1_TO, RawError,
    abi_stable::{
        sabi_trait::TD_Opaque,
        std_types::{RResult, RStr, RString},
    },
    async_ffi::FfiFuture,
    kind, verdict,
};
use scoped_tls_hkt::scoped_thread_local;

use super::{guarded, nanoseconds};
use crate::{
    Call,
    clock::Clock,
    convert,
    model::{Origin, SecurityCode},
    trace::Trace,
};

/// What is known about a call while it runs.
pub(crate) struct CallInfo {
    call: Call,
    clock: Clock,
    /// On `clock`; set when somebody asks first, in the first poll or after it at the latest. Most calls of a
    /// cheap backend end without, and reading the clock is a good part of what they cost.
    deadline: OnceLock<Duration>,
    /// What [`ActiveCall`] borrows; set in what [`ActiveCall::kept`] gives.
    private: OnceLock<OwnedTexts>,
    /// The request that it is made for.
    trace: Option<Trace>,
    /// Where a failure of the call would arise, as far as the host saw: one of [`ORIGINS`] by its place, counted from 1.
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

    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    pub(crate) fn time_limit(&self) -> Duration {
        self.call.time_limit
    }

    fn deadline(&self) -> Duration {
        *self
            .deadline
            .get_or_init(|| self.clock.elapsed().saturating_add(self.call.time_limit))
    }

    pub(crate) fn time_left(&self) -> Duration {
        self.deadline().saturating_sub(self.clock.elapsed())
    }

    pub(crate) fn request_id(&self) -> &str {
        &self.call.request_id
    }

    /// The request that it is made for.
    pub(crate) fn trace(&self) -> Option<&Trace> {
        self.trace.as_ref()
    }

    /// What the call is about.
    pub(crate) fn private(&self) -> PrivateTexts<'_> {
        let texts = self.private.get();
        texts.map(|texts| texts.borrow()).unwrap_or_default()
    }
}

/// What a call is about, to be masked in all that its library says meanwhile. Empty is what it is not about.
#[derive(Clone, Copy, Default)]
pub(crate) struct PrivateTexts<'a> {
    /// The text of the message, or the code that is judged or put into words.
    pub(crate) text: &'a str,
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
    /// meanwhile. Borrowed, since a copy for each call would cost a good part of it.
    private: PrivateTexts<'a>,
}

scoped_thread_local!(static CURRENT: for<'a> &'a ActiveCall<'a>);

impl<'a> ActiveCall<'a> {
    pub(crate) fn new(call: Call, clock: &Clock, private: PrivateTexts<'a>) -> Self {
        let info = Arc::new(CallInfo {
            deadline: OnceLock::new(),
            clock: clock.clone(),
            call,
            private: OnceLock::new(),
            trace: Trace::current(),
            origin: AtomicU8::new(0),
        });
        Self { info, private }
    }

    /// The same call again, elsewhere.
    pub(crate) fn of(kept: &'a Arc<CallInfo>) -> Self {
        Self {
            info: Arc::clone(kept),
            private: kept.private(),
        }
    }

    /// As an object that crosses the ABI.
    pub(crate) fn object(&self) -> CallObj {
        CallV1_TO::from_value(CallSide(Arc::clone(&self.info)), TD_Opaque)
    }

    /// What the call is about.
    pub(crate) fn private(&self) -> PrivateTexts<'a> {
        self.private
    }

    /// What is known about it, to keep: with its private texts.
    pub(crate) fn kept(&self) -> Arc<CallInfo> {
        self.info.private.get_or_init(|| self.private.to_owned());
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

struct CallSide(Arc<CallInfo>);

impl CallV1 for CallSide {
    fn deadline_monotonic_ns(&self) -> u64 {
        nanoseconds(self.0.deadline())
    }

    fn request_id(&self) -> RString {
        RString::from(self.0.call.request_id.as_str())
    }

    fn idempotency_key(&self) -> RString {
        RString::from(self.0.call.idempotency_key.as_str())
    }

    fn locale(&self) -> RString {
        RString::from(self.0.call.locale.as_str())
    }

    /// Empty when no code can be made; the author's crate turns that into an error.
    fn base_security_code(&self) -> RString {
        guarded(RString::new(), || match self.0.call.base.security_code() {
            Ok(code) => RString::from(code.expose()),
            Err(_) => RString::new(),
        })
    }

    fn base_message(&self, security_code: RStr<'_>) -> RResult<RString, RawError> {
        let error =
            |code: &str, message: &str| RResult::RErr(convert::raw_error(kind::INTERNAL, code, message));
        let Some(code) = SecurityCode::new(security_code.as_str()) else {
            return error(
                "bad_security_code",
                "a security code has 1 to 64 characters and no control characters",
            );
        };
        guarded(
            error("host_panic", "the host could not write the message"),
            || RResult::ROk(RString::from(self.0.call.base.message(&code))),
        )
    }

    fn base_validate(&self, security_code: RStr<'_>) -> FfiFuture<RResult<u16, RawError>> {
        let base = Arc::clone(&self.0.call.base);
        let code = SecurityCode::new(security_code.as_str());
        FfiFuture::new(async move {
            let Some(code) = code else {
                return RResult::ROk(verdict::INVALID);
            };
            match base.validate(&code).await {
                Some(Ok(verdict)) => RResult::ROk(convert::raw_verdict(verdict)),
                Some(Err(failure)) => RResult::RErr(convert::raw_failure(&failure)),
                None => RResult::RErr(convert::raw_error(
                    kind::UNSUPPORTED,
                    "unsupported",
                    "the base can only judge a code inside validate_security_code",
                )),
            }
        })
    }
}
