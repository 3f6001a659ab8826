//! Catches the panics of a backend: in its constructor, in a call, in a poll, in a drop. Each library has a
//! standard library and so a panic hook of its own; this one notes where the panic was, for the error.
//!
//! Invariant: no panic of the author's code leaves through a function of the ABI, where it would end the
//! host.

use std::{
    any::Any,
    cell::{Cell, RefCell},
    future::Future,
    mem::ManuallyDrop,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Once,
    task::{Context, Poll},
};

use phone_verify_plugin_abi::error_flag;

use crate::{Error, ErrorKind};

thread_local! {
    static GUARDED: Cell<u32> = const { Cell::new(0) };
    static LAST_PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Takes over the panics of guarded code; all others go to the hook that was there.
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
            let payload = panic.payload();
            let text = payload
                .downcast_ref::<&str>()
                .copied()
                .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
                .unwrap_or("no message");
            let _ = LAST_PANIC.try_with(|last| *last.borrow_mut() = Some(format!("panicked{place}: {text}")));
        }));
    });
}

/// Runs the author's code; a panic becomes an error of kind `Internal` with the code `plugin_panic`.
pub(super) fn catch<T>(code: impl FnOnce() -> T) -> Result<T, Error> {
    GUARDED.with(|depth| depth.set(depth.get() + 1));
    let outcome = catch_unwind(AssertUnwindSafe(code));
    GUARDED.with(|depth| depth.set(depth.get() - 1));
    outcome.map_err(|payload| {
        forget(payload);
        let message = LAST_PANIC
            .with(|last| last.borrow_mut().take())
            .unwrap_or_else(|| "panicked".to_owned());
        Error::new(ErrorKind::Internal, "plugin_panic", message).with_flags(error_flag::PANIC)
    })
}

/// A payload is the author's too: dropping it could panic again.
fn forget(payload: Box<dyn Any + Send>) {
    std::mem::forget(payload);
}

/// Drops the author's value; a panic there is swallowed, since nobody waits for an answer.
pub(super) fn drop_guarded<T>(value: &mut ManuallyDrop<T>) {
    // SAFETY: called from `Drop` impls only, so the value is not used again.
    let _ = catch(|| unsafe { ManuallyDrop::drop(value) });
}

/// A future of the author's whose panics, in `poll` and in `drop`, stay inside.
pub(super) struct Guarded<F> {
    future: ManuallyDrop<F>,
    panicked: bool,
}

impl<F> Guarded<F> {
    pub(super) fn new(future: F) -> Self {
        Self {
            future: ManuallyDrop::new(future),
            panicked: false,
        }
    }
}

impl<T, F: Future<Output = Result<T, Error>>> Future for Guarded<F> {
    type Output = Result<T, Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // SAFETY: `future` is structurally pinned: it is never moved out, and dropped in place by `drop`.
        let (future, panicked) = unsafe {
            let this = self.get_unchecked_mut();
            (Pin::new_unchecked(&mut *this.future), &mut this.panicked)
        };
        if *panicked {
            return Poll::Ready(Err(Error::new(
                ErrorKind::Internal,
                "plugin_panic",
                "polled after a panic",
            )));
        }
        catch(|| future.poll(context)).unwrap_or_else(|error| {
            *panicked = true;
            Poll::Ready(Err(error))
        })
    }
}

impl<F> Drop for Guarded<F> {
    fn drop(&mut self) {
        drop_guarded(&mut self.future);
    }
}

#[cfg(test)]
mod tests {
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
    fn a_panic_in_a_drop_stays_inside() {
        install_hook();
        drop(Guarded::new(async {
            let _held = PanicsInDrop;
            std::future::pending::<()>().await;
            Ok::<(), Error>(())
        }));
        drop_guarded(&mut ManuallyDrop::new(PanicsInDrop));
    }

    #[test]
    fn a_payload_that_panics_when_dropped_stays_inside() {
        install_hook();
        let error = catch(|| std::panic::panic_any(PanicsInDrop)).unwrap_err();
        assert!(error.message().ends_with(": no message"), "{}", error.message());
    }
}
