//! Delivery receipts: what a provider's request to `/v1/receipts/…` reports, by the operator's rules.
//!
//! Invariant: with `RECEIPT_SIGNATURE`, nothing of a request counts before its signature was found right.

use std::time::{Duration, UNIX_EPOCH};

use phone_verify_plugin_api::{
    DeliveryReport, DeliveryState, Error, ErrorKind, Host, Received, Webhook,
    serde_json::{Map, Value},
};

use crate::{
    conditions::Conditions,
    document::{Document, Field},
    options::{HttpOptions, Rows, Table},
    problems::{Problems, choice},
    rules::{class_of_refusal, shortened_code},
    signature::Signature,
    values::{Account, Name, Unsigned},
};

/// The most reports of one request, which is also what the host takes.
const MAX_REPORTS: usize = 100;
/// How old or how far ahead a signed request may be, where its time is signed.
const MAX_SKEW: Duration = Duration::from_secs(5 * 60);

const STATES: [(&str, DeliveryState); 4] = [
    ("sent", DeliveryState::Sent),
    ("delivered", DeliveryState::Delivered),
    ("undelivered", DeliveryState::Undelivered),
    ("unknown", DeliveryState::Unknown),
];

/// How receipts are read.
pub(crate) struct Receipts {
    id: Field,
    rules: Vec<Rule>,
    code: Option<Field>,
    list: Option<Field>,
    answer: String,
    signed: Option<Signed>,
}

struct Rule {
    fields: Conditions,
    state: DeliveryState,
    class: Option<ErrorKind>,
}

/// How receipts are signed.
struct Signed {
    /// Where a receipt has its signature.
    at: Field,
    /// What is before the signature there, such as `sha256=`.
    prefix: String,
    /// Where it has its time, if that is signed.
    timestamp: Option<Field>,
    signature: Signature,
}

impl Receipts {
    /// Takes its options out of `options`. `None`: no receipts are expected, or something is wrong, which is in
    /// `problems`.
    pub(crate) fn read(
        options: &mut HttpOptions,
        account: &Account,
        problems: &mut Problems,
    ) -> Option<Self> {
        let mut field = |option: &str, text: Option<String>| {
            let parsed = Field::parse(&text?);
            parsed
                .map_err(|wrong| problems.add(format!("option {option} {wrong}")))
                .ok()
        };
        let id = field("RECEIPT_ID", options.receipt_id.take());
        let code = field("RECEIPT_CODE", options.receipt_code.take());
        let list = field("RECEIPT_LIST", options.receipt_list.take());
        let answer = options.receipt_answer.take();
        let signed = options
            .receipt_signature
            .take()
            .and_then(|Table(table)| Signed::read(table, account, problems));
        let Some(Rows(rows)) = options.receipts.take() else {
            let others = [
                ("RECEIPT_ID", id.is_some()),
                ("RECEIPT_CODE", code.is_some()),
                ("RECEIPT_LIST", list.is_some()),
                ("RECEIPT_ANSWER", answer.is_some()),
                ("RECEIPT_SIGNATURE", signed.is_some()),
            ];
            for (option, _) in others.iter().filter(|(_, is_set)| *is_set) {
                problems.add(format!(
                    "option RECEIPTS is missing, to which {option} belongs; set it"
                ));
            }
            return None;
        };
        let count = rows.len();
        if count == 0 {
            problems.add(
                "option RECEIPTS has no rule, so that no receipt would mean anything; add one, or remove it",
            );
        }
        let rules: Vec<Rule> = rows
            .into_iter()
            .enumerate()
            .map(|(at, row)| {
                let place = format!("option RECEIPTS, rule {} of {count},", at + 1);
                Rule::read(row, &place, problems)
            })
            .collect();
        if id.is_none() {
            problems.add(
                "option RECEIPT_ID is missing: where a receipt has the id that MESSAGE_ID found; set it",
            );
        }
        if options.message_id.is_none() {
            problems
                .add("option MESSAGE_ID is missing, without which no receipt can be about an SMS; set it");
        }
        Some(Self {
            id: id?,
            rules,
            code,
            list,
            answer: answer.unwrap_or_default(),
            signed,
        })
    }

    /// What a request reports.
    ///
    /// # Errors
    /// On a host that cannot check a signature.
    pub(crate) fn receive(
        &self,
        webhook: &Webhook,
        account: &Account,
        host: &Host,
    ) -> Result<Received, Error> {
        let Some(document) = Document::of_receipt(webhook) else {
            return Ok(Received::new(400));
        };
        if let Some(signed) = &self.signed
            && !signed.is_genuine(webhook, &document, account, host)?
        {
            return Ok(Received::forbidden());
        }
        let parts = document.parts(self.list.as_ref(), MAX_REPORTS);
        let received = Received::reports(parts.iter().filter_map(|part| self.report(part)));
        Ok(if self.answer.is_empty() {
            received
        } else {
            received.with_body(self.answer.as_str())
        })
    }

    /// `None`: it is about no message, or of a state that no rule knows. The provider is not asked to repeat it.
    fn report(&self, document: &Document<'_>) -> Option<DeliveryReport> {
        let id = self.id.find(document)?;
        let rule = self.rules.iter().find(|rule| rule.fields.fit(document))?;
        let mut report = DeliveryReport::new(id, rule.state);
        if let Some(class) = rule.class {
            report = report.with_kind(class);
        }
        let is_failure = rule.state == DeliveryState::Undelivered;
        if let Some(code) = self
            .code
            .as_ref()
            .and_then(|field| field.find(document))
            .filter(|_| is_failure)
        {
            report = report.with_code(format!("provider_{}", shortened_code(&code)));
        }
        Some(report)
    }
}

