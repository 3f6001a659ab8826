//! `[limits]`: how many SMS may be sent to a number, for a client address, to a country and in total, and for how much
//! money; and how many failed checks of codes are allowed.
//!
//! Invariant: the key of a limit is also the machine code of the answer when that limit is reached.

use std::{sync::Arc, time::Duration};

use super::{
    document::Value,
    reader::{Reader, Section, number},
};
use crate::{
    model::{Limit, Region},
    verifier::{Prices, RateLimits},
};

const TEN_MINUTES: Duration = Duration::from_secs(10 * 60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The highest count that a limit may have.
const MAX_COUNT: u32 = 1_000_000_000;
/// The most of a limit, in percent, that may be reserved for numbers that were verified before. More would lock out new
/// numbers.
const MAX_RESERVED_PERCENT: u32 = 90;
/// The highest price or spending limit, in units of the operator's currency.
const MAX_MONEY: u32 = 1_000_000_000;
/// Money is counted in millionths of the currency's unit, so that no amount is rounded.
const MILLIONTHS: u64 = 1_000_000;

/// Reads the section. `lifetime` is how long a code is valid: within it, the wait before each further SMS doubles.
pub(super) fn read(reader: &mut Reader, lifetime: Duration) -> RateLimits {
    let mut section = reader.section("limits", false);
    let first = section.get("resend_cooldown_seconds", number(0..=3600));
    let first = Duration::from_secs(u64::from(first));
    let reserved_percent = section.get("reserved_percent", number(0..=MAX_RESERVED_PERCENT));
    let mut number = Limit::cooldown("resend_cooldown", first, lifetime);
    number.extend(counts(
        &mut section,
        &[
            ("number_per_10_minutes", TEN_MINUTES),
            ("number_per_hour", HOUR),
            ("number_per_day", DAY),
        ],
    ));
    let failed_checks = counts(
        &mut section,
        &[("failed_checks_per_hour", HOUR), ("failed_checks_per_day", DAY)],
    );
    let address = counts(&mut section, &[("address_per_hour", HOUR)]);
    // Only limits that all clients share have a reserve. Without it, requests for new numbers could use up the limit,
    // and known users could no longer get a code.
    let reserving = |limits: Vec<Limit>| -> Arc<[Limit]> {
        let reserved_percent = u8::try_from(reserved_percent).unwrap_or(0);
        let reserving = limits.into_iter().map(|limit| Limit {
            reserved_percent,
            ..limit
        });
        reserving.collect()
    };
    let country = reserving(counts(
        &mut section,
        &[("country_per_hour", HOUR), ("country_per_day", DAY)],
    ));
    let service = reserving(counts(
        &mut section,
        &[("service_per_hour", HOUR), ("service_per_day", DAY)],
    ));
    let spend = [("spend_per_hour", HOUR), ("spend_per_day", DAY)]
        .into_iter()
        .filter_map(|(code, window)| limit(code, section.get(code, money), window));
    let spend = reserving(spend.collect());
    let prices = prices(&mut section);
    section.finish();
    RateLimits {
        number: number.into(),
        failed_checks: failed_checks.into(),
        address: address.into(),
        country,
        service,
        spend,
        prices,
    }
}

/// Reads limits that are counts. Each key is a setting, and a machine code.
fn counts(section: &mut Section<'_>, limits: &[(&'static str, Duration)]) -> Vec<Limit> {
    limits
        .iter()
        .filter_map(|(code, window)| {
            let max = section.get(code, number(0..=MAX_COUNT));
            limit(code, u64::from(max), *window)
        })
        .collect()
}

/// A limit, or `None` if `max` is 0, which switches it off.
fn limit(code: &'static str, max: u64, window: Duration) -> Option<Limit> {
    (max > 0).then_some(Limit::new(code, max, window))
}

/// Reads the prices: one for all countries, and those of `[limits.prices]` for single ones.
fn prices(section: &mut Section<'_>) -> Prices {
    let mut prices = Prices {
        default: section.get("price_per_segment", money),
        ..Prices::default()
    };
    let mut shown = Vec::new();
    for row in section.table("prices", false, "limits.prices") {
        let country = Region::parse(&row.key).ok_or_else(|| "is not an ISO 3166 country code".to_owned());
        match country.and_then(|country| Ok((country, money(&row.value)?))) {
            Ok((country, price)) => {
                prices.by_country.insert(country, price);
                shown.push((row.key, row.value.to_toml()));
            }
            Err(needed) => {
                let message = format!("prices.{} {needed}", row.key);
                section.problem("prices", Some(row.line), &message);
            }
        }
    }
    section.show_table("limits.prices", &shown);
    prices
}

/// Reads an amount of the operator's currency, in millionths.
pub(super) fn money(value: &Value) -> Result<u64, String> {
    let needed = |found: &str| format!("must be an amount from 0 to {MAX_MONEY}, such as 0.05, not {found}");
    match value {
        Value::Integer(units) => u64::try_from(*units)
            .ok()
            .filter(|units| *units <= u64::from(MAX_MONEY))
            .map(|units| units * MILLIONTHS)
            .ok_or_else(|| needed(&units.to_string())),
        Value::Decimal(text) => millionths(text).ok_or_else(|| needed(text)),
        other => Err(needed(other.kind())),
    }
}

/// Parses digits, a point and up to six digits, without rounding: this is money, and binary floating point would not be
/// exact.
fn millionths(text: &str) -> Option<u64> {
    let (units, part) = text.split_once('.')?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(units) || !digits(part) || part.len() > 6 {
        return None;
    }
    let units: u64 = units.parse().ok()?;
    let part: u64 = format!("{part:0<6}").parse().ok()?;
    let amount = units.checked_mul(MILLIONTHS)?.checked_add(part)?;
    (amount <= u64::from(MAX_MONEY) * MILLIONTHS).then_some(amount)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::settings::Settings;

    #[test]
    fn every_limit_is_among_the_codes_that_are_described() {
        let limits = Settings::defaults().limits;
        let all = [
            limits.number,
            limits.failed_checks,
            limits.address,
            limits.country,
            limits.service,
            limits.spend,
        ];
        let codes: BTreeSet<&str> = all
            .iter()
            .flat_map(|limits| limits.iter().map(|limit| limit.code))
            .collect();
        assert_eq!(codes, BTreeSet::from(RateLimits::CODES));
    }

    #[test]
    fn an_amount_is_read_to_its_last_digit() {
        let read = |text: &str| money(&Value::Decimal(text.into()));
        assert_eq!(read("0.05"), Ok(50_000));
        assert_eq!(read("12.000001"), Ok(12_000_001));
        let most = 1_000_000_000_000_000;
        assert_eq!(read("1000000000.0"), Ok(most));
        assert_eq!(money(&Value::Integer(1_000_000_000)), Ok(most));
        assert!(money(&Value::Integer(1_000_000_001)).is_err());
        for wrong in [
            "0.0000001",
            "1e3",
            "-1.0",
            "inf",
            "1000000000.000001",
            "99999999999999999999.0",
            "18446744073710.0",
            "1_0.5",
            ".5",
        ] {
            let message = format!("must be an amount from 0 to 1000000000, such as 0.05, not {wrong}");
            assert_eq!(read(wrong), Err(message));
        }
        assert_eq!(money(&Value::Integer(3)), Ok(3_000_000));
        assert!(money(&Value::Integer(-3)).is_err() && money(&Value::Flag(true)).is_err());
    }
}
