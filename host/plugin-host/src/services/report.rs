//! Where a bulk send reports what became of each number.
//!
//! Invariant: each number is settled exactly once, by the library or, when the call is over, by
//! [`Reported::close`]; what a library says later or twice is not heard.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use phone_verify_plugin_abi::{RawError, RawReceipt};

use super::call::ActiveCall;
use crate::{Settled, convert, model::SendFailure, scrub::Scrubber};

/// The outcomes of one bulk call.
pub(crate) struct Reported {
    /// Which numbers are open; empty when the call is over.
    open: Mutex<Vec<bool>>,
    /// The caller's index of the first number.
    offset: usize,
    settled: Settled,
    scrubber: Arc<Scrubber>,
    /// Whether it is logged already that the library reports what it must not.
    is_told: AtomicBool,
}

impl Reported {
    pub(crate) fn new(count: usize, offset: usize, settled: Settled, scrubber: Arc<Scrubber>) -> Arc<Self> {
        Arc::new(Self {
            open: Mutex::new(vec![true; count]),
            offset,
            settled,
            scrubber,
            is_told: AtomicBool::new(false),
        })
    }

    /// Whether anything is settled.
    pub(super) fn has_settled(&self) -> bool {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.iter().any(|is_open| !is_open)
    }

    /// Settles what is still open with `failure`, and hears nothing more.
    pub(crate) fn close(&self, failure: &SendFailure) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        for (index, is_open) in std::mem::take(&mut *open).into_iter().enumerate() {
            if is_open {
                (self.settled)(self.offset + index, Err(failure.clone()));
            }
        }
    }

    /// What its library says of one number, in that call.
    pub(super) fn settle(&self, call: &ActiveCall<'_>, index: u64, outcome: Result<RawReceipt, RawError>) {
        let private = call.private().all();
        let outcome = match outcome {
            Ok(receipt) => convert::receipt(&receipt, &self.scrubber, &private),
            Err(error) => {
                let failure = convert::failure(&error, &self.scrubber, &private);
                Err(failure.arisen_in(call.origin().unwrap_or_default()))
            }
        };
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let is_open = usize::try_from(index)
            .ok()
            .and_then(|index| open.get_mut(index).map(|is_open| (index, is_open)));
        if let Some((index, is_open)) = is_open
            && std::mem::take(is_open)
        {
            // Under the lock, so that nothing is heard after `close` has returned.
            (self.settled)(self.offset + index, outcome);
        } else if !self.is_told.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                request_id = call.request_id(),
                index,
                "the backend reported a number twice, too late, or one that it was not given"
            );
        }
    }
}
