//! Rate limits: how much of something may happen within a time window. Every limit of this program is a [`Limit`] over
//! a [`Log`]. They differ in whose log it is and in what the amounts count.
//!
//! The log is a sliding window: no window, wherever it begins, holds more than the limit allows, and the time when
//! there is room again is known to the millisecond. Fixed windows would admit up to twice the limit around their
//! boundaries, and so would a rate with a burst (GCRA). For a cap on spending both are too much. The cost of a log is
//! its length, which therefore has a bound.
//!
//! Invariants: no entry is forgotten early. When entries are joined to keep the bound, they count until the later one
//! expires, so a long log errs on the strict side only. And no client waits longer than a window: an entry from the
//! future, left by a clock that ran ahead, counts as one of now.

use std::time::Duration;

use serde::{Deserialize, Serialize, Serializer};

use crate::clock::UnixMillis;

/// How long a log remembers. No window and no lifetime of a code is longer, so that no counter ends before the code
/// that it protects.
pub const HORIZON: Duration = Duration::from_secs(24 * 60 * 60);

/// The most entries of a log. Logs of single numbers and addresses stay below it and are exact. The log of a busy
/// service is exact to about 6 % of an entry's age.
const MAX_ENTRIES: usize = 128;

/// One minute. Entries closer than this are joined as if they had the same age, and the clocks of two processes differ
/// by no more.
const MINUTE_MILLIS: u64 = 60_000;

/// At most `max` within `window`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// The name of the setting, which clients see too.
    pub code: &'static str,
    /// The most that a window may hold, at least 1.
    pub max: u64,
    /// How long an entry counts, at most [`HORIZON`].
    pub window: Duration,
    /// The percentage of `max` that is reserved for trusted numbers: see [`Share`].
    pub reserved_percent: u8,
}

/// How much of a cap on the service or on a country a message may use. Without a reserve, an attacker who requests
/// codes for new numbers could use up the whole cap and so lock out all users.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// A number without history: everything except the reserve.
    Open,
    /// A number of a country whose codes are entered: also half of the reserve. Not all of it, since an attacker can
    /// choose the country.
    Country,
    /// A number that was verified before: everything.
    Whole,
}

impl Limit {
    /// A limit without a reserve.
    pub const fn new(code: &'static str, max: u64, window: Duration) -> Self {
        Self {
            code,
            max,
            window,
            reserved_percent: 0,
        }
    }

    /// The most that a window may hold after a message with this share is added.
    pub fn max_for(&self, share: Share) -> u64 {
        let reserved = self.max.saturating_mul(u64::from(self.reserved_percent)) / 100;
        let out_of_reach = match share {
            Share::Open => reserved,
            Share::Country => reserved.div_ceil(2),
            Share::Whole => 0,
        };
        self.max.saturating_sub(out_of_reach)
    }

    /// The waits between SMS to one number: `first`, then doubling each time, for as long as a code of this lifetime is
    /// valid. Expressed as limits: one within `first`, two within three times `first`, three within seven times, and so
    /// on.
    pub fn cooldown(code: &'static str, first: Duration, lifetime: Duration) -> Vec<Self> {
        let mut limits = Vec::new();
        let mut window = first;
        while window > Duration::ZERO && window <= HORIZON {
            let max = limits.len() as u64 + 1;
            limits.push(Self::new(code, max, window));
            if window >= lifetime {
                break;
            }
            window = window * 2 + first;
        }
        limits
    }
}

/// A limit without room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitReached {
    /// [`Limit::code`].
    pub code: &'static str,
    /// When there is room again, if nothing else is added before.
    pub until: UnixMillis,
}

/// Recent events with their amounts, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "Vec<Step>")]
pub struct Log(Vec<Entry>);

/// The stored form of an entry: the time since the entry before, its span and its amount, in milliseconds. The
/// differences keep a long log small enough for one page of a database.
type Step = (u64, u64, u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    at_ms: u64,
    /// The age difference between this entry and the oldest one joined into it.
    span_ms: u64,
    amount: u64,
}

