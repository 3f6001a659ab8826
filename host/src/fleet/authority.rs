//! The fleet as the one who says whose a code is: of the backend that a message to the number goes to first, if that
//! judges codes itself, and else the host's.

use std::sync::Arc;

use super::{Fleet, Members};
use crate::{
    model::{Locale, PhoneNumber},
    store::Destination,
    verifier::{Authorities, CodeAuthority, Responsible},
};

impl Members {
    fn of_new(&self, number: &PhoneNumber, locale: &Locale) -> Responsible {
        if self.for_tests.has(number) {
            return Responsible {
                authority: Arc::clone(&self.for_tests) as Arc<dyn CodeAuthority>,
                owner: None,
            };
        }
        let Some(member) = self.nth(Destination::new(number, locale), 0) else {
            return Responsible::host();
        };
        let authority = member.authority();
        Responsible {
            authority: Arc::clone(authority),
            owner: authority.validates().then(|| Arc::clone(member.name())),
        }
    }
}

impl Authorities for Fleet {
    fn of_new(&self, number: &PhoneNumber, locale: &Locale) -> Responsible {
        self.current.load().of_new(number, locale)
    }

    /// No backend hears of a number for tests, also not one that had a code of the number before.
    fn of_owner(&self, owner: &str, number: &PhoneNumber) -> Option<Arc<dyn CodeAuthority>> {
        let members = self.current.load();
        if members.for_tests.has(number) {
            return None;
        }
        members.owner(owner).map(|member| Arc::clone(member.authority()))
    }

    fn shares_codes(&self, number: &PhoneNumber) -> bool {
        self.current.load().for_tests.shares_codes(number)
    }

    fn reaches(&self, number: &PhoneNumber) -> bool {
        !self.current.load().for_tests.has(number)
    }

    fn price_per_segment(&self, to: Destination<'_>) -> Option<u64> {
        let members = self.current.load();
        members.nth(to, 0)?.prices().of(to.number.country())
    }
}
