//! Time measurements that do not depend on the speed or load of the machine.
//!
//! Invariant: a slow or busy machine, or one that was suspended, never makes a library fail a check.

use std::{hint::black_box, time::Duration};

use crate::clock::Clock;

/// Work of the speed measurement: dependent multiplications, which neither the compiler nor the processor can shorten.
const ROUNDS: u64 = 2_000_000;
/// How long a current machine needs for them. Unoptimised builds need a multiple of that.
const USUAL: Duration = if cfg!(debug_assertions) {
    Duration::from_millis(60)
} else {
    Duration::from_millis(5)
};
/// Bound of [`slowness`], so that one bad measurement cannot extend a time limit without end.
const MAX_SLOWNESS: f64 = 100.0;

/// How many times slower than a usual machine this one is: from 1 to [`MAX_SLOWNESS`]. Takes the fastest of three
/// measurements, as the other two may have been interrupted.
pub(super) fn slowness(clock: &Clock) -> f64 {
    let measured = (0..3).map(|_| {
        let work = || {
            (0..ROUNDS).fold(1_u64, |value, round| {
                black_box(value).wrapping_mul(31).wrapping_add(round)
            })
        };
        Step::of(clock, || black_box(work())).1.busy_or_wall()
    });
    let fastest = measured.min().unwrap_or(USUAL);
    (fastest.as_secs_f64() / USUAL.as_secs_f64()).clamp(1.0, MAX_SLOWNESS)
}

/// The time that one piece of work took on this thread.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    wall: Duration,
    /// Processor time of this thread. `None`: this system does not report it.
    busy: Option<Duration>,
    /// Whether the thread blocked, that is, gave up its processor to wait. `None`: this system does not report it.
    has_waited: Option<bool>,
}

impl Step {
    /// Runs the work on this thread and measures it.
    pub(super) fn of<T>(clock: &Clock, work: impl FnOnce() -> T) -> (T, Self) {
        let (waits, busy, wall) = (waits(), busy(), clock.elapsed());
        let done = work();
        let wall = clock.elapsed().saturating_sub(wall);
        let busy = busy_since(busy);
        let has_waited = waits.zip(self::waits()).map(|(before, after)| {
            // Reading a page from disk blocks the thread too, but that is the system's doing, not the library's.
            after.given_away > before.given_away && after.pages_read == before.pages_read
        });
        let step = Self {
            wall,
            busy,
            has_waited,
        };
        (done, step)
    }

    fn busy_or_wall(self) -> Duration {
        self.busy.unwrap_or(self.wall)
    }

    /// How long the work occupied its thread, computing or blocked. Excludes the time in which the system ran other
    /// threads instead: on a busy machine that is most of the wall time, and says nothing about the library.
    pub(super) fn held(self) -> Duration {
        match (self.busy, self.has_waited) {
            (Some(busy), Some(false)) => busy,
            _ => self.wall,
        }
    }
}

/// Counters that the system keeps for a thread.
struct Waits {
    /// Voluntary context switches.
    given_away: u64,
    /// Major page faults.
    pages_read: u64,
}

#[cfg(target_os = "linux")]
fn waits() -> Option<Waits> {
    let status = std::fs::read_to_string("/proc/thread-self/status").ok()?;
    let given_away = status
        .lines()
        .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
    let stat = std::fs::read_to_string("/proc/thread-self/stat").ok()?;
    // `/proc/…/stat`: field 2 is the name in parentheses (it may hold spaces), field 12 counts the major page faults.
    let pages_read = stat.rsplit_once(')')?.1.split_whitespace().nth(9)?;
    Some(Waits {
        given_away: given_away.trim().parse().ok()?,
        pages_read: pages_read.parse().ok()?,
    })
}

#[cfg(not(target_os = "linux"))]
fn waits() -> Option<Waits> {
    None
}

#[cfg(unix)]
fn busy() -> Option<Duration> {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(now).ok()
}

#[cfg(not(unix))]
fn busy() -> Option<Duration> {
    None
}

fn busy_since(before: Option<Duration>) -> Option<Duration> {
    Some(busy()?.saturating_sub(before?))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn what_waits_holds_its_thread_and_what_is_kept_from_running_does_not() {
        let clock = Clock::system();
        let pause = Duration::from_millis(60);
        let ((), waited) = Step::of(&clock, || std::thread::sleep(pause));
        assert!(waited.held() >= pause, "{waited:?}");
        let kept_from_running = Step {
            wall: Duration::from_secs(5),
            busy: Some(Duration::from_millis(1)),
            has_waited: Some(false),
        };
        assert_eq!(kept_from_running.held(), Duration::from_millis(1));
    }
}
