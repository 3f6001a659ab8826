//! Options that are texts with placeholders: an address, credentials, tables of fields and of headers. Here they are
//! parsed, and what must not be in them is refused.

use phone_verify_plugin_api::serde_json::Value;

use crate::{options::Table, problems::Problems, template::Template, url::Address};

/// Fields with a template each, by name.
pub(crate) type Fields = Vec<(String, Template)>;

/// An address, whose query must hold no secret in plain.
pub(crate) fn address(option: &str, text: &str, problems: &mut Problems) -> Option<Address> {
    let (_, query) = text.split_once('?').unwrap_or_default();
    for field in query.split('&') {
        let (name, value) = field.split_once('=').unwrap_or_default();
        if !value.is_empty() && !value.contains('{') {
            refuse_plain_secret(&format!("option {option}"), name, problems);
        }
    }
    Address::parse(text)
        .map_err(|wrong| problems.add(format!("option {option} {wrong}")))
        .ok()
}

/// A user and a password, which must come from options that are masked.
pub(crate) fn credentials(option: &str, text: &str, problems: &mut Problems) -> Option<Template> {
    match Template::parse(text) {
        Ok(template) if template.names().next().is_none() => {
            problems.add(format!(
                "option {option} has no placeholder; set the user and the password as USER and PASSWORD, which are \
                 masked everywhere, and write {option} = \"{{user}}:{{password}}\""
            ));
            None
        }
        Ok(template) => Some(template),
        Err(wrong) => {
            problems.add(format!("option {option} {wrong}"));
            None
        }
    }
}

/// The templates of a table of texts.
pub(crate) fn fields(option: &str, table: Option<Table>, problems: &mut Problems) -> Fields {
    let mut fields = Vec::new();
    for (name, value) in table.map(|Table(table)| table).unwrap_or_default() {
        let place = format!("option {option}.{name}");
        let text = match value {
            Value::String(text) => text,
            Value::Number(_) | Value::Bool(_) => value.to_string(),
            _ => {
                problems.add(format!("{place} must be a text"));
                continue;
            }
        };
        match Template::parse(&text) {
            Ok(template) => {
                if template.names().next().is_none() && !text.is_empty() {
                    refuse_plain_secret(&place, &name, problems);
                }
                fields.push((name, template));
            }
            Err(wrong) => problems.add(format!("{place} {wrong}")),
        }
    }
    fields
}

pub(crate) fn headers(table: Option<Table>, problems: &mut Problems) -> Fields {
    let fields = fields("HEADERS", table, problems);
    let mut seen: Vec<String> = Vec::new();
    for (name, template) in &fields {
        let lower = name.to_ascii_lowercase();
        let place = format!("option HEADERS.{name}");
        if !is_header_name(name) {
            problems.add("option HEADERS has a name that no header can have; use letters, digits and dashes");
        } else if ["host", "content-length", "transfer-encoding", "connection"].contains(&lower.as_str()) {
            problems.add(format!("{place} is what the HTTP client sets itself; remove it"));
        } else if seen.contains(&lower) {
            problems.add(format!(
                "{place} is set twice, with different capitalisation; remove one of them"
            ));
        }
        if !is_header_value(&template.fill_with(|_, _| ())) {
            problems.add(format!(
                "{place} has a character that no header can carry; remove it"
            ));
        }
        seen.push(lower);
    }
    fields
}

/// Secrets belong in options that the daemon masks. A name that is one of a secret must not have a value without a
/// placeholder.
fn refuse_plain_secret(place: &str, name: &str, problems: &mut Problems) {
    let bare: String = name
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|character| character.to_ascii_lowercase())
        .collect();
    let is_secret = [
        "authorization",
        "apikey",
        "authkey",
        "accesskey",
        "token",
        "secret",
        "password",
        "passwd",
    ]
    .iter()
    .any(|word| bare.contains(word));
    if is_secret {
        problems.add(format!(
            "{place} has the value of {name} in plain; set it as USER, PASSWORD, KEY or SECRET, which are masked \
             everywhere, and write its placeholder, such as {{key}}, here"
        ));
    }
}

/// RFC 9110, section 5.6.2.
fn is_header_name(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// Printable ASCII: what every server reads as it was sent, and no more (RFC 9110, section 5.5).
pub(crate) fn is_header_value(value: &str) -> bool {
    value.bytes().all(|byte| (b' '..=b'~').contains(&byte))
}
