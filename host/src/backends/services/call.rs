//! The host's side of one call, and which call a thread is in right now.

use std::{
    cell::Cell,
    ops::Deref,
    sync::{Arc, OnceLock},
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

use super::{guarded, nanoseconds};
use crate::{
    backends::{Call, convert},
    clock::Clock,
    model::SecurityCode,
};

/// What is known about a call while it runs.
pub(in crate::backends) struct CallInfo {
    call: Call,
    clock: Clock,
    /// On `clock`; set when somebody asks first, in the first poll or after it at the latest. Most calls of a
    /// cheap backend end without, and reading the clock is a good part of what they cost.
    deadline: OnceLock<Duration>,
    /// What the call is about, such as the message with its code and the number: masked in what the library says
    /// meanwhile.
    private: [String; 3],
}

impl CallInfo {
    /// `private` may be empty texts.
    pub(in crate::backends) fn new(call: Call, clock: &Clock, private: [&str; 3]) -> Arc<Self> {
        Arc::new(Self {
            deadline: OnceLock::new(),
            clock: clock.clone(),
            call,
            private: private.map(str::to_owned),
        })
    }

    /// As an object that crosses the ABI.
    pub(in crate::backends) fn object(self: &Arc<Self>) -> CallObj {
        CallV1_TO::from_value(CallSide(Arc::clone(self)), TD_Opaque)
    }

    pub(in crate::backends) fn clock(&self) -> &Clock {
        &self.clock
    }

    pub(in crate::backends) fn time_limit(&self) -> Duration {
        self.call.time_limit
    }

    fn deadline(&self) -> Duration {
        *self
            .deadline
            .get_or_init(|| self.clock.elapsed().saturating_add(self.call.time_limit))
    }

    pub(in crate::backends) fn time_left(&self) -> Duration {
        self.deadline().saturating_sub(self.clock.elapsed())
    }

    pub(in crate::backends) fn request_id(&self) -> &str {
        &self.call.request_id
    }

    pub(in crate::backends) fn private(&self) -> [&str; 3] {
        self.private.each_ref().map(String::as_str)
    }
}

thread_local! {
    static CURRENT: Cell<Option<Arc<CallInfo>>> = const { Cell::new(None) };
}

/// A call that is being made.
pub(in crate::backends) struct Running(Option<Arc<CallInfo>>);

impl Running {
    pub(in crate::backends) fn new(call: Arc<CallInfo>) -> Self {
        Self(Some(call))
    }

    /// As an object that crosses the ABI.
    pub(in crate::backends) fn object(&self) -> CallObj {
        self.get().object()
    }

    /// Runs `code` with this call as the current one of the thread. The ABI's log and HTTP functions do not
    /// say for which call they are called; they are called from inside a poll of it. `code` must not panic.
    pub(in crate::backends) fn within<T>(&mut self, code: impl FnOnce() -> T) -> T {
        // Moved there and back: a clone would cost more than all the rest.
        let before = CURRENT.replace(self.0.take());
        let result = code();
        self.0 = CURRENT.replace(before);
        result
    }

    fn get(&self) -> &Arc<CallInfo> {
        self.0
            .as_ref()
            .expect("it is away only while `within` runs, which borrows it")
    }
}

impl Deref for Running {
    type Target = CallInfo;

    fn deref(&self) -> &CallInfo {
        self.get()
    }
}

/// The call that this thread is in; `None` in a constructor or on a thread of the library's own.
pub(super) fn current<T>(look: impl FnOnce(Option<&CallInfo>) -> T) -> T {
    look(entered().as_deref())
}

/// The same, to keep; for a backend that runs elsewhere and asks for the host's services from another thread.
pub(in crate::backends) fn entered() -> Option<Arc<CallInfo>> {
    let call = CURRENT.take();
    CURRENT.set(call.clone());
    call
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
