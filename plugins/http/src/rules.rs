//! What a provider's answers mean, by the operator's rules. The first rule that fits decides; without one, the HTTP
//! status does, as for every backend.
//!
//! Invariant: an SMS counts as accepted only if a rule says so.

use std::{ops::RangeInclusive, time::Duration};

use phone_verify_plugin_api::{
    Error, ErrorKind, Receipt, Response, Secret,
    serde_json::{Map, Value},
};

use crate::{
    answer::{Answer, Field},
    problems::{Problems, hint},
};

/// The most characters of the provider's own text in an error.
const MAX_TEXT_CHARS: usize = 160;
/// The most characters of the provider's code in an error.
const MAX_CODE_CHARS: usize = 40;

/// The classes of refusals, as operators write them.
const CLASSES: [(&str, ErrorKind); 13] = [
    ("invalid_number", ErrorKind::InvalidNumber),
    ("unreachable_number", ErrorKind::UnreachableNumber),
    ("opted_out", ErrorKind::OptedOut),
    ("destination_blocked", ErrorKind::DestinationBlocked),
    ("content_rejected", ErrorKind::ContentRejected),
    ("sender_rejected", ErrorKind::SenderRejected),
    ("auth_failed", ErrorKind::AuthFailed),
    ("no_credit", ErrorKind::NoCredit),
    ("throttled", ErrorKind::Throttled),
    ("transient", ErrorKind::Transient),
    ("outcome_unknown", ErrorKind::OutcomeUnknown),
    ("config", ErrorKind::Config),
    ("internal", ErrorKind::Internal),
];
/// The class of a success.
const ACCEPTED: &str = "accepted";

/// The rules, and where answers have what.
pub(crate) struct Rules {
    all: Vec<Rule>,
    message_id: Option<Field>,
    error_code: Option<Field>,
    error_text: Option<Field>,
    retry_after: Option<Field>,
}

struct Rule {
    /// Empty: any status.
    statuses: Vec<RangeInclusive<u16>>,
    fields: Vec<(Field, Vec<String>)>,
    /// `None`: accepted.
    class: Option<ErrorKind>,
}

/// The options that say where answers have what.
pub(crate) struct Places {
    pub(crate) message_id: Option<String>,
    pub(crate) error_code: Option<String>,
    pub(crate) error_text: Option<String>,
    pub(crate) retry_after: Option<String>,
}

impl Rules {
    /// Reads the options. What is wrong goes to `problems`.
    pub(crate) fn read(rows: Vec<Map<String, Value>>, places: Places, problems: &mut Problems) -> Self {
        let count = rows.len();
        let rules: Vec<Rule> = rows
            .into_iter()
            .enumerate()
            .map(|(at, row)| {
                let place = format!("option ANSWERS, rule {} of {count},", at + 1);
                Rule::read(row, &place, problems)
            })
            .collect();
        if !rules.iter().any(|rule| rule.class.is_none()) {
            problems.add(format!(
                "option ANSWERS has no rule with class = \"{ACCEPTED}\", so that no SMS would count as sent; add one \
                 for the answer to an accepted SMS"
            ));
        }
        let mut field = |option: &str, text: Option<String>| {
            let parsed = Field::parse(&text?);
            parsed
                .map_err(|wrong| problems.add(format!("option {option} {wrong}")))
                .ok()
        };
        Self {
            all: rules,
            message_id: field("MESSAGE_ID", places.message_id),
            error_code: field("ERROR_CODE", places.error_code),
            error_text: field("ERROR_TEXT", places.error_text),
            retry_after: field("RETRY_AFTER", places.retry_after),
        }
    }

    /// The outcome that an answer means. `token` is the access token in the request, which no error may repeat.
    ///
    /// # Errors
    /// With the class of the first rule that fits, or what the HTTP status means if none does.
    pub(crate) fn judge(&self, response: &Response, token: Option<&Secret>) -> Result<Receipt, Error> {
        let answer = Answer::of(response);
        match self.all.iter().find(|rule| rule.fits(&answer)) {
            Some(Rule { class: None, .. }) => self.accepted(&answer),
            Some(Rule {
                class: Some(kind), ..
            }) => Err(self.refused(Some(*kind), &answer, token)),
            None => Err(self.refused(None, &answer, token)),
        }
    }

    fn accepted(&self, answer: &Answer<'_>) -> Result<Receipt, Error> {
        let Some(field) = &self.message_id else {
            return Ok(Receipt::without_id());
        };
        // The provider has processed the request, so the SMS may have been sent.
        field.find(answer).map(Receipt::new).ok_or_else(|| {
            Error::new(
                ErrorKind::OutcomeUnknown,
                "unreadable_answer",
                "the provider's answer is one to an accepted SMS, and has no id at MESSAGE_ID",
            )
            .with_http_status(answer.response.status())
        })
    }

