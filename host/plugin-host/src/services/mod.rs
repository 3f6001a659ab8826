//! What the host offers a library: the host's side of the ABI's `HostV1`, `CallV1` and `ReportV1`.
//!
//! Invariant: nothing here panics into a library, where a panic would end the process; and what a library
//! says is masked before it is shown.

pub(super) mod call;
pub(super) mod http;
pub(super) mod log;
pub(super) mod report;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use phone_verify_plugin_abi::{
    HostObj, HostV1, HostV1_TO, RawError, RawHttpRequest, RawHttpResponse,
    abi_stable::{
        sabi_trait::TD_Opaque,
        std_types::{RArc, RResult, RSliceMut, RStr, RString, RVec, Tuple2},
    },
    async_ffi::FfiFuture,
};

use self::{
    http::Http,
    log::{Log, Source},
};
use super::scrub::Scrubber;
use crate::{clock::Clock, entropy::Entropy};

/// The services of one backend.
pub(super) struct Services {
    pub(super) scrubber: Arc<Scrubber>,
    pub(super) clock: Clock,
    pub(super) entropy: Entropy,
    pub(super) http: Http,
    log: Log,
}

impl Services {
    pub(super) fn new(
        backend: &str,
        scrubber: Arc<Scrubber>,
        clock: Clock,
        entropy: Entropy,
        http: Http,
    ) -> Self {
        let log = Log::new(
            Source::Backend(backend.to_owned()),
            Arc::clone(&scrubber),
            clock.clone(),
        );
        Self {
            scrubber,
            clock,
            entropy,
            http,
            log,
        }
    }

    /// As an object that crosses the ABI.
    pub(super) fn object(self: &Arc<Self>) -> HostObj {
        HostV1_TO::from_ptr(RArc::new(HostSide(Arc::clone(self))), TD_Opaque)
    }
}

struct HostSide(Arc<Services>);

impl HostV1 for HostSide {
    fn log(&self, level: u16, message: RStr<'_>, fields: RVec<Tuple2<RString, RString>>) {
        guarded((), || {
            call::current(|call| self.0.log.write(level, &message, &fields, call));
        });
    }

    fn now_unix_ms(&self) -> u64 {
        self.0.clock.wall().0
    }

    fn monotonic_ns(&self) -> u64 {
        nanoseconds(self.0.clock.elapsed())
    }

    fn random(&self, mut into: RSliceMut<'_, u8>) {
        if let Err(error) = self.0.entropy.fill(into.as_mut_slice()) {
            // A library that asked for randomness and got none would make guessable codes.
            end_process(&format!("no randomness for a library: {error}"));
        }
    }

    fn http(&self, request: RawHttpRequest) -> FfiFuture<RResult<RawHttpResponse, RawError>> {
        // Now, because the future may be polled when another call is current.
        let call = call::entered();
        let services = Arc::clone(&self.0);
        FfiFuture::new(async move { services.http.exchange(request, call.as_deref()).await.into() })
    }

    fn sleep_ms(&self, duration_ms: u64) -> FfiFuture<()> {
        // Every call has a deadline, far below a day.
        let duration = Duration::from_millis(duration_ms.min(24 * 60 * 60 * 1000));
        FfiFuture::new(async move {
            if tokio::runtime::Handle::try_current().is_ok() {
                tokio::time::sleep(duration).await;
            }
        })
    }
}

/// Ends the process. What the program does with a panic says why: it logs it, or prints it.
fn end_process(why: &str) -> ! {
    let _ = catch_unwind(|| panic!("{why}; the process ends"));
    std::process::abort()
}

/// Runs the host's own code where a panic would end the process.
pub(super) fn guarded<T>(otherwise: T, code: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(code)).unwrap_or(otherwise)
}

pub(super) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
