//! What a document must have for a rule to fit it.

use phone_verify_plugin_api::serde_json::Value;

use crate::{
    document::{Document, Field},
    problems::Problems,
};

/// Fields of a document, each with the patterns of which its value must be like one.
#[derive(Default)]
pub(crate) struct Conditions(Vec<(Field, Vec<String>)>);

impl Conditions {
    /// Reads a table such as `{ "/status" = ["0", "1"] }`. What is wrong goes to `problems`.
    pub(crate) fn read(value: &Value, place: &str, problems: &mut Problems) -> Self {
        Self(fields(value, place, problems))
    }

    /// Whether a document has all of it.
    pub(crate) fn fit(&self, document: &Document<'_>) -> bool {
        self.0.iter().all(|(field, patterns)| {
            let value = field.find(document);
            value.is_some_and(|value| patterns.iter().any(|pattern| is_like(&value, pattern)))
        })
    }
}

fn fields(value: &Value, place: &str, problems: &mut Problems) -> Vec<(Field, Vec<String>)> {
    let Some(table) = value.as_object() else {
        problems.add(format!(
            "{place} must have a table as fields, such as fields = {{ \"/status\" = \"0\" }}"
        ));
        return Vec::new();
    };
    let mut fields = Vec::new();
    for (key, value) in table {
        let one = |value: &Value| match value {
            Value::String(text) => Some(text.clone()),
            Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
            _ => None,
        };
        let patterns: Option<Vec<String>> = match value {
            Value::Array(items) if !items.is_empty() => items.iter().map(one).collect(),
            value => one(value).map(|pattern| vec![pattern]),
        };
        match (Field::parse(key), patterns) {
            (Ok(field), Some(patterns)) => fields.push((field, patterns)),
            (Err(wrong), _) => problems.add(format!("{place} field {key} {wrong}")),
            (_, None) => problems.add(format!(
                "{place} field {key} must be compared with a text, a number, true, false or a list of these"
            )),
        }
    }
    fields
}

/// Whether a value is the pattern, in which `*` stands for any text. ASCII letters are compared without regard to case.
fn is_like(value: &str, pattern: &str) -> bool {
    let value = value.to_ascii_lowercase();
    let pattern = pattern.to_ascii_lowercase();
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = value.strip_prefix(first) else {
        return false;
    };
    let Some(last) = parts.next_back() else {
        return rest.is_empty();
    };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::is_like;

    #[test]
    fn a_star_is_any_text() {
        for (value, pattern, is) in [
            ("OK", "ok", true),
            ("OK 1", "ok", false),
            ("OK 1", "ok*", true),
            ("not OK", "*ok", true),
            ("Invalid phone number", "*PHONE*", true),
            ("abcabc", "a*b*c", true),
            ("ab", "ab*b", false),
            ("anything", "*", true),
            ("", "*", true),
            ("aXbX", "a*X*X", true),
            ("aX", "a*X*X", false),
            ("ÄÖ", "Ä*", true),
        ] {
            assert_eq!(is_like(value, pattern), is, "{value:?} {pattern:?}");
        }
    }
}
