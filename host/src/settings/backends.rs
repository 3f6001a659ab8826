//! `[backends]`: a fleet of backends by name, each with its library, options, bounds and prices. `BACKEND` alone is a fleet
//! of one, named `default`.

use std::{collections::BTreeMap, fmt, sync::Arc};

use serde_json::Map;

use super::{
    PhoneVerification,
    document::{Entry, Value},
    limits::money,
    options::Options,
    reader::{Reader, number, text},
    row::Row,
};
use crate::{
    fleet::{Bounds, DEFAULT},
    model::Region,
    verifier::SegmentPrices,
};

const SECTION: &str = "backends";
/// The most backends of a fleet. Each is a label of metrics.
const MAX_BACKENDS: usize = 100;
/// The longest name of a backend.
const MAX_NAME: usize = 64;

/// The settings of one backend of the fleet.
#[derive(Clone, PartialEq)]
pub struct BackendSettings {
    /// Its name: of `[backends.<name>]`, or [`DEFAULT`].
    pub name: Arc<str>,
    /// The backend of a library, `<library>.<Backend>`.
    pub backend: String,
    /// The options that are passed to it.
    pub options: Map<String, serde_json::Value>,
    /// How many SMS it sends at once, if `[dispatch]` does not say.
    pub concurrency: Option<usize>,
    /// How many SMS it may be given within a second, if there is a bound.
    pub max_per_second: Option<u32>,
    /// What its SMS cost, as far as they cost something else than `[limits]` says.
    pub prices: SegmentPrices,
    line: Option<usize>,
}

/// Omits the options, which hold secrets of providers.
impl fmt::Debug for BackendSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BackendSettings")
            .field("name", &self.name)
            .field("backend", &self.backend)
            .finish_non_exhaustive()
    }
}

impl BackendSettings {
    /// The one that `BACKEND` and `OPTIONS` name.
    pub fn default_one(backend: &str, options: Map<String, serde_json::Value>) -> Self {
        Self {
            name: DEFAULT.into(),
            backend: backend.to_owned(),
            options,
            concurrency: None,
            max_per_second: None,
            prices: SegmentPrices::default(),
            line: None,
        }
    }

    /// What its messages are bounded by; `usual`: by `[dispatch]`.
    pub fn bounds(&self, usual: Bounds) -> Bounds {
        Bounds {
            concurrency: self.concurrency.unwrap_or(usual.concurrency),
            max_per_second: self.max_per_second,
            ..usual
        }
    }

    /// Where it is in the file; `None`: it is the one of `BACKEND`.
    pub(super) fn line(&self) -> Option<usize> {
        self.line
    }

    /// How messages to an operator begin that are about this one; empty where the settings name one backend only.
    pub fn place(&self) -> String {
        if &*self.name == DEFAULT {
            String::new()
        } else {
            format!("[backends.{}] ", self.name)
        }
    }

    /// Whether a backend in use can go on as it is under these settings.
    pub fn is_same_as(&self, other: &Self) -> bool {
        let without_line = |settings: &Self| Self {
            line: None,
            ..settings.clone()
        };
        without_line(self) == without_line(other)
    }
}

/// Reads the section. The one of `BACKEND` is the first of the fleet.
pub(super) fn read(reader: &mut Reader, phone_verification: &PhoneVerification) -> Vec<BackendSettings> {
    let PhoneVerification { backend, options, .. } = phone_verification;
    let default = backend.as_ref();
    let mut backends: Vec<_> = default
        .map(|backend| BackendSettings::default_one(backend, options.clone()))
        .into_iter()
        .collect();
    for (place, row) in reader.rows(SECTION).into_iter().enumerate() {
        if place == MAX_BACKENDS {
            let message = format!("[{SECTION}] has more than {MAX_BACKENDS} backends; keep at most as many");
            reader.report(SECTION, Some(row.line), message);
            break;
        }
        let is_taken = default.is_some() && row.key == DEFAULT;
        if let Some(read) = backend_of(reader, row, is_taken) {
            backends.push(read);
        }
    }
    backends
}

