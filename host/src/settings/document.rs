//! A settings file as it was written: keys with their line numbers, and references replaced. Nothing is validated here,
//! since only the sections know what each key needs.
//!
//! Invariant: a value knows whether part of it came from a reference ([`Value::referred`]). Such a value may be a
//! secret, and is shown only masked.

use std::path::{Path, PathBuf};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    DEFAULTS, Problem,
    reference::{self, ReferredFile, Replaced},
};

/// A parsed file.
pub(super) struct Document {
    /// The file's name as problems show it.
    pub(super) file: String,
    /// The folder of the file. Relative paths in the file start there.
    pub(super) folder: PathBuf,
    pub(super) entries: Vec<Entry>,
    /// References that could not be resolved.
    pub(super) problems: Vec<Problem>,
}

/// A key with its value and the line that the key is on, counted from 1.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) line: usize,
    pub(super) value: Value,
}

/// A value of the file, with the types of TOML that settings use.
#[derive(Clone)]
pub(super) enum Value {
    /// A string, with its references replaced; `referred`: it held at least one; `files`: those that it refers to.
    Text {
        text: String,
        referred: bool,
        files: Vec<ReferredFile>,
    },
    Integer(i64),
    /// A number with a point, as it was written: a price must not be rounded by way of binary floating point.
    Decimal(String),
    Flag(bool),
    /// A day without a time, such as 2027-01-31.
    Date(String),
    List(Vec<Value>),
    Table(Vec<Entry>),
    /// A type that no setting takes, with its name for messages: a date with a time, or a number beyond 63 bits.
    Other(&'static str),
    /// A text whose reference could not be resolved. The problem is reported already, so nothing else is reported about
    /// it.
    Unresolved,
}

impl Value {
    /// The name of the value's type, for messages.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Text { .. } | Self::Unresolved => "a text",
            Self::Integer(_) => "a whole number",
            Self::Decimal(_) => "a number with a point",
            Self::Flag(_) => "true or false",
            Self::Date(_) => "a date",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
            Self::Other(kind) => kind,
        }
    }

    /// The first line of a table, where its keys tell it.
    pub(super) fn line(&self) -> Option<usize> {
        match self {
            Self::Table(entries) => entries.iter().map(|entry| entry.line).min(),
            _ => None,
        }
    }

    /// Whether part of the value came from a reference, so from outside the file.
    pub(super) fn referred(&self) -> bool {
        match self {
            Self::Text { referred, .. } => *referred,
            Self::List(items) => items.iter().any(Self::referred),
            Self::Table(entries) => entries.iter().any(|entry| entry.value.referred()),
            _ => false,
        }
    }

    /// The files that parts of the value came from.
    pub(super) fn files(&self) -> Vec<&ReferredFile> {
        match self {
            Self::Text { files, .. } => files.iter().collect(),
            Self::List(items) => items.iter().flat_map(Self::files).collect(),
            Self::Table(entries) => entries.iter().flat_map(|entry| entry.value.files()).collect(),
            _ => Vec::new(),
        }
    }

    /// Masks in `told`, a message about this value, every text that came from a reference: it may be a secret in the
    /// wrong setting.
    pub(super) fn masked_in(&self, told: String) -> String {
        match self {
            Self::Text {
                text, referred: true, ..
            } if !text.is_empty() => told.replace(text, "***"),
            Self::List(items) => items.iter().fold(told, |told, item| item.masked_in(told)),
            _ => told,
        }
    }

    /// Whether all references in the value could be resolved.
    pub(super) fn is_resolved(&self) -> bool {
        match self {
            Self::Unresolved => false,
            Self::List(items) => items.iter().all(Self::is_resolved),
            Self::Table(entries) => entries.iter().all(|entry| entry.value.is_resolved()),
            _ => true,
        }
    }

    /// The value as JSON, as backends receive their options. A value that no option takes becomes null, which is
    /// refused: a date, a number that is too large, or not a number.
    pub(super) fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Text { text, .. } => text.clone().into(),
            Self::Integer(number) => (*number).into(),
            Self::Flag(flag) => (*flag).into(),
            Self::List(items) => items.iter().map(Self::to_json).collect(),
            Self::Table(entries) => entries
                .iter()
                .map(|entry| (entry.key.clone(), entry.value.to_json()))
                .collect(),
            Self::Decimal(number) => number.parse::<f64>().map_or(serde_json::Value::Null, Into::into),
            Self::Date(_) | Self::Other(_) | Self::Unresolved => serde_json::Value::Null,
        }
    }

    /// The value as TOML, for the effective settings.
    pub(super) fn to_toml(&self) -> String {
        match self {
            Self::Text { text, .. } => toml::Value::String(text.clone()).to_string(),
            Self::Integer(number) => number.to_string(),
            Self::Decimal(number) => number.clone(),
            Self::Date(day) => day.clone(),
            Self::Flag(flag) => flag.to_string(),
            Self::List(items) => {
                format!(
                    "[{}]",
                    items.iter().map(Self::to_toml).collect::<Vec<_>>().join(", ")
                )
            }
            Self::Table(entries) => {
                let entries = entries
                    .iter()
                    .map(|entry| format!("{} = {}", entry.key, entry.value.to_toml()));
                format!("{{ {} }}", entries.collect::<Vec<_>>().join(", "))
            }
            Self::Other(kind) => format!("\"{kind}\""),
            Self::Unresolved => "\"***\"".into(),
        }
    }
}

