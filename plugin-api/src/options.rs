//! Options: from the settings' `OPTIONS` table into a typed struct. Keys are matched without regard to
//! case, a `-` counts as `_`; every faulty option is reported at once, by name.

use phone_verify_plugin_abi::OPTIONS_REFUSED;
use serde_json::{Map, Value};

use crate::{Error, ErrorKind, OptionValue};

/// A struct that is filled from the `OPTIONS` table; `#[derive(Options)]` writes this.
///
/// Each field is an option of its own name. `#[option(…)]` on a field takes `name = "…"` (another name),
/// `alias = "…"` (another name that is accepted too), `default = …` (a literal), `help = "…"` (otherwise the doc
/// comment), `example = "…"`, and `secret` (for a text that is masked; [`crate::Secret`] always is).
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

impl OptionField {
    /// For the derive: refuses, while compiling, a default that its own type would refuse at start. A type of
    /// the author's own is left to its `from_json`.
    ///
    /// # Panics
    /// While compiling, if the default does not fit.
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

/// `==` on texts, which is not const.
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

fn folded(key: &str) -> String {
    key.to_ascii_lowercase().replace('-', "_")
}

/// A JSON object. Read as any value, since that reader is in every library anyway: another one costs 10 kB.
pub(crate) fn table(json: &str) -> Option<Map<String, Value>> {
    match serde_json::from_str(json) {
        Ok(Value::Object(table)) => Some(table),
        _ => None,
    }
}

impl OptionReader {
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

    /// What is given for the field under its name or its alias, else its default.
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

    /// The problems found, unknown options among them.
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

    /// For the derive: the struct if all fields were read and nothing is left over.
    #[doc(hidden)]
    pub fn build<T>(self, built: Option<T>) -> Result<T, Error> {
        self.finish()?;
        built.ok_or_else(|| Error::new(ErrorKind::Config, OPTIONS_REFUSED, "an option has no value"))
    }
}
