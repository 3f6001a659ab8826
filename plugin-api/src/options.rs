//! Reads the `OPTIONS` table of the settings into the author's struct. Keys are compared without regard to case, and
//! `-` equals `_`. All faulty options are reported together, by name.

use phone_verify_plugin_abi::OPTIONS_REFUSED;
use serde_json::{Map, Value};

use crate::{Error, ErrorKind, OptionValue};

/// A struct that is filled from the `OPTIONS` table. Implement it with `#[derive(Options)]`.
///
/// Each field is an option with the field's name. `#[option(…)]` on a field takes `name = "…"` (another name), `alias =
/// "…"` (a second accepted name), `default = …` (a literal), `help = "…"` (instead of the doc comment), `example =
/// "…"`, and `secret` (the host masks the text; a [`crate::Secret`] is always masked). An `Option<T>` field may be left
/// out in the settings.
pub trait Options: Sized {
    /// The rows of the options in the manifest.
    #[doc(hidden)]
    const FIELDS: &'static [OptionField];

    /// Fills the struct. The error names every option that is missing, wrong or unknown.
    #[doc(hidden)]
    fn read(reader: OptionReader) -> Result<Self, Error>;
}

/// For a backend without options.
impl Options for () {
    const FIELDS: &'static [OptionField] = &[];

    fn read(reader: OptionReader) -> Result<Self, Error> {
        reader.finish()
    }
}

/// One option in the manifest.
#[doc(hidden)]
pub struct OptionField {
    pub name: &'static str,
    pub alias: &'static str,
    pub value_type: &'static str,
    pub required: bool,
    pub secret: bool,
    /// As JSON. Empty: the option has no default.
    pub default: &'static str,
    pub help: &'static str,
    pub example: &'static str,
}

/// Reads the options one by one and collects all problems, so that the operator sees them together.
#[doc(hidden)]
pub struct OptionReader {
    given: Vec<(String, Value)>,
    fields: &'static [OptionField],
    problems: Vec<String>,
}

impl OptionField {
    /// For the derive: a default that does not fit the option's type is a compile error instead of one at start. Types
    /// of the author's own are not checked here, since only their `from_json` knows what fits.
    ///
    /// # Panics
    /// In a const context, that is, while compiling, if the default does not fit.
    #[must_use]
    pub const fn checked(self, default_type: &str) -> Self {
        assert!(
            self.default.is_empty()
                || !is_one_of(self.value_type, &["string", "integer", "seconds", "bool", "list"])
                || is_one_of(self.value_type, &[default_type])
                || is_one_of(self.value_type, &["seconds"]) && is_one_of(default_type, &["integer"]),
            "the default of an option is not of the option's type"
        );
        self
    }
}

/// Compares texts in a const context, where `==` does not work.
const fn is_one_of(text: &str, others: &[&str]) -> bool {
    let text = text.as_bytes();
    let mut other = 0;
    while other < others.len() {
        let bytes = others[other].as_bytes();
        let mut same = 0;
        while same < text.len() && same < bytes.len() && text[same] == bytes[same] {
            same += 1;
        }
        if same == text.len() && same == bytes.len() {
            return true;
        }
        other += 1;
    }
    false
}

/// A key in the form in which keys are compared.
fn folded(key: &str) -> String {
    key.to_ascii_lowercase().replace('-', "_")
}

/// Parses a JSON object. It parses a `Value` first, because that parser is in every library anyway; one for a map would
/// add 10 kB.
pub(crate) fn table(json: &str) -> Option<Map<String, Value>> {
    match serde_json::from_str(json) {
        Ok(Value::Object(table)) => Some(table),
        _ => None,
    }
}

impl OptionReader {
    /// Takes the options as JSON, as they come through the ABI.
    #[doc(hidden)]
    pub fn new(json: &str, fields: &'static [OptionField]) -> Self {
        let mut problems = Vec::new();
        let given = table(json).unwrap_or_else(|| {
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

    /// Reads one option. `None`: the problem is recorded.
    #[doc(hidden)]
    pub fn take<T: OptionValue>(&mut self, field: &OptionField) -> Option<T> {
        let mut values = self.values_of(field);
        if values.len() > 1 {
            return self.problem(format!("option {} is given more than once", field.name));
        }
        let Some(value) = values.pop() else {
            return T::absent().or_else(|| self.problem(format!("option {} is missing", field.name)));
        };
        match T::from_json(&value) {
            Ok(value) => Some(value),
            Err(needed) => self.problem(format!("option {} must be {needed}", field.name)),
        }
    }

    /// The values given under the field's name or alias, or else its default. More than one value is a problem: the
    /// field was given twice.
    fn values_of(&mut self, field: &OptionField) -> Vec<Value> {
        let (name, alias) = (folded(field.name), folded(field.alias));
        let mut values = Vec::new();
        self.given.retain_mut(|(key, value)| {
            let is_it = *key == name || (!alias.is_empty() && *key == alias);
            if is_it {
                values.push(value.take());
            }
            !is_it
        });
        if values.is_empty() {
            values.extend(serde_json::from_str::<Value>(field.default));
        }
        values
    }

    fn problem<T>(&mut self, problem: String) -> Option<T> {
        self.problems.push(problem);
        None
    }

    /// Fails with all recorded problems and the options that no field has taken.
    #[doc(hidden)]
    pub fn finish(mut self) -> Result<(), Error> {
        let known: Vec<&str> = self.fields.iter().map(|field| field.name).collect();
        let known = match known.as_slice() {
            [] => "there are none".to_owned(),
            names => format!("there are {}", names.join(", ")),
        };
        for (key, _) in &self.given {
            let key = key.to_ascii_uppercase();
            self.problems.push(format!("option {key} is unknown ({known})"));
        }
        if self.problems.is_empty() {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Config,
            OPTIONS_REFUSED,
            self.problems.join("; "),
        ))
    }

    /// For the derive: returns the struct if all fields were read and no option is left over.
    #[doc(hidden)]
    pub fn build<T>(self, built: Option<T>) -> Result<T, Error> {
        self.finish()?;
        built.ok_or_else(|| Error::new(ErrorKind::Config, OPTIONS_REFUSED, "an option has no value"))
    }
}
