//! Checks the `OPTIONS` table against what the library's manifest asks for, before any of its code runs.
//!
//! Invariant: every faulty option is reported at once, by name; no refusal repeats a value.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{
    BackendName,
    preflight::{BackendInfo, Manifest, OptionInfo},
    refusal::{Refusal, code, hint, list},
};

/// Options that fit the manifest.
pub(super) struct Options {
    /// A JSON object with lower-case keys, as the library gets it.
    pub(super) json: zeroize::Zeroizing<String>,
    /// The values that must not be seen.
    pub(super) secrets: Vec<String>,
    /// Where the operator sends the backend's requests.
    pub(super) base_urls: Vec<String>,
}

/// Checks what was given.
pub(super) fn check(
    name: &BackendName,
    manifest: &Manifest,
    backend: &BackendInfo,
    given: &Map<String, Value>,
) -> Result<Options, Vec<Refusal>> {
    let mut refusals = Vec::new();
    let mut rows: BTreeMap<usize, (&str, &Value)> = BTreeMap::new();
    for (key, value) in given {
        let Some(row) = backend.options.iter().position(|option| option.is_named(key)) else {
            // One settings table serves a backend and its sandbox, which ask for different options.
            let mut siblings = manifest.backends.iter().flat_map(|sibling| &sibling.options);
            if !siblings.any(|option| option.is_named(key)) {
                refusals.push(unknown(name, backend, key));
            }
            continue;
        };
        match rows.get(&row) {
            None => drop(rows.insert(row, (key, value))),
            Some((first, _)) => refusals.push(Refusal::new(
                code::OPTION_TWICE,
                format!("the option {} of {name} is written twice in OPTIONS, as {first} and {key}; remove one of them", backend.options[row].name),
            )),
        }
    }

    let mut options = Options {
        json: String::new().into(),
        secrets: Vec::new(),
        base_urls: Vec::new(),
    };
    let mut table = Map::new();
    for (row, option) in backend.options.iter().enumerate() {
        let Some((_, value)) = rows.get(&row) else {
            if !option.default.is_null() {
                table.insert(folded(&option.name), option.default.clone());
            } else if option.required {
                refusals.push(missing(name, option));
            }
            continue;
        };
        if let Some(needed) = option.misfit(value) {
            refusals.push(Refusal::new(
                code::OPTION_TYPE,
                format!(
                    "the option {} of {name} must be {needed}, not {}; correct it in OPTIONS",
                    option.name,
                    found(value, needed)
                ),
            ));
        }
        if option.secret {
            texts(value, &mut options.secrets);
        }
        if option.is_base_url() {
            options.base_urls.extend(value.as_str().map(str::to_owned));
        }
        table.insert(folded(&option.name), (*value).clone());
    }
    if !refusals.is_empty() {
        return Err(refusals);
    }
    options.json = Value::Object(table).to_string().into();
    Ok(options)
}

fn folded(key: &str) -> String {
    key.to_lowercase().replace('-', "_")
}

impl OptionInfo {
    fn is_named(&self, key: &str) -> bool {
        let key = folded(key);
        folded(&self.name) == key || (!self.alias.is_empty() && folded(&self.alias) == key)
    }

    /// Whether its value is an address that the operator chose for the backend's requests. A backend that asks two
    /// servers, such as one for tokens, has a second option, whose name ends in the same words.
    fn is_base_url(&self) -> bool {
        let is_one = |name: &str| {
            let name = folded(name);
            name == "base_url" || name.ends_with("_base_url")
        };
        is_one(&self.name) || is_one(&self.alias)
    }

