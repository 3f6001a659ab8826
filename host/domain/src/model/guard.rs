//! Signs of SMS pumping (artificially inflated traffic): fraudsters request codes to numbers that earn them money, and
//! never enter the codes. The main sign is many codes that are never entered.
//!
//! Invariant: everything recorded here has a bound, whatever clients do.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use super::{Limit, limits::HORIZON, quantity};
use crate::clock::UnixMillis;

const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const DAY_MILLIS: u64 = 24 * 60 * 60 * 1000;

/// How many days before today a [`History`] holds.
const DAYS: u64 = 14;
/// How many countries are recorded per address. This is more than the settings can allow (20), so that dropping the
/// oldest one never admits a request.
const MAX_COUNTRIES: usize = 32;

/// Why an SMS should not be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Its country is not in the list of allowed ones.
    CountryNotAllowed,
    /// Its country is blocked.
    CountryBlocked,
    /// Numbers of its type are blocked.
    NumberTypeBlocked,
    /// Too many codes for neighbouring numbers were not entered.
    PrefixUnverified,
    /// Too many codes for its country were not entered.
    CountryUnverified,
    /// The client's address requested codes for too many countries.
    AddressCountries,
}

impl Reason {
    /// All reasons.
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

/// How many codes may remain unentered before a message is refused. 0: no bound.
#[derive(Clone, Copy, Debug, Default)]
pub struct Budgets {
    /// For the numbers that differ only in their last four digits, within an hour.
    pub prefix_per_hour: u64,
    /// The same within a day.
    pub prefix_per_day: u64,
    /// For a country within an hour. A country with many verifications is allowed more.
    pub country_per_hour: u64,
    /// The same within a day.
    pub country_per_day: u64,
    /// Countries that an address may request codes for within a day, not counting those where it entered one. At most
    /// 20.
    pub countries_per_address: usize,
}

impl Budgets {
    /// The limits of a prefix.
    pub fn of_prefix(&self) -> Vec<Limit> {
        let code = Reason::PrefixUnverified.code();
        limits(code, self.prefix_per_hour, self.prefix_per_day)
    }

    /// The limits of a country, where `best_day` numbers were verified on the best of the last days: 3/10 of that in a
    /// day and 1/30 in an hour, but not less than the bounds of the settings.
    pub fn of_country(&self, best_day: u64) -> Vec<Limit> {
        let code = Reason::CountryUnverified.code();
        let least = |bound: u64, share: u64| if bound == 0 { 0 } else { bound.max(share) };
        limits(
            code,
            least(self.country_per_hour, best_day / 30),
            least(self.country_per_day, best_day * 3 / 10),
        )
    }

    /// The limits within which a country counts as trusted. They use the same shares, but not the settings' bounds: at
    /// least three unentered codes, or `best_day` if that is less. `None`: no number there was verified lately, so the
    /// country is not trusted.
    pub fn of_trusted_country(best_day: u64) -> Option<Vec<Limit>> {
        let least = best_day.min(MIN_OUTSTANDING);
        let (per_hour, per_day) = (least.max(best_day / 30), least.max(best_day * 3 / 10));
        (best_day > 0).then(|| limits(Reason::CountryUnverified.code(), per_hour, per_day))
    }
}

/// How many unentered codes a trusted country may have, unless its best day was lower.
const MIN_OUTSTANDING: u64 = 3;

/// The limits for an hour and a day. A bound of 0 gives none.
fn limits(code: &'static str, per_hour: u64, per_day: u64) -> Vec<Limit> {
    [(per_hour, HOUR), (per_day, DAY)]
        .into_iter()
        .filter(|(max, _)| *max > 0)
        .map(|(max, window)| Limit::new(code, max, window))
        .collect()
}

/// The UTC day of an instant, counted from 1970-01-01.
pub fn day_of(time: UnixMillis) -> u64 {
    time.0 / DAY_MILLIS
}

/// Verified numbers per day. The caller must add a number only once per day: otherwise one person could raise the
/// limits of a country.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History(Vec<(u64, u64)>);

impl History {
    /// Counts another verified number.
    pub fn add(&mut self, now: UnixMillis) {
        let today = day_of(now);
        self.0.retain(|(day, _)| day + DAYS >= today);
        // `>=`: around midnight, the clock of another node may be on the next day already.
        match self.0.last_mut() {
            Some((day, verified)) if *day >= today => *verified = verified.saturating_add(1),
            _ => self.0.push((today, 1)),
        }
    }

