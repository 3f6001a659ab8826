//! What speaks against an SMS: signs that somebody has codes sent for what the SMS earn them, and never uses one.
//! (Pumping, or artificially inflated traffic.) Most of all: many codes that are never sent back.
//!
//! Invariant: everything here has a bound, whatever a stranger does.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use super::{Limit, limits::HORIZON, quantity};
use crate::clock::UnixMillis;

const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const DAY_MILLIS: u64 = 24 * 60 * 60 * 1000;

/// Days before today that a [`History`] holds.
const DAYS: u64 = 14;
/// Countries that are remembered of an address; more than may be allowed, so that forgetting the oldest one lets
/// nothing through.
const MAX_COUNTRIES: usize = 32;

/// Why an SMS should not be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Its country is not among those that are allowed.
    CountryNotAllowed,
    /// Its country is blocked.
    CountryBlocked,
    /// Numbers of its type are blocked.
    NumberTypeBlocked,
    /// Too many codes for the numbers around it were not sent back.
    PrefixUnverified,
    /// Too many codes for its country were not sent back.
    CountryUnverified,
    /// The client's address asked for too many countries.
    AddressCountries,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::CountryNotAllowed,
        Self::CountryBlocked,
        Self::NumberTypeBlocked,
        Self::PrefixUnverified,
        Self::CountryUnverified,
        Self::AddressCountries,
    ];

    /// The stable machine code.
    pub fn code(self) -> &'static str {
        match self {
            Self::CountryNotAllowed => "country_not_allowed",
            Self::CountryBlocked => "country_blocked",
            Self::NumberTypeBlocked => "number_type_blocked",
            Self::PrefixUnverified => "prefix_unverified",
            Self::CountryUnverified => "country_unverified",
            Self::AddressCountries => "address_countries",
        }
    }
}

/// How many codes that were never sent back are too many; 0 is no bound.
#[derive(Clone, Copy, Debug, Default)]
pub struct Budgets {
    /// For the numbers that differ in their last four digits only.
    pub prefix_per_hour: u64,
    /// The same in a day.
    pub prefix_per_day: u64,
    /// For a country, however few of its codes came back so far.
    pub country_per_hour: u64,
    /// The same in a day.
    pub country_per_day: u64,
    /// Countries that an address may ask for in a day, besides those where a code came back; at most 20.
    pub countries_per_address: usize,
}

impl Budgets {
    /// Those of a prefix.
    pub fn of_prefix(&self) -> Vec<Limit> {
        let code = Reason::PrefixUnverified.code();
        limits(code, self.prefix_per_hour, self.prefix_per_day)
    }

    /// Those of a country where so many numbers were verified on its best day: three tenths of that in a day, and
    /// a fifth of a sixth of it in an hour, where that is more than the settings' bounds.
    pub fn of_country(&self, best_day: u64) -> Vec<Limit> {
        let code = Reason::CountryUnverified.code();
        let least = |bound: u64, share: u64| if bound == 0 { 0 } else { bound.max(share) };
        limits(
            code,
            least(self.country_per_hour, best_day / 30),
            least(self.country_per_day, best_day * 3 / 10),
        )
    }

    /// The same shares, for a country to count as one whose codes come back: whatever the settings allow, three codes that
    /// are not back yet, or as many as came back on its best day. `None`: none ever did.
    pub fn of_trusted_country(best_day: u64) -> Option<Vec<Limit>> {
        let least = best_day.min(MIN_OUTSTANDING);
        let (per_hour, per_day) = (least.max(best_day / 30), least.max(best_day * 3 / 10));
        (best_day > 0).then(|| limits(Reason::CountryUnverified.code(), per_hour, per_day))
    }
}

/// Codes that a country may have out at once and still be one whose codes come back.
const MIN_OUTSTANDING: u64 = 3;

fn limits(code: &'static str, per_hour: u64, per_day: u64) -> Vec<Limit> {
    [(per_hour, HOUR), (per_day, DAY)]
        .into_iter()
        .filter(|(max, _)| *max > 0)
        .map(|(max, window)| Limit::new(code, max, window))
        .collect()
}

/// The day of an instant in UTC, by its number since 1970.
pub fn day_of(time: UnixMillis) -> u64 {
    time.0 / DAY_MILLIS
}

/// How many numbers were verified, by day. A number that is verified several times on a day is to be added once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History(Vec<(u64, u64)>);

