//! `[guard]`: the guard against SMS pumping. Fraudsters request codes to numbers that earn them money, and never enter
//! the codes; the guard refuses or records such requests.

use std::collections::BTreeSet;

use super::{
    document::Value,
    reader::{Reader, Section, number, text, texts},
    server::network,
};
use crate::{
    model::{PhoneNumber, Region, guard::Budgets, phone_number::NUMBER_TYPES},
    verifier::{Guard, GuardMode},
};

/// The highest count that a budget may have.
const MAX_COUNT: u32 = 1_000_000_000;
/// The highest value of `address_countries_per_day`. It must be lower than the number of countries that `Countries` of
/// the domain remembers for an address (32), or the budget could never be reached.
const MAX_COUNTRIES: u32 = 20;

/// Reads the section. Warns about lists of countries that have no effect in the chosen mode.
pub(super) fn read(reader: &mut Reader) -> Guard {
    let mut section = reader.section("guard", false);
    let mode = section.get("mode", |value| match text(value)?.as_str() {
        "off" => Ok(GuardMode::Off),
        "record_only" => Ok(GuardMode::RecordOnly),
        "enforce" => Ok(GuardMode::Enforce),
        other => Err(format!("must be off, record_only or enforce, not {other}")),
    });
    let (allowed_countries, allowed_line) = section.get_with_line("allowed_countries", countries);
    let (blocked_countries, blocked_line) = section.get_with_line("blocked_countries", countries);
    for (key, line, listed) in [
        ("allowed_countries", allowed_line, &allowed_countries),
        ("blocked_countries", blocked_line, &blocked_countries),
    ] {
        // An operator who lists countries expects them to be refused.
        if mode != GuardMode::Enforce && !listed.is_empty() {
            section.warning(
                line,
                &format!("{key} refuses nothing while mode is not \"enforce\""),
            );
        }
    }
    let blocked_number_types = section.get("blocked_number_types", number_types);
    let mut count = |key| u64::from(section.get(key, number(0..=MAX_COUNT)));
    let budgets = Budgets {
        prefix_per_hour: count("prefix_unverified_per_hour"),
        prefix_per_day: count("prefix_unverified_per_day"),
        country_per_hour: count("country_unverified_per_hour"),
        country_per_day: count("country_unverified_per_day"),
        countries_per_address: section.get("address_countries_per_day", number(0..=MAX_COUNTRIES)) as usize,
    };
    let guard = Guard {
        mode,
        allowed_countries,
        blocked_countries,
        blocked_number_types,
        budgets,
        spared_numbers: section.get("allow_numbers", beginnings).into(),
        spared_countries: section.get("allow_countries", countries),
        spared_addresses: addresses(&mut section).into(),
        conversion_alarm_percent: u64::from(section.get("conversion_alarm_percent", number(0..=100))),
        conversion_alarm_codes: u64::from(section.get("conversion_alarm_codes", number(1..=10_000))),
    };
    section.finish();
    guard
}

/// Countries by their ISO 3166 codes. An unknown code is refused, since it would silently never match.
fn countries(value: &Value) -> Result<BTreeSet<Region>, String> {
    let country = |text: &String| {
        Region::parse(text)
            .ok_or_else(|| format!("must be a list of ISO 3166 country codes such as US, not {text}"))
    };
    texts(value)?.iter().map(country).collect()
}

/// Types of numbers, such as premium rate, by their names in the domain.
fn number_types(value: &Value) -> Result<BTreeSet<&'static str>, String> {
    let known = || NUMBER_TYPES.iter().map(|(_, name)| *name);
    let number_type = |text: &String| {
        let found = known().find(|name| name == text);
        found.ok_or_else(|| {
            let known: Vec<_> = known().collect();
            format!("must be a list of {}, not {text}", known.join(", "))
        })
    };
    texts(value)?.iter().map(number_type).collect()
}

/// Numbers, or the first digits of numbers, such as `+44770090` for a block of them.
fn beginnings(value: &Value) -> Result<Vec<String>, String> {
    let beginning = |text: &String| {
        PhoneNumber::parse_beginning(text).ok_or_else(|| {
            format!("must be a list of numbers or their beginnings such as +44770090, not {text}")
        })
    };
    texts(value)?.iter().map(beginning).collect()
}

fn addresses(section: &mut Section<'_>) -> Vec<ipnet::IpNet> {
    section.get("allow_addresses", |value| {
        texts(value)?.iter().map(|text| network(text)).collect()
    })
}
