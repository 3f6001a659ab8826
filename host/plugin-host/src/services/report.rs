//! Where a bulk send reports what became of each number.
//!
//! Invariant: each number is settled exactly once, by the library or, when the call is over, by
//! [`Reported::close`]; what a library says later or twice is not heard.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use phone_verify_plugin_abi::{RawError, RawReceipt};

use super::call::{ActiveCall, PrivateTexts};
use crate::{
    Settled, convert,
    model::{PhoneNumber, SendFailure},
    scrub::Scrubber,
};

/// The outcomes of one bulk call.
pub(crate) struct Reported {
    /// Which numbers are open; empty when the call is over.
    open: Mutex<Vec<bool>>,
    /// Masked in what the library says of them.
    numbers: Vec<PhoneNumber>,
    /// The caller's index of the first number.
    offset: usize,
    settled: Settled,
    scrubber: Arc<Scrubber>,
    /// Whether it is logged already that the library reports what it must not.
    is_told: AtomicBool,
}

impl Reported {
    pub(crate) fn new(
        numbers: &[PhoneNumber],
        offset: usize,
        settled: Settled,
        scrubber: Arc<Scrubber>,
    ) -> Arc<Self> {
        Arc::new(Self {
            open: Mutex::new(vec![true; numbers.len()]),
            numbers: numbers.to_vec(),
            offset,
            settled,
            scrubber,
            is_told: AtomicBool::new(false),
        })
    }

    /// In E.164.
    pub(super) fn numbers(&self) -> impl Iterator<Item = &str> {
        self.numbers.iter().map(PhoneNumber::e164)
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
        let number = usize::try_from(index)
            .ok()
            .and_then(|index| self.numbers.get(index));
        let private = PrivateTexts {
            number: number.map_or("", PhoneNumber::e164),
            ..call.private()
        };
        let private = private.all();
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{convert::raw_error, testing};

    #[test]
    fn what_is_said_of_a_number_does_not_show_it_however_it_is_written() {
        let numbers =
            ["+13478379634", "+442079460018"].map(|number| PhoneNumber::parse(number, None).unwrap());
        let heard = Arc::new(Mutex::new(Vec::new()));
        let settled = Arc::clone(&heard);
        let settled: Settled = Arc::new(move |index, outcome| {
            let outcome = outcome.map(|receipt| receipt.message_id.unwrap_or_default());
            let outcome = outcome.unwrap_or_else(|failure| failure.message);
            settled.lock().unwrap().push((index, outcome));
        });
        let reported = Reported::new(&numbers, 0, settled, Arc::default());
        let call = ActiveCall::new(
            testing::call(Duration::from_secs(1)),
            &testing::services(),
            PrivateTexts::default(),
        );
        call.reports_to(&reported);
        reported.settle(&call, 0, Err(raw_error(0, "x", "no 347-837-9634")));
        let receipt = RawReceipt {
            message_id: "id-02079460018".into(),
            flags: 0,
            ext: Vec::new().into(),
        };
        reported.settle(&call, 1, Ok(receipt));
        let heard = heard.lock().unwrap();
        assert_eq!(
            *heard,
            [(0, "no 34****34".to_owned()), (1, "id-02****18".to_owned())]
        );
        assert!(call.about().contains(&"+13478379634") && call.kept().about().contains(&"+442079460018"));
    }
}
