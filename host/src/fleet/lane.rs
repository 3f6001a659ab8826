//! The bounds of one backend: how many calls are under way in it at once, and how long each may take.
//!
//! Invariant: a lane outlives the member that it was made for. The successor of a member takes the lane over, so that a
//! reload never lets more calls be under way than the settings say; new bounds make a new lane.

use std::{sync::Arc, time::Duration};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What the settings bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Calls under way at once.
    pub concurrency: usize,
    /// How long one call may take.
    pub send_timeout: Duration,
}

/// The bounds, and who is within them.
pub struct Lane {
    bounds: Bounds,
    slots: Arc<Semaphore>,
}

/// Room for one message, until it is dropped.
pub struct Slot(#[expect(dead_code, reason = "held, not read")] OwnedSemaphorePermit);

impl Lane {
    /// With all slots free.
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            slots: Arc::new(Semaphore::new(bounds.concurrency)),
        }
    }

    /// What holds in it.
    pub fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// Waits for room, first come, first served; `None`: the lane is closed.
    pub async fn slot(&self) -> Option<Slot> {
        Arc::clone(&self.slots).acquire_owned().await.ok().map(Slot)
    }

    /// Gives out no more slots, also to those that wait for one.
    pub fn close(&self) {
        self.slots.close();
    }
}