impl Entry {
    /// Whether the entry is in a window that ends now.
    fn counts(&self, window: Duration, now: UnixMillis) -> bool {
        self.leaves(window) > now
    }

    /// When the entry leaves the window.
    fn leaves(&self, window: Duration) -> UnixMillis {
        UnixMillis(self.at_ms).plus(window)
    }

    /// When the entry leaves the window, as reported to clients: an entry from the future counts as one of now.
    fn told_to_leave(&self, window: Duration, now: UnixMillis) -> UnixMillis {
        UnixMillis(self.at_ms.min(now.0)).plus(window)
    }
}

impl Serialize for Log {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut before = 0;
        serializer.collect_seq(self.0.iter().map(|entry| -> Step {
            let later = entry.at_ms - before;
            before = entry.at_ms;
            (later, entry.span_ms, entry.amount)
        }))
    }
}

impl From<Vec<Step>> for Log {
    fn from(steps: Vec<Step>) -> Self {
        let mut at_ms = 0_u64;
        let entries = steps.into_iter().map(|(later, span_ms, amount)| {
            at_ms = at_ms.saturating_add(later);
            Entry {
                at_ms,
                span_ms,
                amount,
            }
        });
        Self(entries.collect())
    }
}

impl Log {
    /// The limit that blocks this amount for longest. `None`: there is room in all of them.
    pub fn refusal(&self, limits: &[Limit], amount: u64, now: UnixMillis) -> Option<LimitReached> {
        self.refusal_within(Share::Whole, limits, amount, now)
    }

    /// The same for a message that may use this share of each limit.
    pub fn refusal_within(
        &self,
        share: Share,
        limits: &[Limit],
        amount: u64,
        now: UnixMillis,
    ) -> Option<LimitReached> {
        // Fast path: usually the whole log fits into each limit, so its windows need no computation.
        let all = self
            .0
            .iter()
            .fold(amount, |sum, entry| sum.saturating_add(entry.amount));
        limits
            .iter()
            .map(|limit| (limit, limit.max_for(share)))
            .filter(|(_, max)| all > *max)
            .filter_map(|(limit, max)| {
                let until = self.full_until(max, limit.window, amount, now)?;
                Some(LimitReached {
                    code: limit.code,
                    until,
                })
            })
            .max_by_key(|reached| reached.until)
    }

    /// When the window has room for `amount`. `None`: now.
    fn full_until(&self, max: u64, window: Duration, amount: u64, now: UnixMillis) -> Option<UnixMillis> {
        let began = self.0.partition_point(|entry| !entry.counts(window, now));
        let counting = &self.0[began..];
        let mut sum = counting
            .iter()
            .fold(amount, |sum, entry| sum.saturating_add(entry.amount));
        let mut until = None;
        for entry in counting {
            if sum <= max {
                break;
            }
            sum = sum.saturating_sub(entry.amount);
            until = Some(entry.told_to_leave(window, now));
        }
        // An amount above the limit never fits. The client gets a wait of one window each time.
        if sum > max {
            until = Some(now.plus(window));
        }
        until
    }

    /// The sum of a window that ends now.
    pub fn within(&self, window: Duration, now: UnixMillis) -> u64 {
        let counting = self.0.iter().filter(|entry| entry.counts(window, now));
        counting.fold(0, |sum, entry| sum.saturating_add(entry.amount))
    }