/// Reads `[backends.<name>]`. `is_taken`: whether `BACKEND` has the name.
fn backend_of(reader: &mut Reader, row: Entry, is_taken: bool) -> Option<BackendSettings> {
    let name = row.key;
    if !is_name(&name) {
        let message = format!(
            "[{SECTION}] {name} cannot be the name of a backend, which needs 1 to {MAX_NAME} letters, digits, - and _; choose \
             another"
        );
        reader.report(SECTION, Some(row.line), message);
        return None;
    }
    let header = format!("[{SECTION}.{name}]");
    let line = row.line;
    let mut row = Row::new(reader, SECTION, header.clone(), line, row.value)?;
    if is_taken {
        let message = format!(
            "has the name of the backend that [phone_verification] BACKEND names; give it another name than {DEFAULT}, or \
             remove BACKEND and its OPTIONS"
        );
        row.problem(line, &message);
    }
    let backend = if row.has("use") {
        row.get("use", backend_name).map(|(backend, _)| backend)
    } else {
        let message =
            "use is missing; name the backend there as <library>.<Backend>, such as nexmo.NexmoBackend";
        row.problem(line, message);
        row.leave_out("use");
        None
    };
    let concurrency = row.get("concurrency", number(1..=10_000));
    let max_per_second = row.get("max_per_second", number(0..=10_000));
    let price = row.get("price_per_segment", money);
    let (prices, shown_prices) = prices(&mut row);
    let options = Options::of(row.table_without_twins("OPTIONS"));
    for secret in &options.secrets {
        row.warn_if_exposed(secret.line, &secret.key, &secret.value);
    }
    let mut tables = Vec::new();
    if !shown_prices.is_empty() {
        tables.push((format!("[{SECTION}.{name}.prices]"), shown_prices));
    }
    if !options.shown.is_empty() {
        tables.push((format!("[{SECTION}.{name}.OPTIONS]"), options.shown));
    }
    row.finish(&tables);
    Some(BackendSettings {
        name: name.into(),
        backend: backend?,
        options: options.values,
        concurrency: concurrency.map(|(concurrency, _)| concurrency as usize),
        max_per_second: max_per_second.map(|(most, _)| most).filter(|most| *most > 0),
        prices: SegmentPrices {
            default: price.map(|(price, _)| price),
            by_country: prices,
        },
        line: Some(line),
    })
}

/// Reads `[backends.<name>.prices]`, with what is shown of it.
fn prices(row: &mut Row<'_>) -> (BTreeMap<Region, u64>, Vec<(String, String)>) {
    let (mut prices, mut shown) = (BTreeMap::new(), Vec::new());
    for Entry { key, line, value } in row.table_without_twins("prices") {
        let country = Region::parse(&key).ok_or_else(|| "is not an ISO 3166 country code".to_owned());
        match country.and_then(|country| Ok((country, money(&value)?))) {
            Ok((country, price)) => {
                prices.insert(country, price);
                shown.push((key, value.to_toml()));
            }
            Err(needed) => row.problem(line, &format!("prices.{key} {}", value.masked_in(needed))),
        }
    }
    (prices, shown)
}

fn is_name(name: &str) -> bool {
    let is_in_it = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(is_in_it)
}

