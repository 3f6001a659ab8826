//! Time is an argument: everything that needs it holds a [`Clock`], so that tests move time instead of
//! waiting for it. Nothing else in the host reads the ambient clock.
//!
//! The wall clock of a machine is set forward and back: by an operator, by NTP, by a virtual machine that resumes. What
//! lasts for a time (a code, a limit, a cooldown) must neither end late nor keep anybody waiting because of that. So
//! [`Clock::now`] is the *service time*: the wall clock, as long as that goes forward, and never slower than the time
//! that really passes. When the wall clock is set back, the service time goes on as if it had not been; when it is set
//! forward, the service time follows. So whatever lasts for a time is over as soon as either clock says so.
//!
//! What is stored is service time. How far it is ahead of the time since the machine was started is stored too
//! ([`Timeline`]), so that it goes on over a restart and is the same for all processes on one database.
//!
//! Invariants: the service time never goes back, and a second of it never lasts longer than a second.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// Milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixMillis(pub u64);

impl UnixMillis {
    /// As people and other programs read it (RFC 3339), to the second.
    pub fn rfc3339(self) -> String {
        humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_millis(self.0)).to_string()
    }

    /// The end of a day, in UTC: the first instant of the next. `None`: it is no date such as 2027-01-31, or before
    /// 1970.
    pub fn end_of(day: &str) -> Option<Self> {
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        let begin = humantime::parse_rfc3339(&format!("{day}T00:00:00Z")).ok()?;
        let since = begin.duration_since(UNIX_EPOCH).ok()?;
        Some(Self(0).plus(since + DAY))
    }

    /// The first whole second that is not before it.
    #[must_use]
    pub fn whole_second(self) -> Self {
        Self(self.0.div_ceil(1000).saturating_mul(1000))
    }

    /// This instant moved forward.
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        Self(self.0.saturating_add(in_millis(by)))
    }

    /// This instant moved back.
    #[must_use]
    pub fn minus(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(in_millis(by)))
    }

    /// How long until `later`; zero when it has passed.
    pub fn until(self, later: Self) -> Duration {
        Duration::from_millis(later.0.saturating_sub(self.0))
    }
}

fn in_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// By how much the service time is ahead of the time since the machine was started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeline {
    /// Which start of the machine that was.
    pub boot: String,
    /// By how many milliseconds.
    pub lead_ms: u64,
}

/// Where the time comes from. Clones are one clock.
#[derive(Clone)]
pub struct Clock {
    source: Source,
    /// By how many milliseconds the service time is ahead of the steady time. It only grows.
    lead_ms: Arc<AtomicU64>,
}

#[derive(Clone)]
enum Source {
    System {
        start: Instant,
        /// Names the start of the machine that the steady time counts from; `None`: it counts from the start of this
        /// process.
        boot: Option<Arc<str>>,
    },
    Manual(Arc<Manual>),
}

struct Manual {
    wall_ms: AtomicU64,
    steady_ms: AtomicU64,
    boot: u64,
}

impl Clock {
    fn of(source: Source) -> Self {
        Self {
            source,
            lead_ms: Arc::default(),
        }
    }