    /// The highest count of a single day, of today and the 14 days before.
    pub fn best_day(&self, now: UnixMillis) -> u64 {
        let today = day_of(now);
        let days = self.0.iter().filter(|(day, _)| day + DAYS >= today);
        days.map(|(_, verified)| *verified).max().unwrap_or(0)
    }

    /// When all its days are too old to count. `None`: it is empty.
    pub fn ends(&self) -> Option<UnixMillis> {
        let (day, _) = self.0.last()?;
        Some(UnixMillis((day + DAYS + 1) * DAY_MILLIS))
    }
}

/// The countries that an address requested codes for, oldest first. Each stays for a day after its first request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Countries(Vec<Country>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Country {
    code: [u8; 3],
    first_at_ms: u64,
    /// A code was entered, so this country is no sign of pumping.
    verified: bool,
}

impl Country {
    /// When this entry stops counting.
    fn leaves(&self) -> UnixMillis {
        UnixMillis(self.first_at_ms).plus(HORIZON)
    }
}

impl Countries {
    /// `Some`: the address may not request this country now, and this is when it may. `max`: countries without a
    /// verification; 0: no bound.
    pub fn refusal(&self, country: [u8; 3], max: usize, now: UnixMillis) -> Option<UnixMillis> {
        let here = || self.0.iter().filter(|known| known.leaves() > now);
        if max == 0 || here().any(|known| known.code == country) {
            return None;
        }
        let unverified: Vec<_> = here().filter(|known| !known.verified).collect();
        let too_many = (unverified.len() + 1).checked_sub(max)?;
        let last_to_leave = unverified.get(too_many.checked_sub(1)?)?;
        // An entry from the future, left by a clock that ran ahead, must not extend the wait beyond a day.
        Some(last_to_leave.leaves().min(now.plus(HORIZON)))
    }

    /// Whether the address has requested this country within a day.
    pub fn has(&self, country: [u8; 3], now: UnixMillis) -> bool {
        self.0
            .iter()
            .any(|known| known.code == country && known.leaves() > now)
    }

    /// Records a request.
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

    /// Whether the country is recorded and none of its codes was entered.
    pub fn has_unverified(&self, country: [u8; 3]) -> bool {
        self.0
            .iter()
            .any(|known| known.code == country && !known.verified)
    }

    /// Records that a code for this country was entered.
    pub fn verify(&mut self, country: [u8; 3]) {
        for known in self.0.iter_mut().filter(|known| known.code == country) {
            known.verified = true;
        }
    }

    /// When all entries are too old to count. `None`: it is empty.
    pub fn ends(&self) -> Option<UnixMillis> {
        self.0.last().map(Country::leaves)
    }
}

/// The guard's decision on a message that it had a reason against, for the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The time of the decision.
    pub at: UnixMillis,
    /// The number, masked.
    pub number: String,
    /// Its country as an ISO 3166 code. Empty: unknown by current numbering rules.
    pub country: String,
    /// What was done.
    pub action: Action,
    /// Whether the number had been verified before, which lets the message pass.
    pub verified_before: bool,
    /// The codes of [`Reason`].
    pub reasons: Vec<String>,
}

/// What the guard did with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It let the message pass. A limit or the provider may still have stopped it.
    Allowed,
    /// It stopped the message.
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

/// How many of the numbers that received codes entered one. Each number counts once: otherwise the owner of one number
/// could trigger the alarm, or suppress it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conversion {
    /// Numbers that received codes.
    pub sent: u64,
    /// How many of them entered one.
    pub verified: u64,
}

/// The alarm for a low conversion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConversionAlarm {
    /// Percentage of the numbers that entered a code, rounded down.
    pub percent: u64,
    /// Number of all numbers.
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
    /// The alarm, if less than `percent` of the numbers entered a code, and there are at least `least` numbers.
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
        // A country that is recorded already does not count again.
        assert_eq!(countries.refusal(*b"GB\0", 3, at(10)), None);
        assert!(countries.has(*b"GB\0", at(10)));
        countries.add(*b"GB\0", at(10));
        assert_eq!(
            countries.refusal(*b"DE\0", 3, at(DAY_MILLIS - 1)),
            Some(at(DAY_MILLIS))
        );
        assert_eq!(countries.refusal(*b"DE\0", 3, at(DAY_MILLIS)), None);
        // A country with a verification does not count.
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
