//! The backends in use, by name, each with its library, its bounds, its breaker and its calls; and who of them has a
//! message.
//!
//! Invariants: the fleet is exchanged as a whole; a call ends in the member in which it began, and none begins in a
//! member that is no longer in the fleet; there is always a member.

mod authority;
mod breaker;
mod for_tests;
mod lane;
mod library;
#[cfg(test)]
mod linked_stories;
mod member;
mod sender;
mod status;
#[cfg(test)]
mod stories;

use std::sync::Arc;

use arc_swap::ArcSwap;
use phone_verify_plugin_host::Refusal;

pub use self::{
    breaker::{Breaker, BreakerState, Counts},
    for_tests::ForTests,
    lane::{Bounds, Lane, Slot},
    library::{Base, Library},
    member::{Member, Parts},
    sender::{Sender, Settled, Sms},
    status::{BackendFacts, BackendStatus},
};
use crate::{
    model::{Outcome, PhoneNumber},
    verifier::CodeAuthority,
};

/// The name of the one backend that `[phone_verification] BACKEND` gives.
pub const DEFAULT: &str = "default";

/// The backends in use.
pub struct Fleet {
    current: ArcSwap<Members>,
}

/// All of them at one time.
pub struct Members {
    /// In the order of the settings. Never empty.
    entries: Vec<Entry>,
    for_tests: Arc<ForTests>,
}

/// A member, and what is said of it.
#[derive(Clone)]
pub struct Entry {
    /// Who serves.
    pub member: Arc<Member>,
    /// Why it is not the file in the plugin directory; empty: it is.
    pub refusals: Arc<[Refusal]>,
}

impl Members {
    /// One backend, for all messages but those to numbers for tests.
    pub fn one(entry: Entry, for_tests: ForTests) -> Self {
        Self {
            entries: vec![entry],
            for_tests: Arc::new(for_tests),
        }
    }

    /// All of them, in the order of the settings.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The one of this name.
    pub fn named(&self, name: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| &**entry.member.name() == name)
    }

    /// Who is to send to a number.
    fn candidate(&self, _number: &PhoneNumber) -> &Arc<Member> {
        &self.entries[0].member
    }

    /// Who has authority over the codes of a number.
    fn authority(&self, number: &PhoneNumber) -> &dyn CodeAuthority {
        if self.for_tests.has(number) {
            &*self.for_tests
        } else {
            &**self.candidate(number).authority()
        }
    }

    /// The same, to be asked once these are the members no more.
    fn shared_authority(&self, number: &PhoneNumber) -> Arc<dyn CodeAuthority> {
        if self.for_tests.has(number) {
            Arc::clone(&self.for_tests) as Arc<dyn CodeAuthority>
        } else {
            Arc::clone(self.candidate(number).authority())
        }
    }
}

impl Fleet {
    /// With these.
    pub fn new(first: Members) -> Self {
        Self {
            current: ArcSwap::from_pointee(first),
        }
    }

    /// Who serves now.
    pub fn members(&self) -> Arc<Members> {
        self.current.load_full()
    }

    /// Calls from now on begin in `next`. Whoever is no longer a member is dropped once its calls have ended. Call it
    /// inside a tokio runtime.
    pub fn exchange(&self, next: Members) {
        let next = Arc::new(next);
        let before = self.current.swap(Arc::clone(&next));
        for Entry { member, .. } in before.entries() {
            let stays = |entry: &Entry| Arc::ptr_eq(&entry.member, member);
            if !next.entries.iter().any(stays) {
                member.breaker().retire();
                tokio::spawn(Arc::clone(member).drain());
            }
        }
    }

    /// Who is to send to a number. Ask again before each call: the answer may be another after a reload.
    pub fn candidate(&self, number: &PhoneNumber) -> Arc<Member> {
        Arc::clone(self.current.load().candidate(number))
    }

    /// The first member of the settings: who has all messages that nothing else is said of.
    pub fn usual(&self) -> Arc<Member> {
        Arc::clone(&self.current.load().entries[0].member)
    }

    /// What becomes of a message to a number for which no backend is asked; `None`: one is to be asked.
    pub fn outcome_without_backend(&self, number: &PhoneNumber) -> Option<Outcome> {
        self.current.load().for_tests.outcome(number)
    }

    /// What an operator should know while numbers for tests are in effect.
    pub fn test_numbers_warning(&self) -> Option<String> {
        self.current.load().for_tests.warning()
    }

    /// How its members fare, in the order of the settings.
    pub fn status(&self) -> Vec<BackendStatus> {
        let members = self.current.load();
        let status = |Entry { member, refusals }: &Entry| BackendStatus {
            name: Arc::clone(member.name()),
            facts: Arc::clone(member.facts()),
            refusals: Arc::clone(refusals),
            breaker: member.breaker().state(),
            breaker_opened: member.breaker().opened(),
            messages: member.breaker().counts(),
            trouble: member.sender().trouble(),
        };
        members.entries.iter().map(status).collect()
    }

    /// No member gets another message from now on.
    pub fn close(&self) {
        for entry in self.current.load().entries() {
            entry.member.lane().close();
        }
    }
}
