//! The types that an option can have, and how each is read.
//!
//! Invariant: what is said about a faulty value never repeats it, for it may be a secret.

use std::time::Duration;

use serde_json::{Number, Value};

use crate::Secret;

/// A type that an option can have.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a type that an option can have",
    note = "options are String, Secret, bool, u16, u32, u64, i32, i64, Duration (in seconds), Vec and Option of these, \
            and what implements OptionValue"
)]
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

impl OptionValue for String {
    const TYPE: &'static str = "string";

    /// Numbers are taken too: a sender id of digits is easily written without quotes.
    fn from_json(value: &Value) -> Result<Self, String> {
        match value {
            Value::String(text) if !text.trim().is_empty() => Ok(text.clone()),
            Value::String(_) => Err("a text that is not empty".into()),
            Value::Number(number) => whole_number(number)
                .map(|number| number.to_string())
                .ok_or_else(|| "a text".into()),
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

/// Not by way of the number's own text, which would bring the printing of fractions into every library (20 kB).
fn whole_number(number: &Number) -> Option<i128> {
    let signed = number.as_i64().map(i128::from);
    signed.or_else(|| number.as_u64().map(i128::from))
}

/// As TOML takes it too, and so that no host takes a long one for a phone number, which it would mask.
fn grouped(number: &impl ToString) -> String {
    let text = number.to_string();
    let mut grouped = String::new();
    for (at, character) in text.chars().enumerate() {
        let left = text.len() - at;
        if left % 3 == 0 && grouped.ends_with(|before: char| before.is_ascii_digit()) {
            grouped.push('_');
        }
        grouped.push(character);
    }
    grouped
}

macro_rules! integers {
    ($($integer:ty),+) => {$(
        impl OptionValue for $integer {
            const TYPE: &'static str = "integer";

            /// Texts of digits are taken too: a value from the environment is a text.
            fn from_json(value: &Value) -> Result<Self, String> {
                let number = match value {
                    Value::Number(number) => whole_number(number).and_then(|number| Self::try_from(number).ok()),
                    Value::String(text) => text.trim().parse().ok(),
                    _ => None,
                };
                number.ok_or_else(|| {
                    format!("a whole number from {} to {}", grouped(&<$integer>::MIN), grouped(&<$integer>::MAX))
                })
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
