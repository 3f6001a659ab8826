//! All backends of the fleet at one time, and who of them has a message.
//!
//! Invariant: the order in which backends are tried for a message depends on the message and on the settings alone.

use std::sync::Arc;

use phone_verify_plugin_host::Refusal;

use super::{ForTests, Member};
use crate::{
    model::{FailureClass, Origin, SendFailure},
    rules::route::{Conditions, SMS, Target, choose},
    store::Destination,
};

/// A member, and what is said of it.
#[derive(Clone)]
pub struct Entry {
    /// Who serves.
    pub member: Arc<Member>,
    /// Why it is not the file in the plugin directory; empty: it is.
    pub refusals: Arc<[Refusal]>,
}

/// All backends at one time.
pub struct Members {
    /// In the order of the settings. Never empty.
    entries: Vec<Entry>,
    /// In the order of the settings. Empty: the first member has all messages.
    routes: Vec<Route>,
    /// Whether any route depends on the language.
    depend_on_language: bool,
    pub(super) for_tests: Arc<ForTests>,
}

/// Which members a message is tried with.
pub struct Route {
    /// Which messages take it.
    pub conditions: Conditions,
    /// Members by their places in the settings, in the order in which they are tried.
    pub send: Vec<usize>,
    /// Whether the next one is tried where one may not send to the number's network.
    pub destination_failover: bool,
}

impl Members {
    /// These, in the order of the settings. `None`: there is none, or a route has one that there is not.
    pub fn of(entries: Vec<Entry>, routes: Vec<Route>, for_tests: ForTests) -> Option<Self> {
        let are_there = |route: &Route| route.send.iter().all(|place| *place < entries.len());
        (!entries.is_empty() && routes.iter().all(are_there)).then(|| Self {
            depend_on_language: routes.iter().any(|route| !route.conditions.languages.is_empty()),
            entries,
            routes,
            for_tests: Arc::new(for_tests),
        })
    }

    /// One backend, for all messages but those to numbers for tests.
    pub fn one(entry: Entry, for_tests: ForTests) -> Self {
        Self {
            entries: vec![entry],
            routes: Vec::new(),
            depend_on_language: false,
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

    /// The one of this name, if it judges codes. Another backend under the name of one that did owns nothing of it.
    pub(super) fn owner(&self, name: &str) -> Option<&Arc<Member>> {
        let member = &self.named(name)?.member;
        member.authority().validates().then_some(member)
    }

    /// Who is the `place`th, from 0, to be tried for a message.
    pub(super) fn nth(&self, to: Destination<'_>, place: usize) -> Option<&Arc<Member>> {
        if let Some(owner) = to.owner
            && !self.for_tests.has(to.number)
        {
            return self.owner(owner).filter(|_| place == 0);
        }
        if self.routes.is_empty() || self.for_tests.has(to.number) {
            return (place == 0).then(|| &self.entries[0].member);
        }
        let send = &*self.route(to)?.send;
        let place = place_after(to.after, place, send.len(), |place| {
            self.entries[send[place]].member.name()
        })?;
        Some(&self.entries[send[place]].member)
    }

    /// The route that a message takes.
    fn route(&self, to: Destination<'_>) -> Option<&Route> {
        let language = if self.depend_on_language {
            to.locale.first_tag()
        } else {
            String::new()
        };
        let target = Target {
            number: to.number,
            language: &language,
            channel: SMS,
        };
        let conditions = self.routes.iter().map(|route| &route.conditions);
        choose(conditions, target).map(|place| &self.routes[place])
    }

    /// Whether messages may go through other members than the first.
    pub(super) fn have_routes(&self) -> bool {
        !self.routes.is_empty()
    }

    /// Whether the next one is tried where one may not send to the number's network.
    pub(super) fn fails_over_by_destination(&self, to: Destination<'_>) -> bool {
        self.route(to).is_some_and(|route| route.destination_failover)
    }

    /// Why there is nobody for a message.
    pub(super) fn nobody(to: Destination<'_>) -> SendFailure {
        let (class, code, message) = match to.owner {
            Some(owner) => (
                FailureClass::Config,
                "owner_gone",
                format!(
                    "the backend {owner}, which alone may send this code, is in use no more; nothing was sent"
                ),
            ),
            None => (
                FailureClass::DestinationBlocked,
                "no_route",
                "no route of the settings takes a message to this number; nothing was sent".to_owned(),
            ),
        };
        SendFailure::new(class, code, message).arisen_in(Origin::Host)
    }
}

/// The place in a route of the one that is tried as the `nth`: those after the one that had the message before come first,
/// and that one last.
fn place_after<'a>(
    after: Option<&str>,
    nth: usize,
    places: usize,
    name: impl Fn(usize) -> &'a Arc<str>,
) -> Option<usize> {
    if nth >= places {
        return None;
    }
    let before = after.and_then(|after| (0..places).find(|place| **name(*place) == *after));
    Some(before.map_or(nth, |before| (before + 1 + nth) % places))
}
