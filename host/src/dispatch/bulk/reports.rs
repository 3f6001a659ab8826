//! What is still to be reported of one call of a bulk job.
//!
//! Invariant: each number of a call is reported exactly once, whatever the backend does.

use std::sync::{Mutex, PoisonError};

use tokio::sync::mpsc;

use crate::model::{FailureClass, Origin, Outcome, SendFailure};

/// A number that is under way, by its place in the job, and what became of it; `None`: it was not sent and
/// waits again.
pub(super) type Item = (u64, Option<Outcome>);

/// Sees to it that each number of a call is reported once, also if the call forgets it, names it twice, names
/// one that it did not get, or panics.
pub(super) struct OpenReports {
    open: Mutex<Vec<Option<u64>>>,
    report: mpsc::UnboundedSender<Item>,
}

impl OpenReports {
    pub(super) fn new(items: Vec<u64>, report: mpsc::UnboundedSender<Item>) -> Self {
        let open = Mutex::new(items.into_iter().map(Some).collect());
        Self { open, report }
    }

    fn take(&self, place: usize) -> Option<u64> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.get_mut(place).and_then(Option::take)
    }

    pub(super) fn report(&self, place: usize, outcome: Outcome) {
        if let Some(item) = self.take(place) {
            // The run hears until all is reported; if it ended with an error, there is nobody to tell.
            let _ = self.report.send((item, Some(outcome)));
        }
    }

    pub(super) fn give_back(&self, place: usize) {
        if let Some(item) = self.take(place) {
            let _ = self.report.send((item, None));
        }
    }

    pub(super) fn close(&self) {
        let places = self.open.lock().unwrap_or_else(PoisonError::into_inner).len();
        for place in 0..places {
            self.report(place, Err(not_reported()));
        }
    }
}

impl Drop for OpenReports {
    fn drop(&mut self) {
        self.close();
    }
}

fn not_reported() -> SendFailure {
    SendFailure::new(
        FailureClass::OutcomeUnknown,
        "not_reported",
        "the backend did not say what became of this number",
    )
    .arisen_in(Origin::Library)
}
