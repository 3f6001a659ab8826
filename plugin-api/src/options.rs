//! Options: from the settings' `OPTIONS` table into a typed struct. Keys are matched without regard to
//! case, a `-` counts as `_`; every faulty option is told at once, by name.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::{Error, ErrorKind, Secret};

/// A struct that is filled from the `OPTIONS` table; `#[derive(Options)]` writes this.
///
/// Each field is an option of its own name. `#[option(…)]` on a field takes `name = "…"` (another name),
/// `alias = "…"` (another name that is accepted too), `default = …` (a literal), `help = "…"` (otherwise the doc
/// comment), `example = "…"`, and `secret` (for a text that is masked; [`Secret`] always is).
/// An `Option<T>` field may be left out.
pub trait Options: Sized {
    /// The table of options, for the manifest.
    #[doc(hidden)]
    const FIELDS: &'static [OptionField];

    /// Fills the struct; the error names every option that is missing, wrong or unknown.
    #[doc(hidden)]
    fn read(reader: OptionReader) -> Result<Self, Error>;
}

/// No options at all.
impl Options for () {
    const FIELDS: &'static [OptionField] = &[];

    fn read(reader: OptionReader) -> Result<Self, Error> {
        reader.finish()
    }
}

/// A type that an option can have.
pub trait OptionValue: Sized {
    /// Its name in the manifest: `string`, `integer`, …
    const TYPE: &'static str;
    /// Whether an option of this type must be given when it has no default.
    const REQUIRED: bool = true;
    /// Whether the value is to be masked.
    const SECRET: bool = false;

    /// Reads the value; the error says what was needed, without repeating the value.
    fn from_json(value: &Value) -> Result<Self, String>;

    /// The value of an option that was left out, for types that have one.
    fn absent() -> Option<Self> {
        None
    }
}

/// One row of the option table.
#[doc(hidden)]
pub struct OptionField {
    pub name: &'static str,
    pub alias: &'static str,
    pub value_type: &'static str,
    pub required: bool,
    pub secret: bool,
    /// A JSON text, empty = none.
    pub default: &'static str,
    pub help: &'static str,
    pub example: &'static str,
}

/// Takes options out of the table one by one, and gathers what is wrong.
#[doc(hidden)]
pub struct OptionReader {
    given: Vec<(String, Value)>,
    fields: &'static [OptionField],
    problems: Vec<String>,
}

fn folded(key: &str) -> String {
    key.to_lowercase().replace('-', "_")
}

impl OptionReader {
    #[doc(hidden)]
    pub fn new(json: &str, fields: &'static [OptionField]) -> Self {
        let mut problems = Vec::new();
        let given: Map<String, Value> = serde_json::from_str(json).unwrap_or_else(|_| {
            problems.push("the options are not a table".to_owned());
            Map::new()
        });
        Self {
            given: given
                .into_iter()
                .map(|(key, value)| (folded(&key), value))
                .collect(),
            fields,
            problems,
        }
    }

    #[doc(hidden)]
    pub fn take<T: OptionValue>(&mut self, field: &OptionField) -> Option<T> {
        let names = [folded(field.name), folded(field.alias)];
        let mut values = Vec::new();
        self.given.retain_mut(|(key, value)| {
            let is_it = names.contains(key);
            if is_it {
                values.push(value.take());
            }
            !is_it
        });
        let value = match values.len() {
            0 if !field.default.is_empty() => serde_json::from_str(field.default).ok(),
            0 => {
                if let Some(absent) = T::absent() {
                    return Some(absent);
                }
                self.problems.push(format!("option {} is missing", field.name));
                return None;
            }
            1 => values.pop(),
            _ => {
                self.problems
                    .push(format!("option {} is given more than once", field.name));
                return None;
            }
        }?;
        T::from_json(&value)
            .map_err(|needed| {
                self.problems
                    .push(format!("option {} must be {needed}", field.name));
            })
            .ok()
    }

    /// The problems found, unknown options among them.
    #[doc(hidden)]
    pub fn finish(mut self) -> Result<(), Error> {
        let known: Vec<&str> = self.fields.iter().map(|field| field.name).collect();
        for (key, _) in &self.given {
            self.problems.push(format!(
                "option {} is unknown; known are {}",
                key.to_uppercase(),
                known.join(", ")
            ));
        }
        if self.problems.is_empty() {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Config, "options", self.problems.join("; ")))
    }

    /// For the derive: the struct if all fields were read and nothing is left over.
    #[doc(hidden)]
    pub fn build<T>(self, built: Option<T>) -> Result<T, Error> {
        self.finish()?;
        built.ok_or_else(|| Error::new(ErrorKind::Config, "options", "an option has no value"))
    }
}

impl OptionValue for String {
    const TYPE: &'static str = "string";

    /// Numbers are taken too: a sender id of digits is easily written without quotes.
    fn from_json(value: &Value) -> Result<Self, String> {
        match value {
            Value::String(text) if !text.trim().is_empty() => Ok(text.clone()),
            Value::Number(number) => Ok(number.to_string()),
            Value::String(_) => Err("a text that is not empty".into()),
            _ => Err("a text".into()),
        }
    }
}

impl OptionValue for Secret {
    const TYPE: &'static str = "string";
    const SECRET: bool = true;

    fn from_json(value: &Value) -> Result<Self, String> {
        String::from_json(value).map(Self::new)
    }
}

impl OptionValue for bool {
    const TYPE: &'static str = "bool";

    fn from_json(value: &Value) -> Result<Self, String> {
        match value {
            Value::Bool(value) => Ok(*value),
            Value::String(text) if text.eq_ignore_ascii_case("true") => Ok(true),
            Value::String(text) if text.eq_ignore_ascii_case("false") => Ok(false),
            _ => Err("true or false".into()),
        }
    }
}

/// Seconds.
impl OptionValue for Duration {
    const TYPE: &'static str = "seconds";

    fn from_json(value: &Value) -> Result<Self, String> {
        u32::from_json(value)
            .map(|seconds| Self::from_secs(u64::from(seconds)))
            .map_err(|_| "a whole number of seconds".into())
    }
}

macro_rules! integers {
    ($($integer:ty),+) => {$(
        impl OptionValue for $integer {
            const TYPE: &'static str = "integer";

            /// Texts of digits are taken too: a value from the environment is a text.
            fn from_json(value: &Value) -> Result<Self, String> {
                let text = match value {
                    Value::Number(number) => number.to_string(),
                    Value::String(text) => text.trim().to_owned(),
                    _ => String::new(),
                };
                text.parse()
                    .map_err(|_| format!("a whole number from {} to {}", <$integer>::MIN, <$integer>::MAX))
            }
        }
    )+};
}
integers!(u16, u32, u64, i32, i64);

impl<T: OptionValue> OptionValue for Option<T> {
    const TYPE: &'static str = T::TYPE;
    const REQUIRED: bool = false;
    const SECRET: bool = T::SECRET;

    fn from_json(value: &Value) -> Result<Self, String> {
        T::from_json(value).map(Some)
    }

    fn absent() -> Option<Self> {
        Some(None)
    }
}

impl<T: OptionValue> OptionValue for Vec<T> {
    const TYPE: &'static str = "list";
    const SECRET: bool = T::SECRET;

    fn from_json(value: &Value) -> Result<Self, String> {
        match value {
            Value::Array(items) => items
                .iter()
                .map(T::from_json)
                .collect::<Result<_, _>>()
                .map_err(|needed| format!("a list, each item {needed}")),
            _ => Err("a list".into()),
        }
    }
}
