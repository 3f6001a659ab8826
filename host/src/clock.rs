//! Time is an argument: everything that needs it holds a [`Clock`], so that tests move time instead of
//! waiting for it. Nothing else in the host reads the ambient clock.

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

    /// The end of a day, in UTC: the first instant of the next. `None`: it is no date such as 2027-01-31, or before 1970.
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
        Self(
            self.0
                .saturating_add(u64::try_from(by.as_millis()).unwrap_or(u64::MAX)),
        )
    }

    /// How long until `later`; zero when it has passed.
    pub fn until(self, later: Self) -> Duration {
        Duration::from_millis(later.0.saturating_sub(self.0))
    }
}

/// Where the time comes from.
#[derive(Clone)]
pub struct Clock(Source);

#[derive(Clone)]
enum Source {
    System { start: Instant },
    Manual(Arc<AtomicU64>),
}

impl Clock {
    /// The operating system's clock.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place where the ambient clock is read"
    )]
    pub fn system() -> Self {
        Self(Source::System {
            start: Instant::now(),
        })
    }

    /// A clock that stands still until it is moved, for tests.
    pub fn manual(start: UnixMillis) -> Self {
        Self(Source::Manual(Arc::new(AtomicU64::new(start.0))))
    }

    /// The wall-clock time.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place where the ambient clock is read"
    )]
    pub fn now(&self) -> UnixMillis {
        match &self.0 {
            Source::System { .. } => UnixMillis(
                SystemTime::now()
                    .duration_since(UNIX_EPOCH)
                    .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX)),
            ),
            Source::Manual(now) => UnixMillis(now.load(Ordering::SeqCst)),
        }
    }

    /// Time since this clock was made, never set back: for measuring, not for dates.
    pub fn elapsed(&self) -> Duration {
        match &self.0 {
            Source::System { start } => start.elapsed(),
            Source::Manual(now) => Duration::from_millis(now.load(Ordering::SeqCst)),
        }
    }

    /// As [`Self::elapsed`], to within some 10 ms and from another start, at a fraction of the price.
    pub fn coarse(&self) -> Duration {
        match &self.0 {
            #[cfg(target_os = "linux")]
            Source::System { .. } => {
                let time = rustix::time::clock_gettime(rustix::time::ClockId::MonotonicCoarse);
                Duration::try_from(time).unwrap_or_default()
            }
            _ => self.elapsed(),
        }
    }

    /// Moves a manual clock forward; the system's clock stays where it is.
    pub fn advance(&self, by: Duration) {
        if let Source::Manual(now) = &self.0 {
            now.fetch_add(
                u64::try_from(by.as_millis()).unwrap_or(u64::MAX),
                Ordering::SeqCst,
            );
        }
    }
}