    /// Adds an amount, and drops entries older than [`HORIZON`].
    pub fn add(&mut self, amount: u64, now: UnixMillis) {
        let over = self.0.partition_point(|entry| !entry.counts(HORIZON, now));
        self.0.drain(..over);
        for entry in &mut self.0 {
            if entry.at_ms > now.0 + MINUTE_MILLIS {
                entry.at_ms = now.0;
            }
        }
        // The clocks of two nodes may differ a little. Taking the later time keeps the order and is the strict choice.
        let at_ms = self.0.last().map_or(now.0, |last| last.at_ms.max(now.0));
        match self.0.last_mut() {
            Some(last) if last.at_ms == at_ms => last.amount = last.amount.saturating_add(amount),
            _ => self.0.push(Entry {
                at_ms,
                span_ms: 0,
                amount,
            }),
        }
        if self.0.len() > MAX_ENTRIES {
            self.join_closest(at_ms);
        }
    }

    /// Joins the two neighbours with the smallest span relative to their age, where the loss of precision matters
    /// least.
    fn join_closest(&mut self, now_ms: u64) {
        let span = |older: &Entry, younger: &Entry| younger.at_ms - older.at_ms + older.span_ms;
        let per_age = |at: usize| {
            let (older, younger) = (&self.0[at], &self.0[at + 1]);
            span(older, younger).saturating_mul(1_000_000) / (now_ms - younger.at_ms + MINUTE_MILLIS)
        };
        if let Some(at) = (0..self.0.len() - 1).min_by_key(|at| per_age(*at)) {
            let older = self.0.remove(at);
            let younger = &mut self.0[at];
            younger.span_ms = span(&older, younger);
            younger.amount = younger.amount.saturating_add(older.amount);
        }
    }

    /// Removes an amount that was added at or after `added_from`, such as that of a message that was not sent.
    pub fn take_back(&mut self, amount: u64, added_from: UnixMillis) {
        let from = self.0.partition_point(|entry| entry.at_ms < added_from.0);
        let mut left = amount;
        for entry in &mut self.0[from..] {
            let taken = entry.amount.min(left);
            entry.amount -= taken;
            left -= taken;
        }
        self.0.retain(|entry| entry.amount > 0);
    }

