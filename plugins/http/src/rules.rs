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
    conditions::Conditions,
    document::{Document, Field},
    problems::{Problems, choice},
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

struct Answer<'a> {
    response: &'a Response,
    document: Document<'a>,
}

struct Rule {
    /// Empty: any status.
    statuses: Vec<RangeInclusive<u16>>,
    fields: Conditions,
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
        let answer = Answer {
            response,
            document: Document::of_answer(response),
        };
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
        field.find(&answer.document).map(Receipt::new).ok_or_else(|| {
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
        let find = |field: &Option<Field>| field.as_ref()?.find(&answer.document);
        let by_status = Error::from_http_status("provider", status);
        let code = find(&self.error_code).map(|code| shortened_code(&code));
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
            let seconds = self.retry_after.as_ref()?.find(&answer.document)?;
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
            fields: Conditions::default(),
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
                "fields" => rule.fields = Conditions::read(&value, place, problems),
                "class" => {
                    has_class = true;
                    rule.class = class(&value, place, problems);
                }
                _ => problems.add(format!(
                    "{place} has an unknown key {key}{}",
                    choice(&key, ["status", "fields", "class"].into_iter())
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
        has_status && self.fields.fit(&answer.document)
    }
}

fn class(value: &Value, place: &str, problems: &mut Problems) -> Option<ErrorKind> {
    let word = value.as_str().unwrap_or_default();
    if word == ACCEPTED {
        return None;
    }
    let known = kind(word);
    if known.is_none() {
        problems.add(format!("{place} has an unknown class{}", choice(word, classes())));
    }
    Some(known.unwrap_or(ErrorKind::Internal))
}

/// A provider's code, as it is shown.
pub(crate) fn shortened_code(code: &str) -> String {
    let printable = code.chars().filter(char::is_ascii_graphic);
    printable.take(MAX_CODE_CHARS).collect()
}

/// The class of something that failed.
pub(crate) fn class_of_refusal(value: &Value, place: &str, problems: &mut Problems) -> Option<ErrorKind> {
    let class = class(value, place, problems);
    if class.is_none() {
        problems.add(format!(
            "{place} has class = \"{ACCEPTED}\", which is not one of a failure; remove it"
        ));
    }
    class
}

/// All classes of answers.
pub(crate) fn classes() -> impl Iterator<Item = &'static str> + Clone {
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
