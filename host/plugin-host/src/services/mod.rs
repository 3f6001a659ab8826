//! What the host offers a library. `protocol` says what can be asked, `answer` answers, `abi` are the objects by which
//! a library asks, and `inline` carries what one in this process asks; `worker` what one in a process of its own does.
//!
//! Invariant: nothing here panics into a library, where a panic would end the process; and what a library
//! says is masked before it is shown.

pub(super) mod abi;
mod answer;
pub(super) mod call;
pub(super) mod http;
pub(super) mod inline;
pub(super) mod log;
pub(super) mod protocol;
pub(super) mod report;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

pub(super) use self::answer::over;
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
}

/// Ends the process. What the program does with a panic says why: it logs it, or prints it.
pub(super) fn end_process(why: &str) -> ! {
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