    fn refused(&self, kind: Option<ErrorKind>, answer: &Answer<'_>, token: Option<&Secret>) -> Error {
        let status = answer.response.status();
        let find = |field: &Option<Field>| field.as_ref()?.find(answer);
        let by_status = Error::from_http_status("provider", status);
        let code: Option<String> = find(&self.error_code).map(|code| {
            let printable = code.chars().filter(char::is_ascii_graphic);
            printable.take(MAX_CODE_CHARS).collect()
        });
        let words = find(&self.error_text).map(|text| {
            let text = match token {
                Some(token) => text.replace(token.expose(), "***"),
                None => text.into_owned(),
            };
            text.chars().take(MAX_TEXT_CHARS).collect::<String>()
        });
        if kind.is_none() && code.is_none() && words.is_none() {
            return self.with_wait(by_status, answer);
        }
        let kind = kind.unwrap_or(by_status.kind());
        let said_code = code
            .as_deref()
            .map(|code| format!(" with code {code}"))
            .unwrap_or_default();
        let said_text = words.unwrap_or_else(|| "it gives no reason".to_owned());
        let error = Error::new(
            kind,
            code.map_or_else(|| by_status.code().to_owned(), |code| format!("provider_{code}")),
            format!("the provider refused the SMS{said_code} (HTTP {status}): {said_text}"),
        );
        self.with_wait(error.with_http_status(status), answer)
    }

    /// Adds the wait that the provider asks for, if the SMS may be tried again: it asks for fewer requests, or is out of
    /// order (RFC 9110, section 10.2.3).
    fn with_wait(&self, error: Error, answer: &Answer<'_>) -> Error {
        if !matches!(error.kind(), ErrorKind::Throttled | ErrorKind::Transient) {
            return error;
        }
        let in_field = || {
            let seconds = self.retry_after.as_ref()?.find(answer)?;
            let seconds: f64 = seconds.parse().ok()?;
            Duration::try_from_secs_f64(seconds).ok()
        };
        match in_field().or_else(|| answer.response.retry_after()) {
            Some(wait) => error.with_retry_after(wait),
            None => error,
        }
    }
}

impl Rule {
    fn read(row: Map<String, Value>, place: &str, problems: &mut Problems) -> Self {
        let mut rule = Self {
            statuses: Vec::new(),
            fields: Vec::new(),
            class: Some(ErrorKind::Internal),
        };
        let mut has_class = false;
        for (key, value) in row {
            match key.to_lowercase().as_str() {
                "status" => match statuses(&value) {
                    Some(statuses) => rule.statuses = statuses,
                    None => problems.add(format!(
                        "{place} must have an HTTP status such as 200, \"200-299\" or [200, 201] as status"
                    )),
                },
                "fields" => rule.fields = fields(&value, place, problems),
                "class" => {
                    has_class = true;
                    rule.class = class(&value, place, problems);
                }
                _ => problems.add(format!(
                    "{place} has a {key}, but a rule has only status, fields and class{}",
                    hint(&key, ["status", "fields", "class"])
                )),
            }
        }
        if !has_class {
            problems.add(format!(
                "{place} has no class; add one, such as class = \"{ACCEPTED}\" or class = \"no_credit\""
            ));
        }
        rule
    }

    fn fits(&self, answer: &Answer<'_>) -> bool {
        let status = answer.response.status();
        let has_status =
            self.statuses.is_empty() || self.statuses.iter().any(|range| range.contains(&status));
        has_status
            && self.fields.iter().all(|(field, patterns)| {
                let value = field.find(answer);
                value.is_some_and(|value| patterns.iter().any(|pattern| is_like(&value, pattern)))
            })
    }
}

fn class(value: &Value, place: &str, problems: &mut Problems) -> Option<ErrorKind> {
    let word = value.as_str().unwrap_or_default();
    if word == ACCEPTED {
        return None;
    }
    let known = kind(word);
    if known.is_none() {
        problems.add(format!(
            "{place} must have one of these as class: {}{}",
            classes().collect::<Vec<_>>().join(", "),
            hint(word, classes())
        ));
    }
    Some(known.unwrap_or(ErrorKind::Internal))
}

/// All classes of answers.
pub(crate) fn classes() -> impl Iterator<Item = &'static str> {
    CLASSES.iter().map(|(name, _)| *name).chain([ACCEPTED])
}

/// The kind of a class of refusals.
pub(crate) fn kind(class: &str) -> Option<ErrorKind> {
    let (_, kind) = CLASSES.iter().find(|(name, _)| *name == class)?;
    Some(*kind)
}

/// A status, a range of them, or a list of both.
fn statuses(value: &Value) -> Option<Vec<RangeInclusive<u16>>> {
    let one = |text: &str| {
        let status: u16 = text.trim().parse().ok()?;
        (100..=599).contains(&status).then_some(status)
    };
    match value {
        Value::Number(number) => {
            let status = one(&number.to_string())?;
            Some(vec![status..=status])
        }
        Value::String(text) => {
            let (first, last) = text.split_once('-').unwrap_or((text, text));
            let range = one(first)?..=one(last)?;
            (!range.is_empty()).then(|| vec![range])
        }
        Value::Array(items) if !items.is_empty() => {
            let lists: Option<Vec<_>> = items.iter().map(statuses).collect();
            Some(lists?.concat())
        }
        _ => None,
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
