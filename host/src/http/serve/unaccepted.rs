//! Limits the log lines about connections that the system could not hand over. The cause, such as missing descriptors,
//! usually lasts, and accepting is tried many times per second.
//!
//! Invariant: at most one line per [`INTERVAL`]. The first failure is logged at once.

use std::time::Duration;

/// The shortest time between two log lines.
const INTERVAL: Duration = Duration::from_secs(10);

/// The failed connections of one listener.
#[derive(Debug, Default)]
pub(super) struct Unaccepted {
    told_at: Option<Duration>,
    since_then: u64,
}

impl Unaccepted {
    /// Counts one more failure, at this time since the start. If a line is due, returns how many there were since the
    /// last line.
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
