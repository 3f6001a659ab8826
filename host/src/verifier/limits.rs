//! Which limits a registration must keep: one table, from what the settings say to the counters of the store.
//!
//! Invariant: a limit keeps a registration from beginning, and never a check. Whoever has a pending code can use it,
//! whatever strangers do with the same number.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    model::{Limit, PhoneNumber, Region, segments::segments},
    store::{Counted, Counter, CounterKey, CounterKeys},
};

/// The limits of the settings; those that are off are not in it. The default has none.
#[derive(Clone, Debug, Default)]
pub struct RateLimits {
    /// SMS to one number, the waits between them among it.
    pub number: Arc<[Limit]>,
    /// Wrong codes for one number, over all its codes.
    pub failed_checks: Arc<[Limit]>,
    /// SMS that one client address asks for.
    pub address: Arc<[Limit]>,
    /// SMS to one country.
    pub country: Arc<[Limit]>,
    /// SMS in all.
    pub service: Arc<[Limit]>,
    /// What SMS cost in all, in millionths of the currency of `prices`.
    pub spend: Arc<[Limit]>,
    /// What an SMS costs.
    pub prices: Prices,
}

/// What one segment of an SMS costs, in millionths of the operator's currency.
#[derive(Clone, Debug, Default)]
pub struct Prices {
    /// Where nothing else is said.
    pub default: u64,
    /// By country.
    pub by_country: BTreeMap<Region, u64>,
}

impl Prices {
    fn of(&self, country: Option<Region>, paid: Paid<'_>) -> u64 {
        let listed = country.and_then(|country| self.by_country.get(&country));
        paid.price_per_segment
            .or(listed.copied())
            .unwrap_or(self.default)
            .saturating_mul(segments(paid.text))
    }
}

/// What one segment of an SMS costs with one backend, in millionths of the operator's currency, as far as that is said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SegmentPrices {
    /// Where nothing is said for the country.
    pub default: Option<u64>,
    /// By country.
    pub by_country: BTreeMap<Region, u64>,
}

impl SegmentPrices {
    /// In a country; `None`: as [`RateLimits::prices`] has it.
    pub fn of(&self, country: Option<Region>) -> Option<u64> {
        let listed = country.and_then(|country| self.by_country.get(&country));
        listed.copied().or(self.default)
    }
}

/// A text that is paid for.
#[derive(Clone, Copy)]
pub struct Paid<'a> {
    /// What is sent.
    pub text: &'a str,
    /// With the backend that it goes to; `None`: [`RateLimits::prices`] has it.
    pub price_per_segment: Option<u64>,
}

impl<'a> From<&'a str> for Paid<'a> {
    fn from(text: &'a str) -> Self {
        Self {
            text,
            price_per_segment: None,
        }
    }
}

impl RateLimits {
    /// The names of all limits, which are the codes of their refusals.
    pub const CODES: [&'static str; 13] = [
        "resend_cooldown",
        "number_per_10_minutes",
        "number_per_hour",
        "number_per_day",
        "failed_checks_per_hour",
        "failed_checks_per_day",
        "address_per_hour",
        "country_per_hour",
        "country_per_day",
        "service_per_hour",
        "service_per_day",
        "spend_per_hour",
        "spend_per_day",
    ];

    /// What an SMS is counted in. `paid`: its text; `None`: it costs nothing.
    pub fn counters<'a>(
        &self,
        number: &PhoneNumber,
        paid: Option<impl Into<Paid<'a>>>,
        keys: &CounterKeys,
    ) -> Arc<[Counter]> {
        let country = number.country();
        let mut counters = Vec::new();
        let mut count = |counted, limits: &Arc<[Limit]>, amount, key: CounterKey| {
            if !limits.is_empty() && amount > 0 {
                counters.push(Counter {
                    counted,
                    key,
                    amount,
                    limits: Arc::clone(limits),
                });
            }
        };
        count(Counted::Number, &self.number, 1, keys.number());
        count(Counted::FailedChecks, &self.failed_checks, 1, keys.number());
        if let Some(key) = keys.address(Counted::Address) {
            count(Counted::Address, &self.address, 1, key);
        }
        let of_country = Counted::Country.in_public(&country.map(Region::code).unwrap_or_default());
        count(Counted::Country, &self.country, 1, of_country);
        count(Counted::Service, &self.service, 1, Counted::Service.in_public(""));
        let price = paid.map_or(0, |paid| self.prices.of(country, paid.into()));
        count(Counted::Spend, &self.spend, price, Counted::Spend.in_public(""));
        counters.into()
    }
}