impl History {
    /// One more was verified.
    pub fn add(&mut self, now: UnixMillis) {
        let today = day_of(now);
        self.0.retain(|(day, _)| day + DAYS >= today);
        // The clocks of two nodes may differ a little about midnight.
        match self.0.last_mut() {
            Some((day, verified)) if *day >= today => *verified = verified.saturating_add(1),
            _ => self.0.push((today, 1)),
        }
    }

    /// The most of one day, of today and the 14 days before it.
    pub fn best_day(&self, now: UnixMillis) -> u64 {
        let today = day_of(now);
        let days = self.0.iter().filter(|(day, _)| day + DAYS >= today);
        days.map(|(_, verified)| *verified).max().unwrap_or(0)
    }

    /// When it holds nothing any more.
    pub fn ends(&self) -> Option<UnixMillis> {
        let (day, _) = self.0.last()?;
        Some(UnixMillis((day + DAYS + 1) * DAY_MILLIS))
    }
}

/// The countries that an address asked for, each for a day from the first time, the oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Countries(Vec<Country>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Country {
    code: [u8; 3],
    first_at_ms: u64,
    /// A code came back: it is no sign of anything.
    verified: bool,
}

impl Country {
    fn leaves(&self) -> UnixMillis {
        UnixMillis(self.first_at_ms).plus(HORIZON)
    }
}

impl Countries {
    /// When there is room for this country again, if there is none now among `max`.
    pub fn refusal(&self, country: [u8; 3], max: usize, now: UnixMillis) -> Option<UnixMillis> {
        let here = || self.0.iter().filter(|known| known.leaves() > now);
        if max == 0 || here().any(|known| known.code == country) {
            return None;
        }
        let unverified: Vec<_> = here().filter(|known| !known.verified).collect();
        let too_many = (unverified.len() + 1).checked_sub(max)?;
        let last_to_leave = unverified.get(too_many.checked_sub(1)?)?;
        // A clock that ran ahead keeps nobody waiting for longer than a day.
        Some(last_to_leave.leaves().min(now.plus(HORIZON)))
    }

    /// Whether the country is one of them.
    pub fn has(&self, country: [u8; 3], now: UnixMillis) -> bool {
        self.0
            .iter()
            .any(|known| known.code == country && known.leaves() > now)
    }

    /// Another registration.
    pub fn add(&mut self, country: [u8; 3], now: UnixMillis) {
        if self.has(country, now) {
            return;
        }
        self.0.retain(|known| known.leaves() > now);
        if self.0.len() == MAX_COUNTRIES {
            self.0.remove(0);
        }
        let first_at_ms = self.0.last().map_or(now.0, |last| last.first_at_ms.max(now.0));
        self.0.push(Country {
            code: country,
            first_at_ms,
            verified: false,
        });
    }

    /// Whether the country is one of them, and no code for it came back so far.
    pub fn has_unverified(&self, country: [u8; 3]) -> bool {
        self.0
            .iter()
            .any(|known| known.code == country && !known.verified)
    }

    /// A code for that country came back.
    pub fn verify(&mut self, country: [u8; 3]) {
        for known in self.0.iter_mut().filter(|known| known.code == country) {
            known.verified = true;
        }
    }

    /// When it holds nothing any more.
    pub fn ends(&self) -> Option<UnixMillis> {
        self.0.last().map(Country::leaves)
    }
}

/// What was decided about a message that something spoke against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// When.
    pub at: UnixMillis,
    /// The number, masked.
    pub number: String,
    /// Its country, an ISO 3166 code; empty: today's rules know none.
    pub country: String,
    /// Whether it was sent.
    pub action: Action,
    /// Whether the number had been verified before, which lets it through.
    pub verified_before: bool,
    /// What spoke against it: the codes of [`Reason`].
    pub reasons: Vec<String>,
}

/// What was done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It was sent, unless a limit or the provider had something against it.
    Allowed,
    /// It was not sent.
    Blocked,
}

impl Action {
    /// `allowed` or `blocked`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Blocked => "blocked",
        }
    }
}

/// How many of the numbers that codes were sent to sent one back. A number counts once, however many codes it was sent: else
/// the owner of one could set the alarm off, or keep it from going off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conversion {
    /// Numbers that codes were sent to.
    pub sent: u64,
    /// Those of them that sent one back.
    pub verified: u64,
}