    /// The operating system's clock.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place where the ambient clock is read"
    )]
    pub fn system() -> Self {
        Self::of(Source::System {
            start: Instant::now(),
            boot: boot(),
        })
    }

    /// A clock that stands still until it is moved, for tests.
    pub fn manual(start: UnixMillis) -> Self {
        Self::of(Source::Manual(Arc::new(Manual {
            wall_ms: AtomicU64::new(start.0),
            steady_ms: AtomicU64::new(start.0),
            boot: 1,
        })))
    }

    /// The service time: for all that lasts for a time, and for all that is stored.
    pub fn now(&self) -> UnixMillis {
        // The wall clock first: a process that is stopped between the two must not take the pause for a step forward.
        let wall = self.wall();
        let steady = self.steady();
        let lead = wall.0.saturating_sub(steady);
        // Mostly nothing changes, and a load costs less than a write that other cores must hear of.
        let mut known = self.lead_ms.load(Ordering::Relaxed);
        if lead > known {
            known = self.lead_ms.fetch_max(lead, Ordering::Relaxed).max(lead);
        }
        UnixMillis(steady.saturating_add(known))
    }

    /// The wall-clock time, which may be set back: for dates that people name, and for what other programs are given.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place where the ambient clock is read"
    )]
    pub fn wall(&self) -> UnixMillis {
        match &self.source {
            Source::System { .. } => UnixMillis(
                SystemTime::now()
                    .duration_since(UNIX_EPOCH)
                    .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX)),
            ),
            Source::Manual(manual) => UnixMillis(manual.wall_ms.load(Ordering::SeqCst)),
        }
    }

    /// So long ago by either clock: for what must not be deleted early because a clock ran ahead.
    pub fn ago(&self, age: Duration) -> UnixMillis {
        self.now().min(self.wall()).minus(age)
    }

    /// A service time as the wall clock has it, for people and other programs: what is to come is as far ahead there as
    /// it is here, and what has been is never later than the wall clock.
    pub fn shown(&self, time: UnixMillis) -> UnixMillis {
        let (now, wall) = (self.now(), self.wall());
        if time > now {
            wall.plus(now.until(time))
        } else {
            time.min(wall)
        }
    }

    /// Milliseconds since the machine was started, the time that it was suspended among them where the system tells.
    fn steady(&self) -> u64 {
        match &self.source {
            #[cfg(target_os = "linux")]
            Source::System { boot: Some(_), .. } => {
                let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
                in_millis(Duration::try_from(time).unwrap_or_default())
            }
            Source::System { start, .. } => in_millis(start.elapsed()),
            Source::Manual(manual) => manual.steady_ms.load(Ordering::SeqCst),
        }
    }

    /// What another process on this machine needs to have the same service time; `None`: the system does not tell one
    /// start of the machine from another.
    pub fn timeline(&self) -> Option<Timeline> {
        self.now();
        let boot = match &self.source {
            Source::System { boot, .. } => boot.as_deref()?.to_owned(),
            Source::Manual(manual) => manual.boot.to_string(),
        };
        Some(Timeline {
            boot,
            lead_ms: self.lead_ms.load(Ordering::Relaxed),
        })
    }

    /// Goes on where another process is. `false`: it was on another machine, or before a restart of this one.
    pub fn follow(&self, other: &Timeline) -> bool {
        let is_same = self.timeline().is_some_and(|own| own.boot == other.boot);
        if is_same {
            self.lead_ms.fetch_max(other.lead_ms, Ordering::Relaxed);
        }
        is_same
    }

    /// From now on it is at least so late.
    pub fn not_before(&self, time: UnixMillis) {
        let lead = time.0.saturating_sub(self.steady());
        self.lead_ms.fetch_max(lead, Ordering::Relaxed);
    }

    /// Time since this clock was made, never set back: for measuring, not for dates.
    pub fn elapsed(&self) -> Duration {
        match &self.source {
            Source::System { start, .. } => start.elapsed(),
            Source::Manual(manual) => Duration::from_millis(manual.steady_ms.load(Ordering::SeqCst)),
        }
    }

    /// As [`Self::elapsed`], to within some 10 ms and from another start, at a fraction of the price.
    pub fn coarse(&self) -> Duration {
        match &self.source {
            #[cfg(target_os = "linux")]
            Source::System { .. } => {
                let time = rustix::time::clock_gettime(rustix::time::ClockId::MonotonicCoarse);
                Duration::try_from(time).unwrap_or_default()
            }
            _ => self.elapsed(),
        }
    }

    /// Microseconds of `CLOCK_MONOTONIC`, which a service manager compares with its own reading of it.
    #[cfg(target_os = "linux")]
    pub fn monotonic_us() -> u64 {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let since = Duration::try_from(time).unwrap_or_default();
        u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
    }

    /// Lets time pass on a manual clock; the system's clock stays where it is.
    pub fn advance(&self, by: Duration) {
        if let Source::Manual(manual) = &self.source {
            manual.wall_ms.fetch_add(in_millis(by), Ordering::SeqCst);
            manual.steady_ms.fetch_add(in_millis(by), Ordering::SeqCst);
        }
    }
}

