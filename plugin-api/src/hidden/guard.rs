//! Catches the panics of a backend: in its constructor, in a call, in a poll, in a drop. Each library contains its own
//! standard library and so its own panic hook; this one records the place of the panic for the error.
//!
//! Invariant: no panic of the author's code leaves through a function of the ABI, where it would abort the host.

use std::{
    any::Any,
    cell::{Cell, RefCell},
    future::Future,
    mem::ManuallyDrop,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{Once, OnceLock},
    task::{Context, Poll},
};

use phone_verify_plugin_abi::error_flag;

use crate::{Error, ErrorKind};

thread_local! {
    /// How many guarded calls are on the stack of this thread.
    static GUARDED: Cell<u32> = const { Cell::new(0) };
    /// The text of the last panic in guarded code, for the error.
    static LAST_PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Installs a hook that records panics of guarded code and prints nothing. It passes all others to the previous hook.
pub(super) fn install_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if GUARDED.try_with(Cell::get).unwrap_or(0) == 0 {
                return before(panic);
            }
            let place = panic
                .location()
                .map_or_else(String::new, |at| format!(" at {at}"));
            let message = format!("panicked{place}: {}", text(panic.payload()));
            let _ = LAST_PANIC.try_with(|last| *last.borrow_mut() = Some(message));
        }));
    });
}

fn text(payload: &dyn Any) -> &str {
    match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (None, Some(text)) => text,
        (None, None) => "no message",
    }
}

/// Runs the author's code; a panic becomes an error of kind `Internal` with the code `plugin_panic`.
pub(super) fn catch<T>(code: impl FnOnce() -> T) -> Result<T, Error> {
    // One `with` for both changes: in a shared library each access to a thread-local value is a function call.
    let outcome = GUARDED.with(|depth| {
        depth.set(depth.get() + 1);
        let outcome = catch_unwind(AssertUnwindSafe(code));
        depth.set(depth.get() - 1);
        outcome
    });
    outcome.map_err(what_panicked)
}

/// Builds the error. Separate from `catch`, which is instantiated for each method of each backend, to keep libraries
/// small.
#[cold]
#[inline(never)]
fn what_panicked(payload: Box<dyn Any + Send>) -> Error {
    forget(payload);
    // `try_with`: a backend may be dropped while its thread ends, when the thread-local values no longer exist.
    let message = LAST_PANIC.try_with(|last| last.borrow_mut().take());
    let message = message.ok().flatten().unwrap_or_else(|| "panicked".to_owned());
    panic_error(message)
}

#[cold]
#[inline(never)]
fn panic_error(message: String) -> Error {
    Error::new(ErrorKind::Internal, "plugin_panic", message).with_flags(error_flag::PANIC)
}

/// Leaks the panic's payload: it belongs to the author's code, and dropping it could panic again.
fn forget(payload: Box<dyn Any + Send>) {
    std::mem::forget(payload);
}

/// Drops the author's value. A panic there belongs to no call, so the caller gets it as an error.
pub(super) fn drop_guarded<T>(value: &mut ManuallyDrop<T>) -> Result<(), Error> {
    // SAFETY: called from `Drop` impls only, so the value is not used again.
    catch(|| unsafe { ManuallyDrop::drop(value) })
}

/// The first panic of an instance, if it had one. Its state may be inconsistent from then on, so new calls are refused.
/// Calls in progress continue, since an SMS may already have been sent for them.
#[derive(Default)]
pub(super) struct Poison(OnceLock<String>);

impl Poison {
    /// Fails if the instance has panicked.
    pub(super) fn check(&self) -> Result<(), Error> {
        self.0.get().map_or(Ok(()), |first| {
            let error = panic_error(format!("not called again after it {first}"));
            Err(error.with_flags(error_flag::NOT_RUN))
        })
    }

    fn set(&self, error: &Error) {
        let _ = self.0.set(error.message().to_owned());
    }
}

