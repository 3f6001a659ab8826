//! Runs one call of a library within its bounds.
//!
//! Invariant: whatever the library's future does, short of never returning from a poll, the call ends with an
//! answer, at its time limit, or with its panic caught.

use std::{
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::Poll,
    time::Duration,
};

use super::services::call::ActiveCall;

/// A poll that takes longer holds up everything else on its thread.
pub(super) const SLOW_POLL: Duration = Duration::from_millis(50);

/// How a call ended.
pub(super) enum Ended<T> {
    /// The library answered.
    Answered(T),
    /// The time was up; the library's future was dropped.
    TimedOut,
    /// The library panicked where its own guard did not catch it.
    Panicked,
}

/// Waits for the library's future, and no longer than the call may last.
pub(super) async fn bounded<T>(
    mut future: impl Future<Output = T> + Unpin,
    call: &ActiveCall<'_>,
    backend: &str,
) -> Ended<T> {
    let mut sleep = None;
    let mut warned = false;
    poll_fn(|context| {
        let before = call.clock().coarse();
        let polled = call.within(|| catch_unwind(AssertUnwindSafe(|| Pin::new(&mut future).poll(context))));
        let took = call.clock().coarse().saturating_sub(before);
        if took > SLOW_POLL && !warned {
            warned = true;
            warn_of_slow_poll(Some(backend), None, call.request_id(), took);
        }
        match polled {
            Ok(Poll::Ready(answer)) => Poll::Ready(Ended::Answered(answer)),
            Err(_) => Poll::Ready(Ended::Panicked),
            // A timer costs more than many a call takes, so that only those that wait have one.
            Ok(Poll::Pending) => sleep
                .get_or_insert_with(|| Box::pin(tokio::time::sleep(call.time_left())))
                .as_mut()
                .poll(context)
                .map(|()| Ended::TimedOut),
        }
    })
    .await
}

/// For the author: what else is on the thread waits meanwhile.
pub(super) fn warn_of_slow_poll(
    backend: Option<&str>,
    library: Option<&str>,
    request_id: &str,
    took: Duration,
) {
    tracing::warn!(
        backend,
        library,
        request_id,
        duration_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
        "the backend blocks the executor: one step of a call took too long"
    );
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;
    use crate::services::call::PrivateTexts;
    use crate::testing;

    fn call(limit: Duration) -> ActiveCall<'static> {
        ActiveCall::new(
            testing::call(limit),
            &testing::services(),
            PrivateTexts::default(),
        )
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_ends_at_its_time_limit() {
        let call = call(Duration::from_secs(10));
        let start = tokio::time::Instant::now();
        assert!(matches!(
            bounded(pending::<()>(), &call, "x").await,
            Ended::TimedOut
        ));
        let took = start.elapsed();
        assert!(
            (Duration::from_secs(9)..Duration::from_secs(11)).contains(&took),
            "{took:?}"
        );
    }

    #[tokio::test]
    async fn an_answer_needs_no_timer() {
        assert!(matches!(
            bounded(ready(7), &call(Duration::ZERO), "x").await,
            Ended::Answered(7)
        ));
    }

    #[tokio::test]
    async fn a_panic_costs_that_call_only() {
        let panics = poll_fn(|_| -> Poll<()> { panic!("FFI future panicked") });
        assert!(matches!(
            bounded(panics, &call(Duration::from_secs(1)), "x").await,
            Ended::Panicked
        ));
    }
}
