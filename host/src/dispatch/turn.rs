//! How a message comes to a backend: it waits for a slot in the lane of the member that is to have it.
//!
//! Invariant: a message waits for one lane at a time, and takes no slot of another meanwhile.

use std::{sync::Arc, time::Duration};

use tokio::time::timeout;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::{
    fleet::{Fleet, Member, Slot},
    model::SendFailure,
    store::Destination,
};

/// A member that has room for a message.
pub(super) struct Turn {
    /// Has the message from now on.
    pub(super) member: Arc<Member>,
    /// A reload between here and the call finds a call in the member, and waits for it.
    pub(super) held: TaskTrackerToken,
    /// Its room in the lane.
    pub(super) slot: Slot,
}

/// Why there is none.
pub(super) enum NoTurn {
    /// No backend is there for the message.
    Nobody(SendFailure),
    /// The lanes give out no more slots: the process is to end.
    Closed,
}

impl Turn {
    /// Waits for the member that is tried first.
    pub(super) async fn first(fleet: &Fleet, to: Destination<'_>) -> Result<Self, NoTurn> {
        let mut member = fleet.first(to).map_err(NoTurn::Nobody)?;
        loop {
            let slot = member.lane().slot().await.ok_or(NoTurn::Closed)?;
            // The fleet may have been exchanged while this waited.
            let now = fleet.first(to).map_err(NoTurn::Nobody)?;
            if Arc::ptr_eq(now.lane(), member.lane()) {
                return Ok(Self::of(now, slot));
            }
            member = now;
        }
    }

    /// Waits for the next member that is not among those that were `asked`, to which each is added that has no room.
    /// `None`: there is none, or no time.
    pub(super) async fn next(
        fleet: &Fleet,
        to: Destination<'_>,
        asked: &mut Vec<Arc<str>>,
        time_left: impl Fn() -> Duration,
    ) -> Option<Self> {
        loop {
            let member = (0..)
                .map_while(|place| fleet.nth(to, place))
                .find(|member| !asked.contains(member.name()))?;
            let time_limit = time_left();
            if time_limit.is_zero() {
                return None;
            }
            // Its own messages wait in its queue: those that come over wait in it too, or not at all.
            let Some(_waiting) = member.lane().place() else {
                asked.push(Arc::clone(member.name()));
                continue;
            };
            let slot = timeout(time_limit, member.lane().slot()).await.ok()??;
            let now = fleet.members();
            match now.named(member.name()) {
                Some(now) if Arc::ptr_eq(now.member.lane(), member.lane()) => {
                    return Some(Self::of(Arc::clone(&now.member), slot));
                }
                // The fleet was exchanged while this waited.
                _ => {}
            }
        }
    }

    fn of(member: Arc<Member>, slot: Slot) -> Self {
        Self {
            held: member.hold(),
            member,
            slot,
        }
    }
}