impl Document {
    /// The built-in `default.toml`.
    pub(super) fn defaults() -> Self {
        Self::parse("default.toml", DEFAULTS.as_bytes(), Path::new(""))
            .unwrap_or_else(|_| unreachable!("a test holds that the defaults are valid"))
    }

    /// Parses a file. The error holds every syntax error with its line; a key with an unresolved reference is not an
    /// error here, but in [`Document::problems`].
    pub(super) fn parse(file: &str, bytes: &[u8], folder: &Path) -> Result<Self, Vec<Problem>> {
        let problem = |line, message| Problem {
            file: file.to_owned(),
            line: Some(line),
            message,
            may_pass: false,
        };
        let text = std::str::from_utf8(bytes).map_err(|error| {
            let before = &bytes[..error.valid_up_to()];
            vec![problem(
                before.split(|byte| *byte == b'\n').count(),
                "this is not UTF-8".into(),
            )]
        })?;
        // Editors on Windows write a byte order mark, which TOML does not allow.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let (table, errors) = DeTable::parse_recoverable(text);
        if !errors.is_empty() {
            // Messages hold the parser's text only: the faulty line itself may hold a secret.
            let told = errors.iter().map(|error| {
                let line = error.span().map_or(1, |span| line_at(text, span.start));
                let told = match error.span().and_then(|span| text.get(span)) {
                    // The key's name may be shown: it is no secret.
                    Some(key) if error.message() == "duplicate key" && is_a_key(key) => {
                        format!("{key} is set twice")
                    }
                    _ => format!("this is not TOML: {}", error.message().replace('\n', ", ")),
                };
                problem(line, told)
            });
            return Err(told.collect());
        }
        let mut convert = Convert {
            text,
            file,
            folder,
            problems: Vec::new(),
        };
        let entries = convert.table(table.get_ref());
        Ok(Self {
            file: file.to_owned(),
            folder: folder.to_owned(),
            entries,
            problems: convert.problems,
        })
    }
}

/// Whether this is a TOML key without quotes.
fn is_a_key(text: &str) -> bool {
    !text.is_empty()
        && text
            .chars()
            .all(|character| character.is_ascii_alphanumeric() || "_-".contains(character))
}

/// The line, counted from 1, of the byte at `at`.
fn line_at(text: &str, at: usize) -> usize {
    1 + text.get(..at).unwrap_or(text).matches('\n').count()
}

/// Converts the parser's tree, and gathers the references that cannot be resolved.
struct Convert<'a> {
    text: &'a str,
    file: &'a str,
    folder: &'a Path,
    problems: Vec<Problem>,
}

impl Convert<'_> {
    fn table(&mut self, table: &DeTable<'_>) -> Vec<Entry> {
        let mut entries: Vec<Entry> = table
            .iter()
            .map(|(key, value)| {
                let (name, line) = (key.get_ref().to_string(), line_at(self.text, key.span().start));
                let value = self.value(&name, line, value);
                Entry {
                    key: name,
                    line,
                    value,
                }
            })
            .collect();
        // The parser sorts keys by name; problems are reported in the order of the file.
        entries.sort_by_key(|entry| entry.line);
        entries
    }

    fn value(&mut self, key: &str, line: usize, value: &Spanned<DeValue<'_>>) -> Value {
        match value.get_ref() {
            DeValue::String(text) => match reference::replace(text, self.folder) {
                Ok(Replaced { text, any, files }) => Value::Text {
                    text,
                    referred: any,
                    files,
                },
                Err(unresolved) => {
                    self.problems
                        .extend(unresolved.into_iter().map(|unresolved| Problem {
                            file: self.file.to_owned(),
                            line: Some(line),
                            message: format!("{key} {}", unresolved.told),
                            may_pass: unresolved.may_pass,
                        }));
                    Value::Unresolved
                }
            },
            DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
                Ok(number) => Value::Integer(number),
                Err(_) => Value::Other("a number with more than 63 bits"),
            },
            DeValue::Boolean(flag) => Value::Flag(*flag),
            DeValue::Array(items) => {
                Value::List(items.iter().map(|item| self.value(key, line, item)).collect())
            }
            DeValue::Table(table) => Value::Table(self.table(table)),
            DeValue::Float(number) => Value::Decimal(number.as_str().to_owned()),
            DeValue::Datetime(time) if time.time.is_none() => Value::Date(time.to_string()),
            DeValue::Datetime(_) => Value::Other("a date with a time"),
        }
    }
}
