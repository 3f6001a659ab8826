//! The pumping guard: what it looks at in a registration, from what the settings say to what the store judges.
//!
//! Invariant: it keeps a registration from beginning, and never a check.

use std::{collections::BTreeSet, sync::Arc};

use ipnet::IpNet;

use super::Verifier;
use crate::{
    model::{
        ClientAddress, PhoneNumber, Region,
        guard::{Budgets, Conversion, ConversionAlarm, Decision, Reason},
    },
    store::{Counted, CounterKeys, GuardKeys, Guarded, StoreError},
};

/// How long after their end codes count for the conversion, in milliseconds.
const CONVERSION_WINDOW_MILLIS: u64 = 60 * 60 * 1000;

/// What is done about a reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GuardMode {
    /// Nothing is looked at.
    #[default]
    Off,
    /// The decision is recorded, and the SMS sent.
    RecordOnly,
    /// The decision is recorded, and the SMS not sent.
    Enforce,
}

/// The guard of the settings. The default is off.
#[derive(Clone, Debug, Default)]
pub struct Guard {
    /// What is done about a reason.
    pub mode: GuardMode,
    /// Where SMS may go; empty: everywhere.
    pub allowed_countries: BTreeSet<Region>,
    /// Where none goes.
    pub blocked_countries: BTreeSet<Region>,
    /// Types of numbers that none goes to, of [`NUMBER_TYPES`](crate::model::phone_number::NUMBER_TYPES).
    pub blocked_number_types: BTreeSet<&'static str>,
    /// How many codes may not come back.
    pub budgets: Budgets,
    /// Numbers in E.164, or the beginnings of numbers, that are not looked at.
    pub spared_numbers: Arc<[String]>,
    /// Countries that are not looked at.
    pub spared_countries: BTreeSet<Region>,
    /// Networks whose registrations are not looked at.
    pub spared_addresses: Arc<[IpNet]>,
    /// Below how many numbers of a hundred that send a code back the alarm goes off; 0: never.
    pub conversion_alarm_percent: u64,
    /// Of at least how many numbers.
    pub conversion_alarm_codes: u64,
}

impl Guard {
    /// What a registration is judged by; `None`: it is not looked at.
    pub fn of_registration(
        &self,
        number: &PhoneNumber,
        client: Option<ClientAddress>,
        counters: &CounterKeys,
    ) -> Option<Guarded> {
        let (keys, country) = self.look(number, client, counters)?;
        let mut reasons = Vec::new();
        let is_in =
            |countries: &BTreeSet<Region>| country.is_some_and(|country| countries.contains(&country));
        if !self.allowed_countries.is_empty() && !is_in(&self.allowed_countries) {
            reasons.push(Reason::CountryNotAllowed);
        }
        if is_in(&self.blocked_countries) {
            reasons.push(Reason::CountryBlocked);
        }
        if number
            .number_type()
            .is_some_and(|number_type| self.blocked_number_types.contains(number_type))
        {
            reasons.push(Reason::NumberTypeBlocked);
        }
        Some(Guarded {
            keys,
            reasons,
            budgets: self.budgets,
            enforce: self.mode == GuardMode::Enforce,
        })
    }

    /// Where it is told that a code came back.
    pub fn of_check(
        &self,
        number: &PhoneNumber,
        client: Option<ClientAddress>,
        counters: &CounterKeys,
    ) -> Option<GuardKeys> {
        self.look(number, client, counters).map(|(keys, _)| keys)
    }

    fn look(
        &self,
        number: &PhoneNumber,
        client: Option<ClientAddress>,
        counters: &CounterKeys,
    ) -> Option<(GuardKeys, Option<Region>)> {
        if self.mode == GuardMode::Off {
            return None;
        }
        let e164 = number.e164();
        let spared = self.spared_numbers.iter().any(|spared| e164.starts_with(spared))
            || client.is_some_and(|client| client.is_within(&self.spared_addresses));
        let country = number.country();
        if spared || country.is_some_and(|country| self.spared_countries.contains(&country)) {
            return None;
        }
        let name = country.map(Region::code).unwrap_or_default();
        let mut country_code = [0; 3];
        for (place, byte) in country_code.iter_mut().zip(name.bytes()) {
            *place = byte;
        }
        let keys = GuardKeys {
            number: counters.number(),
            prefix: counters.prefix(Counted::UnverifiedOfPrefix),
            country: Counted::UnverifiedOfCountry.in_public(&name),
            history: Counted::History.in_public(&name),
            address: counters.address(Counted::Countries),
            country_code,
        };
        Some((keys, country))
    }
}

impl Verifier {
    /// The latest decisions about registrations that something spoke against, the latest one first.
    pub async fn decisions(&self, limit: u32) -> Result<Vec<Decision>, StoreError> {
        self.store.decisions(limit).await
    }

    /// How many numbers sent a code back, of those with one that ended within the last hour; `None`: the guard is off.
    pub async fn conversion(&self) -> Result<Option<Conversion>, StoreError> {
        if self.policy.guard.mode == GuardMode::Off {
            return Ok(None);
        }
        let lifetime = u64::try_from(self.policy.expiration.as_millis()).unwrap_or(u64::MAX);
        let ago = |millis: u64| crate::clock::UnixMillis(self.clock.now().0.saturating_sub(millis));
        let from = ago(lifetime.saturating_add(CONVERSION_WINDOW_MILLIS));
        self.store.conversion(from, ago(lifetime)).await.map(Some)
    }

    /// Whether these are too few.
    pub async fn conversion_alarm(&self) -> Result<Option<ConversionAlarm>, StoreError> {
        let guard = &self.policy.guard;
        if guard.conversion_alarm_percent == 0 {
            return Ok(None);
        }
        let conversion = self.conversion().await?;
        Ok(conversion.and_then(|conversion| {
            conversion.alarm(guard.conversion_alarm_percent, guard.conversion_alarm_codes)
        }))
    }
}