/// The start of the machine that the steady time counts from, and what it is counted in.
#[cfg(target_os = "linux")]
fn boot() -> Option<Arc<str>> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    // A container may have a count of its own.
    let counted_in = std::fs::read_link("/proc/self/ns/time").unwrap_or_default();
    Some(format!("{} {}", boot.trim(), counted_in.display()).into())
}

#[cfg(not(target_os = "linux"))]
fn boot() -> Option<Arc<str>> {
    None
}

/// What stories do to a manual clock.
impl Clock {
    /// Sets the wall clock of a manual clock: so many milliseconds forward, or back.
    pub fn step(&self, by_ms: i64) {
        if let Source::Manual(manual) = &self.source {
            let step = |wall: u64| Some(wall.saturating_add_signed(by_ms));
            let _ = manual
                .wall_ms
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, step);
        }
    }

    /// The clock of another process on the same machine.
    #[must_use]
    pub fn of_another_process(&self) -> Self {
        Self::of(self.source.clone())
    }

    /// The clock of a process after the machine was started anew, with its wall clock as it is.
    #[must_use]
    pub fn after_a_reboot(&self) -> Self {
        let Source::Manual(manual) = &self.source else {
            return Self::system();
        };
        Self::of(Source::Manual(Arc::new(Manual {
            wall_ms: AtomicU64::new(self.wall().0),
            steady_ms: AtomicU64::new(0),
            boot: manual.boot + 1,
        })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const HOUR_MS: i64 = 3_600_000;
    const BEGIN: UnixMillis = UnixMillis(1_700_000_000_000);

    #[test]
    fn the_service_time_follows_the_wall_clock_forward_and_never_back() {
        let clock = Clock::manual(BEGIN);
        clock.step(2 * HOUR_MS);
        assert_eq!(clock.now(), BEGIN.plus(2 * HOUR));
        clock.step(-3 * HOUR_MS);
        assert_eq!(clock.now(), BEGIN.plus(2 * HOUR));
        clock.advance(HOUR);
        assert_eq!((clock.now(), clock.wall()), (BEGIN.plus(3 * HOUR), BEGIN));
    }

    #[test]
    fn what_is_shown_is_as_far_ahead_of_the_wall_clock_as_it_is_here() {
        let clock = Clock::manual(BEGIN);
        assert_eq!(clock.shown(BEGIN.plus(HOUR)), BEGIN.plus(HOUR));
        clock.step(2 * HOUR_MS);
        let then = clock.now();
        clock.step(-2 * HOUR_MS);
        assert_eq!(clock.shown(then.plus(HOUR)), BEGIN.plus(HOUR));
        assert_eq!(clock.shown(then), BEGIN);
        assert_eq!(clock.shown(BEGIN.minus(HOUR)), BEGIN.minus(HOUR));
    }

    #[test]
    fn another_process_goes_on_where_the_first_one_is() {
        let clock = Clock::manual(BEGIN);
        clock.step(2 * HOUR_MS);
        let before = clock.now();
        clock.step(-2 * HOUR_MS);
        let other = clock.of_another_process();
        assert_eq!(other.now(), BEGIN);
        assert!(other.follow(&clock.timeline().unwrap()));
        assert_eq!(other.now(), before);
        assert!(
            !clock.after_a_reboot().follow(&clock.timeline().unwrap()),
            "another count"
        );
    }

    #[test]
    fn the_systems_clock_is_about_the_wall_clock() {
        let clock = Clock::system();
        let (before, now, after) = (clock.wall(), clock.now(), clock.wall());
        // Two counts of milliseconds are rounded.
        assert!(
            before.0 <= now.0 + 1 && now.0 <= after.0 + 2,
            "{before:?} {now:?} {after:?}"
        );
    }
}
