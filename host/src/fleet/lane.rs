//! The bounds of one backend: how many messages wait for it, how many calls are under way in it at once, how many begin
//! within a second, and how long each may take.
//!
//! Invariants: a lane outlives the member that it was made for. The successor of a member takes the lane over, so that a
//! reload never lets more calls be under way than the settings say; new bounds make a new lane. No message for one lane
//! waits for another.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep_until},
};

use crate::store::Waiting;

/// What the settings bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Calls under way at once.
    pub concurrency: usize,
    /// How long one call may take.
    pub send_timeout: Duration,
    /// Messages that may wait for a call.
    pub queue_length: usize,
    /// Messages that may be given to the backend within a second; `None`: as many as there are.
    pub max_per_second: Option<u32>,
}

/// The bounds, and who is within them.
pub struct Lane {
    bounds: Bounds,
    slots: Arc<Semaphore>,
    places: Arc<Semaphore>,
    /// When the next message may be given to the backend.
    next_turn: Mutex<Option<Instant>>,
}

/// Room for one message, until it is dropped.
pub struct Slot(#[expect(dead_code, reason = "held, not read")] OwnedSemaphorePermit);

impl Lane {
    /// With all slots free.
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            slots: Arc::new(Semaphore::new(bounds.concurrency)),
            places: Arc::new(Semaphore::new(bounds.queue_length)),
            next_turn: Mutex::default(),
        }
    }

    /// What holds in it.
    pub fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// A place among the messages that wait; `None`: there is none.
    pub fn place(&self) -> Option<Waiting> {
        Arc::clone(&self.places).try_acquire_owned().ok().map(Waiting::at)
    }

    /// How many messages wait.
    pub fn waiting(&self) -> usize {
        self.bounds
            .queue_length
            .saturating_sub(self.places.available_permits())
    }

    /// Waits for room, first come, first served; `None`: the lane is closed.
    pub async fn slot(&self) -> Option<Slot> {
        Arc::clone(&self.slots).acquire_owned().await.ok().map(Slot)
    }

    /// Waits until one more message may be given to the backend. The error is how long that would take, if it is not
    /// less than `time_limit`; nobody has to wait for a turn that was not taken.
    ///
    /// Turns are evenly spaced, so that no second, wherever it begins, has more than the bound.
    pub async fn turn(&self, time_limit: Duration) -> Result<(), Duration> {
        let Some(most) = self.bounds.max_per_second else {
            return Ok(());
        };
        let now = Instant::now();
        let at = {
            let mut next = self.next_turn.lock().unwrap_or_else(PoisonError::into_inner);
            let at = next.map_or(now, |next| next.max(now));
            if at - now >= time_limit {
                return Err(at - now);
            }
            *next = Some(at + Duration::from_secs(1) / most.max(1));
            at
        };
        sleep_until(at).await;
        Ok(())
    }

    /// Gives out no more slots, also to those that wait for one.
    pub fn close(&self) {
        self.slots.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lane(max_per_second: Option<u32>) -> Lane {
        Lane::new(Bounds {
            concurrency: 1,
            send_timeout: Duration::from_secs(10),
            queue_length: 2,
            max_per_second,
        })
    }

    #[tokio::test(start_paused = true)]
    async fn no_second_has_more_turns_than_the_bound_and_a_turn_that_is_too_late_is_not_taken() {
        let lane = lane(Some(4));
        let began = Instant::now();
        for turn in 0..9 {
            lane.turn(Duration::from_secs(1)).await.unwrap();
            assert_eq!(began.elapsed(), Duration::from_millis(250) * turn);
        }
        let too_late = lane.turn(Duration::from_millis(250)).await;
        assert_eq!(too_late, Err(Duration::from_millis(250)));
        lane.turn(Duration::from_millis(251)).await.unwrap();
        assert_eq!(began.elapsed(), Duration::from_millis(250) * 9);
    }

    #[tokio::test]
    async fn as_many_wait_as_there_are_places() {
        let lane = lane(None);
        let [one, other] = [lane.place().unwrap(), lane.place().unwrap()];
        assert!(lane.place().is_none());
        assert_eq!(lane.waiting(), 2);
        drop(one);
        assert!(lane.place().is_some());
        drop(other);
        assert_eq!(lane.waiting(), 0);
    }
}
