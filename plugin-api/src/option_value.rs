//! The types that an option can have, and how each is read from the settings.
//!
//! Invariant: a message about a wrong value never repeats the value, as it may be a secret.

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
    /// The name of the type in the manifest: `string`, `integer`, …
    const TYPE: &'static str;
    /// Whether an option of this type is required unless it has a default.
    const REQUIRED: bool = true;
    /// Whether the host masks the value.
    const SECRET: bool = false;

    /// Reads the value.
    ///
    /// # Errors
    /// States what is needed ("a whole number of seconds"), without repeating the value.
    fn from_json(value: &Value) -> Result<Self, String>;

    /// The value of an option that was left out, for types that have one.
    fn absent() -> Option<Self> {
        None
    }
}

impl OptionValue for String {
    const TYPE: &'static str = "string";

    /// Accepts whole numbers too, because people write a sender id of digits without quotes.
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

/// In seconds.
impl OptionValue for Duration {
    const TYPE: &'static str = "seconds";

    fn from_json(value: &Value) -> Result<Self, String> {
        u32::from_json(value)
            .map(|seconds| Self::from_secs(u64::from(seconds)))
            .map_err(|_| "a whole number of seconds".into())
    }
}

/// Converts by way of `i64` and `u64`. Printing the number instead would link the formatting of floats into every
/// library, about 20 kB.
fn whole_number(number: &Number) -> Option<i128> {
    let signed = number.as_i64().map(i128::from);
    signed.or_else(|| number.as_u64().map(i128::from))
}

/// A number with `_` between groups of three digits, as TOML accepts it. Without them, the host would take a long
/// number in a message for a phone number and mask it.
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

            /// Accepts texts of digits too, because values from environment variables are texts.
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