/// Reads the name of a backend of a library.
pub(super) fn backend_name(value: &Value) -> Result<String, String> {
    let path = text(value)?;
    let parts: Vec<_> = path.split('.').collect();
    let whole = parts.len() >= 2 && parts.iter().all(|part| !part.is_empty());
    whole
        .then_some(path.clone())
        .ok_or_else(|| format!("must be <library>.<Backend>, such as nexmo.NexmoBackend, not {path}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::tests::{REQUIRED, parse, problems};

    /// The required settings without `BACKEND` and its options.
    fn without_backend() -> String {
        let (rest, _) = REQUIRED.split_once("[phone_verification.OPTIONS]").unwrap();
        rest.replace("BACKEND = \"nexmo.NexmoBackend\"\n", "")
    }

    const FLEET: &str = r#"
[backends.nexmo-eu]
use = "nexmo.NexmoBackend"
concurrency = 64
max_per_second = 30
price_per_segment = 0.05
[backends.nexmo-eu.prices]
DE = 0.07
[backends.nexmo-eu.OPTIONS]
KEY = "hunter2"
FROM = "Acme"
[backends.second]
use = "console.ConsoleBackend"
"#;

    #[test]
    fn a_fleet_needs_no_backend_of_its_own_and_is_in_the_order_of_the_file() {
        let settings = parse(&(without_backend() + FLEET)).unwrap();
        let names: Vec<_> = settings.backends.iter().map(|backend| &*backend.name).collect();
        assert_eq!(names, ["nexmo-eu", "second"]);
        let first = &settings.backends[0];
        assert_eq!(
            (first.concurrency, first.max_per_second, &first.options["KEY"]),
            (Some(64), Some(30), &"hunter2".into())
        );
        assert_eq!(first.prices.of(Region::parse("DE")), Some(70_000));
        assert_eq!(first.prices.of(Region::parse("US")), Some(50_000));
        assert_eq!(settings.backends[1].prices.of(Region::parse("US")), None);
        assert!(!settings.effective.contains("hunter2"), "{}", settings.effective);
        let again = parse(&settings.effective.replace("***", "hunter2")).unwrap();
        let same = |(one, other): (&BackendSettings, &BackendSettings)| one.is_same_as(other);
        assert!(settings.backends.iter().zip(&again.backends).all(same));
    }

    #[test]
    fn the_one_of_backend_goes_before_those_of_backends() {
        let settings = parse(&format!("{REQUIRED}{FLEET}")).unwrap();
        let names: Vec<_> = settings.backends.iter().map(|backend| &*backend.name).collect();
        assert_eq!(names, [DEFAULT, "nexmo-eu", "second"]);
        assert_eq!(settings.backends[0].options["KEY"], "s3cret-value");
    }

    #[test]
    fn every_problem_of_a_fleet_is_told_at_once() {
        let fleet = r#"
[backends]
"a b" = {}
[backends.default]
use = "nexmo"
concurrency = 0
max_per_secnd = 5
[backends.other]
price_per_segment = "5"
options = 5
[backends.other.prices]
XX = 1
"#;
        assert_eq!(
            problems(&format!("{REQUIRED}{fleet}")),
            [
                "test.toml:13: [backends] a b cannot be the name of a backend, which needs 1 to 64 letters, digits, - and _; \
                 choose another",
                "test.toml:14: [backends.default] has the name of the backend that [phone_verification] BACKEND names; give \
                 it another name than default, or remove BACKEND and its OPTIONS",
                "test.toml:15: [backends.default] use must be <library>.<Backend>, such as nexmo.NexmoBackend, not nexmo",
                "test.toml:16: [backends.default] concurrency must be from 1 to 10000, not 0",
                "test.toml:17: [backends.default] max_per_secnd is not a setting; did you mean max_per_second?",
                "test.toml:18: [backends.other] use is missing; name the backend there as <library>.<Backend>, such as \
                 nexmo.NexmoBackend",
                "test.toml:19: [backends.other] price_per_segment must be an amount from 0 to 1000000000, such as 0.05, not a \
                 text",
                "test.toml:22: [backends.other] prices.XX is not an ISO 3166 country code",
                "test.toml:20: [backends.other] OPTIONS must be a table, not a whole number",
            ]
        );
    }

    #[test]
    fn options_without_their_backend_are_told() {
        let (_, options) = REQUIRED.split_once("[phone_verification.OPTIONS]").unwrap();
        let text = format!(
            "{}[phone_verification.OPTIONS]{options}{FLEET}",
            without_backend()
        );
        let told = problems(&text);
        assert!(
            told[0].contains("OPTIONS are those of BACKEND, which is not set"),
            "{told:?}"
        );
        assert_eq!(problems(&without_backend()).len(), 2, "one of the two is needed");
    }
}
