//! Connections that the system did not hand over, as the log has them. What keeps it from that mostly lasts, and it is tried
//! many times a second.
//!
//! Invariant: the log gets at most one line in [`INTERVAL`], and the first one at once.

use std::time::Duration;

/// How often it is told.
const INTERVAL: Duration = Duration::from_secs(10);

/// Those of one listener.
#[derive(Debug, Default)]
pub(super) struct Unaccepted {
    told_at: Option<Duration>,
    since_then: u64,
}

impl Unaccepted {
    /// One more, at this time since the start. Returns how many there were since they were told of last, if it is time to.
    pub(super) fn add(&mut self, now: Duration) -> Option<u64> {
        self.since_then += 1;
        let waits = |told_at: Duration| now.saturating_sub(told_at) < INTERVAL;
        if self.told_at.is_some_and(waits) {
            return None;
        }
        self.told_at = Some(now);
        Some(std::mem::take(&mut self.since_then))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_told_at_once_and_then_how_many_there_were_in_ten_seconds() {
        let mut unaccepted = Unaccepted::default();
        let told: Vec<(u64, u64)> = (0..500)
            .filter_map(|n| Some((n, unaccepted.add(Duration::from_millis(7000 + 50 * n))?)))
            .collect();
        assert_eq!(told, [(0, 1), (200, 200), (400, 200)]);
    }
}