/// The conversion is low.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConversionAlarm {
    /// How many of a hundred numbers sent a code back.
    pub percent: u64,
    /// Of how many.
    pub sent: u64,
}

impl fmt::Display for ConversionAlarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { percent, sent } = self;
        write!(
            f,
            "only {percent} % of {} whose codes ended within an hour sent one back: somebody may be pumping",
            quantity(*sent, "number", "numbers")
        )
    }
}

impl Conversion {
    /// Whether fewer than `percent` of a hundred numbers sent one back, of at least `least`.
    pub fn alarm(self, percent: u64, least: u64) -> Option<ConversionAlarm> {
        let low = self.sent >= least.max(1) && self.verified * 100 < self.sent * percent;
        low.then(|| ConversionAlarm {
            percent: self.verified * 100 / self.sent,
            sent: self.sent,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEGIN: UnixMillis = UnixMillis(1_700_000_000_000);

    fn at(ms: u64) -> UnixMillis {
        UnixMillis(BEGIN.0 + ms)
    }

    #[test]
    fn a_country_may_have_what_its_best_day_of_fourteen_shows() {
        let budgets = Budgets {
            country_per_hour: 10,
            country_per_day: 20,
            ..Budgets::default()
        };
        let max = |history: &History, now| {
            let limits = budgets.of_country(history.best_day(now));
            [limits[0].max, limits[1].max]
        };
        let mut history = History::default();
        assert_eq!(max(&history, BEGIN), [10, 20]);
        for _ in 0..600 {
            history.add(BEGIN);
        }
        assert_eq!(max(&history, BEGIN), [20, 180]);
        history.add(at(DAY_MILLIS));
        assert_eq!(max(&history, at(14 * DAY_MILLIS)), [20, 180]);
        assert_eq!(max(&history, at(15 * DAY_MILLIS)), [10, 20]);
        let day_after = |days| UnixMillis((BEGIN.0 / DAY_MILLIS + days) * DAY_MILLIS);
        assert_eq!(history.ends(), Some(day_after(1 + 15)));
        assert!(Budgets::default().of_country(1_000_000).is_empty());
    }

    #[test]
    fn an_address_has_room_again_when_its_oldest_country_leaves() {
        let mut countries = Countries::default();
        for (ms, country) in [(0, *b"US\0"), (5, *b"GB\0"), (9, *b"FR\0")] {
            assert_eq!(countries.refusal(country, 3, at(ms)), None);
            countries.add(country, at(ms));
        }
        assert_eq!(countries.refusal(*b"DE\0", 3, at(10)), Some(at(DAY_MILLIS)));
        assert_eq!(countries.refusal(*b"DE\0", 2, at(10)), Some(at(DAY_MILLIS + 5)));
        assert_eq!(countries.refusal(*b"DE\0", 0, at(10)), None);
        // One of them again is nothing new.
        assert_eq!(countries.refusal(*b"GB\0", 3, at(10)), None);
        assert!(countries.has(*b"GB\0", at(10)));
        countries.add(*b"GB\0", at(10));
        assert_eq!(
            countries.refusal(*b"DE\0", 3, at(DAY_MILLIS - 1)),
            Some(at(DAY_MILLIS))
        );
        assert_eq!(countries.refusal(*b"DE\0", 3, at(DAY_MILLIS)), None);
        // Where a code came back, the country does not count.
        assert!(countries.has_unverified(*b"FR\0"));
        countries.verify(*b"FR\0");
        assert!(!countries.has_unverified(*b"FR\0"));
        assert_eq!(countries.refusal(*b"DE\0", 3, at(10)), None);
        assert_eq!(countries.ends(), Some(at(DAY_MILLIS + 9)));
        for n in 0..100 {
            countries.add([b'a', n, 0], at(20));
        }
        assert_eq!(countries.0.len(), MAX_COUNTRIES);
    }

    #[test]
    fn the_alarm_needs_enough_codes_and_too_few_that_came_back() {
        let alarm = |sent, verified| Conversion { sent, verified }.alarm(50, 50);
        assert_eq!(alarm(49, 0), None);
        assert_eq!(alarm(50, 25), None);
        let low = ConversionAlarm {
            percent: 48,
            sent: 50,
        };
        assert_eq!(alarm(50, 24), Some(low));
        assert_eq!(Conversion { sent: 0, verified: 0 }.alarm(50, 0), None);
    }
}
