//! Numbers for tests: no backend hears of them. Who asks for a code gets the fixed one of the settings, in the words of
//! the template; who sends to one is answered as if the provider had taken it; and the host itself judges what comes
//! back.
//!
//! Invariant: all that is special about these numbers is decided here, in front of the fleet's members. The verifier
//! and the dispatcher know nothing of them.

use std::sync::Arc;

use futures_util::{FutureExt, future::ready};

use crate::{
    clock::Clock,
    model::{Locale, Outcome, PhoneNumber, Receipt, SecurityCode, TestNumbers},
    verifier::{AuthorityCall, CodeAuthority},
};

/// The numbers for tests, as the settings name them.
pub struct ForTests {
    numbers: Arc<TestNumbers>,
    clock: Clock,
}

impl ForTests {
    /// With these numbers; each is one for tests until its date.
    pub fn new(numbers: Arc<TestNumbers>, clock: Clock) -> Self {
        Self { numbers, clock }
    }

    /// Whether a number is for tests now.
    pub fn has(&self, number: &PhoneNumber) -> bool {
        self.code_of(number).is_some()
    }

    /// What becomes of a message to a number, without any backend; `None`: a backend is to send it.
    pub fn outcome(&self, number: &PhoneNumber) -> Option<Outcome> {
        self.has(number).then(|| Ok(Receipt::default()))
    }

    /// Whether a further SMS to a number may carry the code that is pending. Not after the number's date either: a number
    /// becomes one for tests, or stops being one, while a code is pending.
    pub fn shares_codes(&self, number: &PhoneNumber) -> bool {
        !self.numbers.names(number)
    }

    /// What an operator should know while any are in effect.
    pub fn warning(&self) -> Option<String> {
        self.numbers.warning(self.clock.now())
    }

    fn code_of(&self, number: &PhoneNumber) -> Option<&SecurityCode> {
        if self.numbers.0.is_empty() {
            return None;
        }
        self.numbers.code_of(number, self.clock.now())
    }
}

/// Of the numbers that it has.
impl CodeAuthority for ForTests {
    fn generate<'a>(
        self: Arc<Self>,
        number: &'a PhoneNumber,
        _locale: &'a Locale,
    ) -> Option<AuthorityCall<'a, SecurityCode>> {
        Some(ready(Ok(self.code_of(number)?.clone())).boxed())
    }
}