    /// What the value must be, if it is something else. A type that this host does not know is left to the
    /// library, and so are the range of a number and the items of a list; what it refuses has the same code.
    fn misfit(&self, value: &Value) -> Option<&'static str> {
        let whole = |value: &Value| match value {
            Value::Number(number) => number.is_i64() || number.is_u64(),
            // A value from the environment is a text.
            Value::String(text) => text.trim().parse::<i128>().is_ok(),
            _ => false,
        };
        let seconds = |value: &Value| match value {
            Value::Number(number) => number
                .as_u64()
                .is_some_and(|number| u32::try_from(number).is_ok()),
            Value::String(text) => text.trim().parse::<u32>().is_ok(),
            _ => false,
        };
        let (fits, needed) = match self.value_type.as_str() {
            // Digits are easily written without quotes.
            "string" => (
                value.is_i64()
                    || value.is_u64()
                    || value.as_str().is_some_and(|text| !text.trim().is_empty()),
                "a text that is not empty",
            ),
            "integer" => (whole(value), "a whole number"),
            "seconds" => (seconds(value), "a whole number of seconds, from 0 to 4294967295"),
            "bool" => (
                value.is_boolean()
                    || value
                        .as_str()
                        .is_some_and(|text| ["true", "false"].contains(&text.to_lowercase().as_str())),
                "true or false",
            ),
            "list" => (value.is_array(), "a list"),
            "table" => (value.is_object(), "a table"),
            _ => (true, "a text, a number, true or false, a list or a table"),
        };
        (!fits || holds_none(value)).then_some(needed)
    }
}

fn missing(name: &BackendName, option: &OptionInfo) -> Refusal {
    let help = if option.help.is_empty() {
        String::new()
    } else {
        format!(" ({})", option.help.trim_end_matches('.'))
    };
    Refusal::new(
        code::OPTION_MISSING,
        format!(
            "{name} needs the option {}{help}, and OPTIONS has none; add it there",
            option.name
        ),
    )
}

fn unknown(name: &BackendName, backend: &BackendInfo, key: &str) -> Refusal {
    let known: Vec<String> = backend.options.iter().map(|option| option.name.clone()).collect();
    let sentence = if known.is_empty() {
        format!("{name} takes no options, and OPTIONS has {key}; remove it")
    } else {
        format!(
            "{name} has no option {key}, only {}{}; correct OPTIONS",
            list(&known),
            hint(key, known.iter().map(String::as_str)),
        )
    };
    Refusal::new(code::OPTION_UNKNOWN, sentence)
}