    /// When all entries are older than [`HORIZON`]. `None`: it is empty.
    pub fn ends(&self) -> Option<UnixMillis> {
        self.0.last().map(|entry| entry.leaves(HORIZON))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const BEGIN: UnixMillis = UnixMillis(1_700_000_000_000);

    fn at(ms: u64) -> UnixMillis {
        UnixMillis(BEGIN.0 + ms)
    }

    fn limit(max: u64, window: Duration) -> [Limit; 1] {
        let code = "limit";
        [Limit::new(code, max, window)]
    }

    #[test]
    fn a_window_is_full_to_its_last_millisecond() {
        let limits = limit(3, HOUR);
        let mut log = Log::default();
        for ms in [0, 10, 20] {
            assert_eq!(log.refusal(&limits, 1, at(ms)), None);
            log.add(1, at(ms));
        }
        let reached = |ms| log.refusal(&limits, 1, at(ms)).map(|reached| reached.until);
        assert_eq!(reached(21), Some(at(3_600_000)));
        assert_eq!(reached(3_599_999), Some(at(3_600_000)));
        assert_eq!(reached(3_600_000), None);
        // Two fit when the second entry has left. Four exceed the limit and never fit.
        let two = log.refusal(&limits, 2, at(21)).unwrap();
        assert_eq!(two.until, at(3_600_010));
        let four = log.refusal(&limits, 4, at(21)).unwrap();
        assert_eq!(four.until, at(3_600_021));
    }

    #[test]
    fn the_limit_that_lasts_longest_is_named() {
        let [short, long] = [limit(1, HOUR / 60), limit(2, HOUR)].concat()[..] else {
            unreachable!()
        };
        let long = Limit { code: "long", ..long };
        let mut counted = Log::default();
        counted.add(1, at(0));
        assert_eq!(counted.refusal(&[short, long], 1, at(1)).unwrap().code, "limit");
        counted.add(1, at(60_000));
        assert_eq!(
            counted.refusal(&[short, long], 1, at(60_001)).unwrap().code,
            "long"
        );
    }

    #[test]
    fn the_waits_of_a_cooldown_double_while_a_code_is_good() {
        let seconds = |limits: Vec<Limit>| -> Vec<_> {
            limits
                .iter()
                .map(|limit| (limit.max, limit.window.as_secs()))
                .collect()
        };
        let cooldown =
            |first, lifetime| Limit::cooldown("c", Duration::from_secs(first), Duration::from_secs(lifetime));
        assert_eq!(
            seconds(cooldown(60, 600)),
            [(1, 60), (2, 180), (3, 420), (4, 900)]
        );
        assert_eq!(seconds(cooldown(60, 30)), [(1, 60)]);
        assert_eq!(seconds(cooldown(0, 600)), []);
        assert_eq!(cooldown(60, 86_400).last().unwrap().max, 10);

        let limits = cooldown(60, 600);
        let (mut log, mut now, mut waits) = (Log::default(), at(0), Vec::new());
        for _ in 0..4 {
            log.add(1, now);
            let until = log.refusal(&limits, 1, now).unwrap().until;
            waits.push(now.until(until).as_secs());
            now = until;
        }
        assert_eq!(waits, [60, 120, 240, 480]);
    }

    #[test]
    fn an_entry_from_later_than_now_counts_as_one_of_now() {
        let limits = limit(1, HOUR);
        let mut log = Log::default();
        log.add(1, at(7_200_000));
        let until = |log: &Log, ms| log.refusal(&limits, 1, at(ms)).map(|reached| reached.until);
        assert_eq!(until(&log, 0), Some(at(3_600_000)));
        log.add(1, at(0));
        assert_eq!(until(&log, 1), Some(at(3_600_000)));
        assert_eq!(until(&log, 3_600_000), None);
    }

    #[test]
    fn what_came_to_nothing_is_taken_back() {
        let limits = limit(2, HOUR);
        let mut log = Log::default();
        log.add(1, at(0));
        log.add(1, at(5));
        log.take_back(1, at(5));
        assert_eq!(log.refusal(&limits, 1, at(6)), None);
        log.take_back(1, at(0));
        assert_eq!(log, Log::default());
        assert_eq!(log.ends(), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        /// For any arrivals and any joins, no window holds more than its limit, and there is room at the time that a
        /// refusal names.
        #[test]
        fn no_window_ever_holds_more(
            gaps in prop::collection::vec((0_u64..400_000, 1_u64..4), 200..600),
            max in 4_u64..400,
        ) {
            let limits = limit(max, HOUR);
            let (mut log, mut now, mut let_through) = (Log::default(), at(0), Vec::new());
            for (gap, amount) in gaps {
                now = UnixMillis(now.0 + gap);
                if let Some(reached) = log.refusal(&limits, amount, now) {
                    prop_assert!(reached.until > now);
                    prop_assert_eq!(log.refusal(&limits, amount, reached.until), None);
                } else {
                    log.add(amount, now);
                    let_through.push((now.0, amount));
                }
                prop_assert!(log.0.len() <= MAX_ENTRIES);
                let window = let_through.iter().filter(|(at, _)| at + 3_600_000 > now.0);
                prop_assert!(window.map(|(_, amount)| amount).sum::<u64>() <= max);
            }
        }

        /// Joining costs a busy service little: a limit per hour admits at least nine tenths of it.
        #[test]
        fn a_long_log_is_nearly_exact(gap in 20_u64..2_000) {
            let max = 2 * 3_600_000 / gap;
            let mut log = Log::default();
            for n in 0..(2 * 3_600_000 / gap) {
                log.add(1, at(n * gap));
            }
            let now = at(2 * 3_600_000);
            let counted: u64 = log.0.iter().filter(|entry| entry.counts(HOUR, now)).map(|entry| entry.amount).sum();
            let exact = max / 2;
            prop_assert!(counted + 1 >= exact && counted * 10 <= exact * 11 + 20, "{} for {}", counted, exact);
        }
    }
}
