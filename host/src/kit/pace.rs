//! How long something takes, told apart from how fast the machine is at it.
//!
//! Invariant: a machine that is slow, busy, or suspended for a while, makes no verdict about a library.

use std::{hint::black_box, time::Duration};

use crate::clock::Clock;

/// Dependent multiplications, and how long a machine of today takes for them. Without optimisation it is a multiple.
const ROUNDS: u64 = 2_000_000;
const USUAL: Duration = if cfg!(debug_assertions) {
    Duration::from_millis(60)
} else {
    Duration::from_millis(5)
};
/// One that is slower by more is not known.
const MAX_SLOWNESS: f64 = 100.0;

/// How many times as long as usual this machine takes, and at least once.
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

/// What one step of this thread took.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    wall: Duration,
    /// Processor time of this thread; `None`: not known on this system.
    busy: Option<Duration>,
    /// Whether the thread gave its processor away to wait for something; `None`: not known on this system.
    has_waited: Option<bool>,
}

impl Step {
    /// Does it on this thread.
    pub(super) fn of<T>(clock: &Clock, work: impl FnOnce() -> T) -> (T, Self) {
        let (waits, busy, wall) = (waits(), busy(), clock.elapsed());
        let done = work();
        let wall = clock.elapsed().saturating_sub(wall);
        let busy = busy_since(busy);
        let has_waited = waits.zip(self::waits()).map(|(before, after)| {
            // A page that is read from the disk is waited for too, and is no matter of the library.
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

    /// How long it kept others from the thread by itself: at work, or while it waited for something. Not counted is how long
    /// the system kept the thread from running.
    pub(super) fn held(self) -> Duration {
        match (self.busy, self.has_waited) {
            (Some(busy), Some(false)) => busy,
            _ => self.wall,
        }
    }
}

/// What the system counts of a thread.
struct Waits {
    given_away: u64,
    pages_read: u64,
}

#[cfg(target_os = "linux")]
fn waits() -> Option<Waits> {
    let status = std::fs::read_to_string("/proc/thread-self/status").ok()?;
    let given_away = status
        .lines()
        .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
    let stat = std::fs::read_to_string("/proc/thread-self/stat").ok()?;
    // The second field is the name, in brackets; the twelfth the major faults.
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