/// Whether it is, or holds, what TOML has and no option: see [`NONE`].
fn holds_none(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.iter().any(holds_none),
        Value::Object(members) => members.values().any(holds_none),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// What the settings have a null for: no option takes it.
const NONE: &str = "a date, a time, or a number that is too large or none";

fn found(value: &Value, needed: &str) -> String {
    if value.is_number() && needed.starts_with(kind(value)) {
        "another one".to_owned()
    } else if value.is_null() {
        NONE.to_owned()
    } else if holds_none(value) {
        format!("{} with {NONE} in it", kind(value))
    } else {
        kind(value).to_owned()
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => NONE,
        Value::Bool(_) => "true or false",
        Value::Number(number) if number.is_f64() => "a number with a point",
        Value::Number(_) => "a whole number",
        Value::String(text) if text.trim().is_empty() => "an empty text",
        Value::String(_) => "another text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a table",
    }
}

/// All texts in a value.
fn texts(value: &Value, into: &mut Vec<String>) {
    match value {
        Value::String(text) => into.push(text.clone()),
        Value::Number(number) => into.push(number.to_string()),
        Value::Array(items) => items.iter().for_each(|item| texts(item, into)),
        Value::Null | Value::Bool(_) | Value::Object(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(given: &Value) -> Result<Options, Vec<String>> {
        let manifest: Manifest = serde_json::from_value(json!({
            "version": "1.0.0", "abi": {"major": 1, "minor": 0}, "plugin_api": "1.0.0",
            "backends": [
                {"name": "AcmeBackend", "options": [
                    {"name": "KEY", "type": "string", "required": true, "help": "The API key."},
                    {"name": "SECRET", "type": "string", "required": true, "secret": true},
                    {"name": "TIMEOUT", "alias": "TIME_LIMIT", "type": "seconds", "required": true, "default": 5},
                    {"name": "BASE_URL", "type": "string"},
                    {"name": "TOKEN_URL", "alias": "TOKEN_BASE_URL", "type": "string"},
                    {"name": "FLASH", "type": "bool"},
                    {"name": "TAGS", "type": "list", "secret": true},
                ]},
                {"name": "AcmeSandboxBackend", "options": [{"name": "SANDBOX_TOKEN", "type": "string"}]},
            ],
        }))
        .unwrap();
        let name = BackendName::parse("acme.AcmeBackend").unwrap();
        let given = given.as_object().unwrap().clone();
        super::check(&name, &manifest, &manifest.backends[0], &given)
            .map_err(|refusals| refusals.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn options_go_to_the_library_under_lower_case_names() {
        let options = check(&json!({
            "Key": "k", "SECRET": "s3cret", "time-limit": 3, "base_url": "http://127.0.0.1:9", "TAGS": ["a1", 22],
        }))
        .unwrap();
        let json: Value = serde_json::from_str(&options.json).unwrap();
        assert_eq!(
            json,
            json!({
                "key": "k", "secret": "s3cret", "timeout": 3, "base_url": "http://127.0.0.1:9", "tags": ["a1", 22],
            })
        );
        assert_eq!(options.secrets, ["s3cret", "a1", "22"]);
        assert_eq!(options.base_urls, ["http://127.0.0.1:9"]);
    }

    #[test]
    fn a_base_url_is_known_by_the_end_of_its_name_or_alias() {
        let options = check(&json!({
            "KEY": "k", "SECRET": "s3cret", "BASE_URL": "https://a.example", "token_url": "https://b.example",
        }))
        .unwrap();
        assert_eq!(options.base_urls, ["https://a.example", "https://b.example"]);
    }

    #[test]
    fn an_option_of_a_sibling_backend_is_passed_over() {
        let options = check(&json!({"KEY": "k", "SECRET": "s3cret", "SANDBOX_TOKEN": "123456"})).unwrap();
        assert!(!options.json.contains("123456"));
    }

    #[test]
    fn every_faulty_option_is_told_at_once() {
        let refusals = check(&json!({
            "SECERT": "s3cret", "key": "a", "KEY": "b", "TIMEOUT": "soon", "FLASH": 1, "TAGS": "x", "BASE_URL": " ",
        }))
        .map(|_| ())
        .unwrap_err();
        assert_eq!(
            refusals,
            [
                "P603: acme.AcmeBackend has no option SECERT, only KEY, SECRET, TIMEOUT, BASE_URL, TOKEN_URL, FLASH and \
                 TAGS; did \
                 you mean SECRET?; correct OPTIONS",
                "P604: the option KEY of acme.AcmeBackend is written twice in OPTIONS, as KEY and key; remove one of \
                 them",
                "P601: acme.AcmeBackend needs the option SECRET, and OPTIONS has none; add it there",
                "P602: the option TIMEOUT of acme.AcmeBackend must be a whole number of seconds, from 0 to 4294967295, \
                 not another text; correct it in OPTIONS",
                "P602: the option BASE_URL of acme.AcmeBackend must be a text that is not empty, not an empty text; \
                 correct it in OPTIONS",
                "P602: the option FLASH of acme.AcmeBackend must be true or false, not a whole number; correct it in OPTIONS",
                "P602: the option TAGS of acme.AcmeBackend must be a list, not another text; correct it in OPTIONS",
            ]
        );
    }

    #[test]
    fn a_missing_option_is_told_with_its_help() {
        let refusals = check(&json!({"SECRET": "s3cret"})).map(|_| ()).unwrap_err();
        assert_eq!(
            refusals,
            ["P601: acme.AcmeBackend needs the option KEY (The API key), and OPTIONS has none; add it there"]
        );
    }
}