impl Rule {
    fn read(row: Map<String, Value>, place: &str, problems: &mut Problems) -> Self {
        let mut rule = Self {
            fields: Conditions::default(),
            state: DeliveryState::Unknown,
            class: None,
        };
        let mut has_state = false;
        for (key, value) in row {
            match key.to_lowercase().as_str() {
                "fields" => rule.fields = Conditions::read(&value, place, problems),
                "class" => rule.class = class_of_refusal(&value, place, problems),
                "state" => {
                    has_state = true;
                    rule.state = state(&value, place, problems);
                }
                _ => problems.add(format!(
                    "{place} has an unknown key {key}{}",
                    choice(&key, ["fields", "state", "class"].into_iter())
                )),
            }
        }
        if !has_state {
            problems.add(format!(
                "{place} has no state; add one, such as state = \"delivered\""
            ));
        }
        rule
    }
}

fn state(value: &Value, place: &str, problems: &mut Problems) -> DeliveryState {
    let word = value.as_str().unwrap_or_default();
    if let Some((_, state)) = STATES.iter().find(|(name, _)| *name == word) {
        return *state;
    }
    let known = STATES.iter().map(|(name, _)| *name);
    problems.add(format!("{place} has an unknown state{}", choice(word, known)));
    DeliveryState::Unknown
}

impl Signed {
    fn read(mut table: Map<String, Value>, account: &Account, problems: &mut Problems) -> Option<Self> {
        const OPTION: &str = "RECEIPT_SIGNATURE";
        let mut take = |wanted: &str| {
            let key = table.keys().find(|key| key.eq_ignore_ascii_case(wanted))?.clone();
            table.remove(&key)?.as_str().map(str::to_owned)
        };
        let (at, timestamp, prefix) = (take("at"), take("timestamp"), take("prefix"));
        let signature = Signature::read(OPTION, table, &["at", "timestamp", "prefix"], problems)?;
        for name in signature.names() {
            let has_value = name.is_of_request() || account.get(name).is_some();
            if let Some(option) = account.lacks(name) {
                problems.add(format!(
                    "option {option} is missing, which {OPTION} has as {{{}}}; set it",
                    name.text()
                ));
            } else if name == Name::Timestamp && timestamp.is_none() {
                problems.add(format!(
                    "option {OPTION} has {{timestamp}}, but not where a receipt has it; add timestamp = \"header:NAME\""
                ));
            } else if !has_value && name != Name::Timestamp {
                problems.add(format!(
                    "option {OPTION} has {{{}}}, which no receipt has; it can have the parts of the request, \
                     timestamp, and the options USER, PASSWORD, KEY and SECRET",
                    name.text()
                ));
            }
        }
        let mut field = |key: &str, text: String| {
            let parsed = Field::parse(&text);
            parsed
                .map_err(|wrong| problems.add(format!("option {OPTION}.{key} {wrong}")))
                .ok()
        };
        let timestamp = match timestamp {
            Some(text) => Some(field("timestamp", text)?),
            None => None,
        };
        let Some(at) = at else {
            problems.add(format!(
                "option {OPTION} has no at: where a receipt has its signature; add at = \"header:NAME\""
            ));
            return None;
        };
        Some(Self {
            at: field("at", at)?,
            prefix: prefix.unwrap_or_default(),
            timestamp,
            signature,
        })
    }

    fn is_genuine(
        &self,
        webhook: &Webhook,
        document: &Document<'_>,
        account: &Account,
        host: &Host,
    ) -> Result<bool, Error> {
        // A signature is over the exact bytes of a body.
        let Ok(body) = std::str::from_utf8(webhook.body()) else {
            return Ok(false);
        };
        let Some(given) = self.at.find(document) else {
            return Ok(false);
        };
        let timestamp = match &self.timestamp {
            Some(field) => match field.find(document) {
                Some(timestamp) if is_recent(&timestamp, host) => timestamp.into_owned(),
                _ => return Ok(false),
            },
            None => String::new(),
        };
        let request = Unsigned {
            method: webhook.method().to_owned(),
            url: webhook.url().to_owned(),
            body: body.to_owned(),
        };
        let expected = self.signature.sign(host, |name, text| {
            let value = match name {
                Name::Timestamp => Some(timestamp.as_str()),
                name => request.get(name).or_else(|| account.get(name)),
            };
            text.push_str(value.unwrap_or_default());
        })?;
        let Some(given) = given.strip_prefix(self.prefix.as_str()) else {
            return Ok(false);
        };
        Ok(host.equal(expected, self.signature.normal(given)))
    }
}

/// In seconds or, as some write it, in milliseconds.
fn is_recent(timestamp: &str, host: &Host) -> bool {
    let Ok(number) = timestamp.parse::<u64>() else {
        return false;
    };
    let time = if number < 100_000_000_000 {
        Duration::from_secs(number)
    } else {
        Duration::from_millis(number)
    };
    let now = host.now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.abs_diff(time) <= MAX_SKEW
}
