//! The host's side of one call, and which call a thread is in right now.

use std::{cell::RefCell, sync::Arc, time::Duration};

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
    /// On `clock`.
    deadline: Duration,
    /// What the call is about, such as the message with its code: masked in what the library says meanwhile.
    private: Vec<String>,
}

impl CallInfo {
    pub(in crate::backends) fn new(call: Call, clock: &Clock, private: Vec<String>) -> Arc<Self> {
        Arc::new(Self {
            deadline: clock.elapsed().saturating_add(call.time_limit),
            clock: clock.clone(),
            call,
            private,
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

    pub(in crate::backends) fn time_left(&self) -> Duration {
        self.deadline.saturating_sub(self.clock.elapsed())
    }

    pub(in crate::backends) fn request_id(&self) -> &str {
        &self.call.request_id
    }

    pub(in crate::backends) fn private(&self) -> Vec<&str> {
        self.private.iter().map(String::as_str).collect()
    }
}

thread_local! {
    static CURRENT: RefCell<Option<Arc<CallInfo>>> = const { RefCell::new(None) };
}

/// Makes `call` the current one of this thread until the guard is dropped. The ABI's log and HTTP functions do
/// not say for which call they are called; they are called from inside a poll of it.
pub(in crate::backends) fn enter(call: &Arc<CallInfo>) -> Entered {
    Entered(CURRENT.with(|current| current.replace(Some(Arc::clone(call)))))
}

/// The call before goes back to being the current one.
pub(in crate::backends) struct Entered(Option<Arc<CallInfo>>);

impl Drop for Entered {
    fn drop(&mut self) {
        let before = self.0.take();
        drop(CURRENT.with(|current| current.replace(before)));
    }
}

/// The call that this thread is in; `None` in a constructor or on a thread of the library's own.
pub(super) fn current<T>(look: impl FnOnce(Option<&CallInfo>) -> T) -> T {
    let current = CURRENT.with(|current| current.borrow().clone());
    look(current.as_deref())
}

/// The same, to keep; for a backend that runs elsewhere and asks for the host's services from another thread.
#[cfg(unix)]
pub(in crate::backends) fn entered() -> Option<Arc<CallInfo>> {
    CURRENT.with(|current| current.borrow().clone())
}

struct CallSide(Arc<CallInfo>);

impl CallV1 for CallSide {
    fn deadline_monotonic_ns(&self) -> u64 {
        nanoseconds(self.0.deadline)
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