/// A future around the author's code. It catches panics in `poll` and in `drop`, and poisons the instance.
pub(super) struct Guarded<'a, F> {
    future: ManuallyDrop<F>,
    state: State,
    poison: &'a Poison,
}

#[derive(PartialEq)]
enum State {
    Open,
    Ended,
    Panicked,
}

impl<'a, F> Guarded<'a, F> {
    /// `future` must be an async block. Such a future holds no values once it has ended or panicked, so it needs no
    /// drop then.
    pub(super) fn new(future: F, poison: &'a Poison) -> Self {
        Self {
            future: ManuallyDrop::new(future),
            state: State::Open,
            poison,
        }
    }
}

impl<T, F: Future<Output = Result<T, Error>>> Future for Guarded<'_, F> {
    type Output = Result<T, Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // SAFETY: `future` is structurally pinned: it is never moved out, and dropped in place by `drop`.
        let (future, state, poison) = unsafe {
            let this = self.get_unchecked_mut();
            (
                Pin::new_unchecked(&mut *this.future),
                &mut this.state,
                this.poison,
            )
        };
        if *state == State::Panicked {
            return Poll::Ready(Err(panic_error("polled after a panic".to_owned())));
        }
        match catch(|| future.poll(context)) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(ready) => {
                *state = State::Ended;
                ready
            }
            Err(error) => {
                *state = State::Panicked;
                poison.set(&error);
                Poll::Ready(Err(error))
            }
        }
    }
}

impl<F> Drop for Guarded<'_, F> {
    fn drop(&mut self) {
        if self.state != State::Open {
            return;
        }
        if let Err(error) = drop_guarded(&mut self.future) {
            self.poison.set(&error);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    struct PanicsInDrop;

    impl Drop for PanicsInDrop {
        fn drop(&mut self) {
            panic!("in drop");
        }
    }

    #[test]
    fn a_panic_becomes_an_error_that_names_file_and_line() {
        install_hook();
        let line = line!() + 1;
        let error = catch(|| panic!("no {}", "way")).unwrap_err();
        assert_eq!(error.code(), "plugin_panic");
        let expected = format!("panicked at {}:{line}:", file!());
        assert!(error.message().starts_with(&expected), "{}", error.message());
        assert!(error.message().ends_with(": no way"), "{}", error.message());
    }

    #[test]
    fn a_panic_in_a_drop_stays_inside_and_poisons() {
        install_hook();
        let poison = Poison::default();
        let ready = async {
            let _held = PanicsInDrop;
            std::future::pending::<()>().await;
            Ok::<(), Error>(())
        };
        let mut guarded = Box::pin(Guarded::new(ready, &poison));
        let mut context = Context::from_waker(Waker::noop());
        assert!(guarded.as_mut().poll(&mut context).is_pending());
        assert!(poison.check().is_ok());

        drop(guarded);
        let error = poison.check().unwrap_err();
        assert!(
            error
                .message()
                .starts_with(concat!("not called again after it panicked at ", file!()))
        );
        assert!(error.message().ends_with(": in drop"), "{}", error.message());
    }

    #[test]
    fn a_future_that_panicked_is_not_polled_into() {
        install_hook();
        let poison = Poison::default();
        let mut guarded = Box::pin(Guarded::new(
            async { panic!("once") as Result<(), Error> },
            &poison,
        ));
        let mut context = Context::from_waker(Waker::noop());
        for expected in [": once", "polled after a panic"] {
            let Poll::Ready(Err(error)) = guarded.as_mut().poll(&mut context) else {
                panic!("a panic is an outcome");
            };
            assert!(error.message().ends_with(expected), "{}", error.message());
        }
    }

    #[test]
    fn a_payload_that_panics_when_dropped_stays_inside() {
        install_hook();
        let error = catch(|| std::panic::panic_any(PanicsInDrop)).unwrap_err();
        assert!(error.message().ends_with(": no message"), "{}", error.message());
    }
}
