//! Lets one call at a time do something while others wait. A library has no async runtime whose mutex it could use.
//!
//! Invariant: a call that is dropped while it waits or has its turn holds nobody up.

use std::{
    future::poll_fn,
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Poll, Waker},
};

/// The turn of one call.
#[derive(Default)]
pub(crate) struct Turn(Mutex<State>);

#[derive(Default)]
struct State {
    taken: bool,
    waiting: Vec<Waker>,
}

/// Has the turn until it is dropped.
pub(crate) struct Taken<'a>(&'a Turn);

impl Turn {
    /// Waits for the turn.
    pub(crate) async fn take(&self) -> Taken<'_> {
        poll_fn(|context| {
            let mut state = self.state();
            if state.taken {
                state.waiting.push(context.waker().clone());
                return Poll::Pending;
            }
            state.taken = true;
            Poll::Ready(Taken(self))
        })
        .await
    }

    /// A panic while it is locked is impossible to reach from outside, and would leave it as it was.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Taken<'_> {
    /// Wakes all that wait: the first of them may have been dropped.
    fn drop(&mut self) {
        let waiting = {
            let mut state = self.0.state();
            state.taken = false;
            std::mem::take(&mut state.waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::Future,
        pin::pin,
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        task::{Context, Poll, Wake, Waker},
    };

    use super::Turn;

    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn a_call_waits_until_the_other_is_done_or_dropped() {
        let woken = Arc::new(Count(AtomicUsize::new(0)));
        let waker = Waker::from(woken.clone());
        let mut context = Context::from_waker(&waker);
        let turn = Turn::default();
        let Poll::Ready(first) = pin!(turn.take()).poll(&mut context) else {
            panic!("nobody has the turn")
        };
        {
            let mut dropped = pin!(turn.take());
            assert!(dropped.as_mut().poll(&mut context).is_pending());
        }
        let mut second = pin!(turn.take());
        assert!(second.as_mut().poll(&mut context).is_pending());
        drop(first);
        assert!(woken.0.load(Ordering::SeqCst) >= 1);
        assert!(second.as_mut().poll(&mut context).is_ready());
    }
}
