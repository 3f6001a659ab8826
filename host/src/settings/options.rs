//! The options of a backend, `OPTIONS`: any keys, for the host does not know what a backend takes.
//!
//! Invariant: an option that may be a secret is never shown.

use serde_json::{Map, Value};

use super::{
    document::{self, Entry},
    reader::text,
};

/// Options as they were read.
#[derive(Default)]
pub(super) struct Options {
    /// What the backend receives.
    pub(super) values: Map<String, Value>,
    /// What the effective settings show.
    pub(super) shown: Vec<(String, String)>,
    /// Those whose name or form suggests a secret.
    pub(super) secrets: Vec<Entry>,
}

impl Options {
    /// A value is secret if it came from a reference, or if its name or form suggests it. The last two are guesses: hiding
    /// a harmless value is better than showing a password.
    pub(super) fn of(rows: Vec<Entry>) -> Self {
        let mut options = Self::default();
        for row in rows {
            let seems_secret = looks_secret(&row.key) || holds_credentials(&row.value);
            let shown = if row.value.referred() || seems_secret {
                "\"***\"".into()
            } else {
                row.value.to_toml()
            };
            options.shown.push((quoted(&row.key), shown));
            options.values.insert(row.key.clone(), row.value.to_json());
            if seems_secret {
                options.secrets.push(row);
            }
        }
        options
    }
}

/// The key as TOML can have it.
pub(super) fn quoted(key: &str) -> String {
    let is_bare = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    if !key.is_empty() && key.bytes().all(is_bare) {
        key.to_owned()
    } else {
        toml::Value::String(key.to_owned()).to_string()
    }
}

/// Whether a value is a URL that holds a user name or password.
fn holds_credentials(value: &document::Value) -> bool {
    text(value).is_ok_and(|text| {
        text.split_once("://").is_some_and(|(_, rest)| {
            rest.split('/')
                .next()
                .is_some_and(|authority| authority.contains('@'))
        })
    })
}

/// Whether an option's name suggests that its value is a secret.
fn looks_secret(key: &str) -> bool {
    let key = key.to_lowercase();
    ["secret", "token", "pass", "pwd", "auth", "key", "credential"]
        .iter()
        .any(|word| key.contains(word))
}
