//! A JSON body. Its template is a value, not a text: placeholders are in its texts alone, so that nothing they stand
//! for can become structure.
//!
//! A text that is just `{number_digits:number}` becomes a number.

use phone_verify_plugin_api::serde_json::{Map, Value};

use crate::{
    problems::Problems,
    template::Template,
    values::{Name, Values},
};

/// A JSON value with placeholders in its texts.
pub(crate) enum JsonTemplate {
    /// Without placeholders.
    Fixed(Value),
    Text(Template),
    Number(Name),
    List(Vec<JsonTemplate>),
    Table(Vec<(String, JsonTemplate)>),
}

impl JsonTemplate {
    /// Reads a value of the settings. `place` is the option and the way to the value in it.
    pub(crate) fn read(value: Value, place: &str, problems: &mut Problems) -> Self {
        match value {
            Value::String(text) => Self::text(&text, place, problems),
            Value::Array(items) => Self::List(
                items
                    .into_iter()
                    .map(|item| Self::read(item, place, problems))
                    .collect(),
            ),
            Value::Object(fields) => Self::Table(
                fields
                    .into_iter()
                    .map(|(key, value)| {
                        let read = Self::read(value, &format!("{place}.{key}"), problems);
                        (key, read)
                    })
                    .collect(),
            ),
            other => Self::Fixed(other),
        }
    }

    fn text(text: &str, place: &str, problems: &mut Problems) -> Self {
        let numeric = text
            .strip_prefix('{')
            .and_then(|text| text.strip_suffix(":number}"));
        if let Some(name) = numeric {
            match Name::parse(name).filter(|name| name.is_numeric()) {
                Some(name) => return Self::Number(name),
                None => problems.add(format!(
                    "{place} has a placeholder that cannot be a number; number_digits, country_code and timestamp can"
                )),
            }
            return Self::Fixed(Value::Null);
        }
        match Template::parse(text) {
            Ok(template) => Self::Text(template),
            Err(wrong) => {
                problems.add(format!("{place} {wrong}"));
                Self::Fixed(Value::Null)
            }
        }
    }

    /// The placeholders in it.
    pub(crate) fn names(&self, into: &mut Vec<Name>) {
        match self {
            Self::Fixed(_) => {}
            Self::Text(template) => into.extend(template.names()),
            Self::Number(name) => into.push(*name),
            Self::List(items) => items.iter().for_each(|item| item.names(into)),
            Self::Table(fields) => fields.iter().for_each(|(_, value)| value.names(into)),
        }
    }

    /// Fills it in.
    pub(crate) fn fill(&self, values: &Values<'_>) -> Value {
        match self {
            Self::Fixed(value) => value.clone(),
            Self::Text(template) => Value::String(template.fill(values)),
            // Digits always are a number; the text of anything else stays one.
            Self::Number(name) => values
                .get(*name)
                .parse::<u64>()
                .map_or_else(|_| Value::from(values.get(*name)), Value::from),
            Self::List(items) => items.iter().map(|item| item.fill(values)).collect(),
            Self::Table(fields) => {
                let filled = fields
                    .iter()
                    .map(|(key, value)| (key.clone(), value.fill(values)));
                Value::Object(filled.collect::<Map<_, _>>())
            }
        }
    }
}
