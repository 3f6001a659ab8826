//! The backends in use, by name, each with its library, its bounds, its breaker and its calls; and who of them has a
//! message.
//!
//! Invariants: the fleet is exchanged as a whole; a call ends in the member in which it began, and none begins in a
//! member that is no longer in the fleet; there is always a member.

mod authority;
#[cfg(test)]
mod authority_stories;
mod breaker;
mod for_tests;
mod lane;
mod library;
#[cfg(test)]
mod linked_stories;
mod member;
mod members;
mod sender;
mod status;
#[cfg(test)]
mod stories;

use std::sync::Arc;

use arc_swap::ArcSwap;

pub use self::{
    breaker::{Breaker, BreakerState, Counts, Subject},
    for_tests::ForTests,
    lane::{Bounds, Lane, Slot},
    library::{Base, Library},
    member::{Member, Parts},
    members::{Entry, Members, Route},
    sender::{Content, Sender, Settled, Sms},
    status::{BackendFacts, BackendStatus},
};
use crate::{
    model::{Outcome, PhoneNumber, SendFailure},
    store::Destination,
};

/// The name of the one backend that `[phone_verification] BACKEND` gives.
pub const DEFAULT: &str = "default";

/// The backends in use.
pub struct Fleet {
    current: ArcSwap<Members>,
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
            if !next.entries().iter().any(stays) {
                member.breaker().retire();
                tokio::spawn(Arc::clone(member).drain());
            }
        }
    }

    /// Who is the `place`th, from 0, to be tried for a message; `None`: nobody. Ask again before each call: the answer may
    /// be another after a reload.
    pub fn nth(&self, to: Destination<'_>, place: usize) -> Option<Arc<Member>> {
        self.current.load().nth(to, place).map(Arc::clone)
    }

    /// The one that is tried first.
    pub fn first(&self, to: Destination<'_>) -> Result<Arc<Member>, SendFailure> {
        let members = self.current.load();
        members
            .nth(to, 0)
            .map(Arc::clone)
            .ok_or_else(|| Members::nobody(to))
    }

    /// Whether the next backend is tried where one may not send to a number's network.
    pub fn fails_over_by_destination(&self, to: Destination<'_>) -> bool {
        self.current.load().fails_over_by_destination(to)
    }

    /// The first member of the settings: who has all messages where there are no routes.
    pub fn usual(&self) -> Arc<Member> {
        Arc::clone(&self.current.load().entries()[0].member)
    }

    /// The one that has all messages, where there is no other.
    pub fn only(&self) -> Option<Arc<Member>> {
        match self.current.load().entries() {
            [one] => Some(Arc::clone(&one.member)),
            _ => None,
        }
    }

    /// The one that sends one text to several numbers in its own way, and has all of them; `None`: each number is sent to by
    /// itself.
    pub fn for_whole_batches(&self) -> Option<Arc<Member>> {
        let members = self.current.load();
        let member = &members.entries()[0].member;
        let one_by_one = members.have_routes() || member.lane().bounds().max_per_second.is_some();
        (member.sender().sends_bulk() && !one_by_one).then(|| Arc::clone(member))
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
            refused_countries: member.breaker().refused_countries(),
            breaker_opened: member.breaker().opened(),
            messages: member.breaker().counts(),
            waiting: (member.lane().waiting(), member.lane().bounds().queue_length),
            trouble: member.sender().trouble(),
        };
        members.entries().iter().map(status).collect()
    }

    /// No member gets another message from now on.
    pub fn close(&self) {
        for entry in self.current.load().entries() {
            entry.member.lane().close();
        }
    }
}
