//! Where a bulk send reports what became of each number.
//!
//! Invariant: each number is settled exactly once, by the library or, when the call is over, by
//! [`Reported::close`]; what a library says later or twice is not heard.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use phone_verify_plugin_abi::{
    RawError, RawReceipt, ReportObj, ReportV1, ReportV1_TO,
    abi_stable::{sabi_trait::TD_Opaque, std_types::RResult},
};

use super::{call::CallInfo, guarded};
use crate::{Settled, convert, model::SendFailure, scrub::Scrubber};

/// The outcomes of one bulk call.
pub(crate) struct Reported {
    /// Which numbers are open; empty when the call is over.
    open: Mutex<Vec<bool>>,
    /// The caller's index of the first number.
    offset: usize,
    settled: Settled,
    scrubber: Arc<Scrubber>,
    call: Arc<CallInfo>,
    /// Whether it is logged already that the library reports what it must not.
    is_told: AtomicBool,
}

impl Reported {
    pub(crate) fn new(
        count: usize,
        offset: usize,
        settled: Settled,
        scrubber: Arc<Scrubber>,
        call: Arc<CallInfo>,
    ) -> Arc<Self> {
        Arc::new(Self {
            open: Mutex::new(vec![true; count]),
            offset,
            settled,
            scrubber,
            call,
            is_told: AtomicBool::new(false),
        })
    }

    /// As an object that crosses the ABI.
    pub(crate) fn object(self: &Arc<Self>) -> ReportObj {
        ReportV1_TO::from_value(ReportSide(Arc::clone(self)), TD_Opaque)
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

    fn settle(&self, index: u64, outcome: RResult<RawReceipt, RawError>) {
        let outcome = match outcome {
            RResult::ROk(receipt) => convert::receipt(&receipt, &self.scrubber, &self.call.private().all()),
            RResult::RErr(error) => {
                let failure = convert::failure(&error, &self.scrubber, &self.call.private().all());
                Err(failure.arisen_in(self.call.origin().unwrap_or_default()))
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
                request_id = self.call.request_id(),
                index,
                "the backend reported a number twice, too late, or one that it was not given"
            );
        }
    }
}

struct ReportSide(Arc<Reported>);

impl ReportV1 for ReportSide {
    fn settle(&self, index: u64, outcome: RResult<RawReceipt, RawError>) {
        guarded((), || self.0.settle(index, outcome));
    }
}
