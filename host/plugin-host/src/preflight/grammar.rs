//! The grammar of a manifest: which keys it has and what each holds. What does not fit is reported with its place and
//! in the words of JSON, for an author in C wrote it by hand.
//!
//! A host ignores a key that it does not know, since a later version may have it; whoever misspelt one wants to hear of
//! it all the same.

use serde_json::{Map, Value};

use crate::refusal::hint;

/// More than so many faults are one mistake.
const MAX_TOLD: usize = 10;

/// A key, with what it holds.
pub(super) struct Key {
    name: &'static str,
    kind: Kind,
    is_required: bool,
}

enum Kind {
    Text,
    Flag,
    /// A whole number from 0 to this.
    Number(u64),
    Texts,
    Object(&'static [Key]),
    /// A list of objects.
    Rows(&'static [Key]),
    Any,
}

const fn required(name: &'static str, kind: Kind) -> Key {
    Key {
        name,
        kind,
        is_required: true,
    }
}

const fn optional(name: &'static str, kind: Kind) -> Key {
    Key {
        name,
        kind,
        is_required: false,
    }
}

const VERSION_PART: Kind = Kind::Number(u16::MAX as u64);
const SCHEMA: Key = required("schema", Kind::Number(u32::MAX as u64));
const ABI: Key = required(
    "abi",
    Kind::Object(&[required("major", VERSION_PART), required("minor", VERSION_PART)]),
);
const PLUGIN_API: Key = optional("plugin_api", Kind::Text);
const PANIC: Key = optional("panic", Kind::Text);

/// What manifests of every schema and ABI have.
pub(super) const ENVELOPE: &[Key] = &[SCHEMA, ABI, PLUGIN_API, PANIC];
/// All of a manifest.
pub(super) const MANIFEST: &[Key] = &[
    SCHEMA,
    optional("library", Kind::Text),
    required("version", Kind::Text),
    optional("license", Kind::Text),
    optional("repository", Kind::Text),
    ABI,
    PLUGIN_API,
    PANIC,
    required("backends", Kind::Rows(BACKEND)),
    optional("tape", Kind::Any),
];
const BACKEND: &[Key] = &[
    required("name", Kind::Text),
    optional("summary", Kind::Text),
    optional("sandbox", Kind::Flag),
    optional("overrides", Kind::Number(u64::MAX)),
    optional("hosts", Kind::Texts),
    optional("webhook", Kind::Text),
    optional("receipts", Kind::Text),
    optional("channels", Kind::Texts),
    optional("owns_code", Kind::Flag),
    optional("wants_code", Kind::Flag),
    optional("options", Kind::Rows(OPTION)),
];
const OPTION: &[Key] = &[
    required("name", Kind::Text),
    optional("alias", Kind::Text),
    required("type", Kind::Text),
    optional("required", Kind::Flag),
    optional("secret", Kind::Flag),
    optional("default", Kind::Any),
    optional("help", Kind::Text),
    optional("example", Kind::Text),
];
/// What a host knows of `webhook` and `receipts`; it takes the more careful of them for anything else.
const VALUES: &[(&str, &[&str])] = &[
    ("webhook", &["signed", "secret"]),
    ("receipts", &["carrier", "handset"]),
];
/// The types that a host knows; it takes a value of any other as it is.
const TYPES: &[&str] = &["string", "integer", "bool", "seconds", "list", "table"];

/// What keeps the manifest from being read: keys that are missing, or hold something else. Each names its place, such
/// as `backends[0].options[1].type`.
pub(super) fn faults(manifest: &Value, keys: &[Key]) -> Vec<String> {
    let mut found = Vec::new();
    match manifest.as_object() {
        Some(object) => misfits(object, keys, "", &mut found),
        None => found.push(format!("it is {}, and must be an object", kind(manifest))),
    }
    found.truncate(MAX_TOLD);
    found
}

fn misfits(object: &Map<String, Value>, keys: &[Key], place: &str, found: &mut Vec<String>) {
    for key in keys {
        let place = format!("{place}{}", key.name);
        match object.get(key.name) {
            None if key.is_required => found.push(format!("{place} is missing")),
            None => {}
            Some(value) => misfit(value, &key.kind, &place, found),
        }
    }
}

fn misfit(value: &Value, needed: &Kind, place: &str, found: &mut Vec<String>) {
    let words = match needed {
        Kind::Any => return,
        Kind::Text if value.is_string() => return,
        Kind::Flag if value.is_boolean() => return,
        Kind::Number(max) if value.as_u64().is_some_and(|number| number <= *max) => return,
        Kind::Text => "a text".to_owned(),
        Kind::Flag => "true or false".to_owned(),
        Kind::Number(u64::MAX) => "a whole number from 0 on".to_owned(),
        Kind::Number(max) => format!("a whole number from 0 to {max}"),
        Kind::Object(keys) => match value {
            Value::Object(object) => return misfits(object, keys, &format!("{place}."), found),
            _ => "an object".to_owned(),
        },
        Kind::Texts | Kind::Rows(_) => match value {
            Value::Array(items) => {
                for (at, item) in items.iter().enumerate() {
                    let kind = match needed {
                        Kind::Rows(keys) => &Kind::Object(keys),
                        _ => &Kind::Text,
                    };
                    misfit(item, kind, &format!("{place}[{at}]"), found);
                }
                return;
            }
            _ => "a list".to_owned(),
        },
    };
    found.push(format!("{place} is {}, and must be {words}", kind(value)));
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "another number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// A sentence for each key, each type of an option, and each other value out of a list, that is not known.
pub(super) fn unknown(manifest: &Value) -> Vec<String> {
    let mut found = Vec::new();
    if let Some(library) = manifest.as_object() {
        keys(library, MANIFEST, "the manifest", &mut found);
        if let (Some(abi), Kind::Object(known)) = (library.get("abi").and_then(Value::as_object), ABI.kind) {
            keys(abi, known, "abi", &mut found);
        }
        for backend in rows(library, "backends") {
            let name = text(backend, "name");
            keys(backend, BACKEND, &format!("backend {name}"), &mut found);
            for (key, known) in VALUES {
                if let Some(value) = backend.get(*key).and_then(Value::as_str)
                    && !known.contains(&value)
                {
                    found.push(format!(
                        "the {key} {value:?} of backend {name} is none that this program knows{}",
                        hint(value, known.iter().copied())
                    ));
                }
            }
            for option in rows(backend, "options") {
                let place = format!("option {} of {name}", text(option, "name"));
                keys(option, OPTION, &place, &mut found);
                let kind = text(option, "type");
                if !TYPES.contains(&kind) {
                    found.push(format!(
                        "the type {kind:?} of {place} is none that this program knows{}",
                        hint(kind, TYPES.iter().copied())
                    ));
                }
            }
        }
    }
    found.truncate(MAX_TOLD);
    found
}

fn keys(object: &Map<String, Value>, known: &[Key], place: &str, found: &mut Vec<String>) {
    let names = || known.iter().map(|key| key.name);
    for key in object.keys().filter(|key| !names().any(|name| name == *key)) {
        found.push(format!(
            "the key {key:?} of {place} is none that this program knows{}",
            hint(key, names())
        ));
    }
}

fn rows<'a>(object: &'a Map<String, Value>, key: &str) -> impl Iterator<Item = &'a Map<String, Value>> {
    let rows = object.get(key).and_then(Value::as_array).into_iter().flatten();
    rows.filter_map(Value::as_object)
}

fn text<'a>(object: &'a Map<String, Value>, key: &str) -> &'a str {
    object
        .get(key)
        .and_then(Value::as_str)
        .unwrap_or("without a name")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_misspelt_key_is_told_wherever_it_is() {
        let manifest = json!({
            "schema": 1, "lisence": "MIT", "abi": { "major": 1, "minor": 0, "patch": 0 },
            "backends": [{ "name": "AcmeBackend", "host": [], "webhook": "singed", "receipts": "none", "options": [
                { "name": "KEY", "type": "string", "requried": true },
                { "name": "TIMES", "type": "int" },
            ]}],
        });
        assert_eq!(
            unknown(&manifest),
            [
                "the key \"lisence\" of the manifest is none that this program knows; did you mean license?",
                "the key \"patch\" of abi is none that this program knows",
                "the key \"host\" of backend AcmeBackend is none that this program knows; did you mean hosts?",
                "the webhook \"singed\" of backend AcmeBackend is none that this program knows; did you mean signed?",
                "the receipts \"none\" of backend AcmeBackend is none that this program knows",
                "the key \"requried\" of option KEY of AcmeBackend is none that this program knows; did you mean required?",
                "the type \"int\" of option TIMES of AcmeBackend is none that this program knows",
            ]
        );
    }

    /// A manifest that has every key.
    fn full() -> Value {
        json!({
            "schema": 1, "library": "acme", "version": "1.2.3", "license": "MIT", "repository": "",
            "abi": { "major": 1, "minor": 0 }, "plugin_api": "1.0.0", "panic": "unwind", "tape": [],
            "backends": [{
                "name": "AcmeBackend", "summary": "", "sandbox": false, "overrides": 1, "hosts": ["a.example"],
                "webhook": "signed", "receipts": "handset", "channels": ["sms"], "owns_code": false,
                "wants_code": false,
                "options": [{
                    "name": "KEY", "alias": "K", "type": "string", "required": true, "secret": true, "default": 1,
                    "help": "", "example": "",
                }],
            }],
        })
    }

    /// Everything in a manifest by its pointer.
    fn pointers(value: &Value, at: &str, into: &mut Vec<String>) {
        let children: Vec<(String, &Value)> = match value {
            Value::Object(members) => members.iter().map(|(key, value)| (key.clone(), value)).collect(),
            Value::Array(items) => items
                .iter()
                .enumerate()
                .map(|(at, value)| (at.to_string(), value))
                .collect(),
            _ => Vec::new(),
        };
        for (key, value) in children {
            let at = format!("{at}/{key}");
            pointers(value, &at, into);
            into.push(at);
        }
    }

    #[test]
    fn whatever_is_of_another_type_is_told_by_its_place_and_what_it_must_be() {
        assert_eq!(faults(&full(), MANIFEST), [""; 0]);
        assert_eq!(unknown(&full()), [""; 0]);
        let mut all = Vec::new();
        pointers(&full(), "", &mut all);
        assert_eq!(all.len(), 35, "{all:?}");
        for pointer in all {
            if pointer.ends_with("/tape") || pointer.ends_with("/default") {
                continue;
            }
            let place = pointer[1..].replace("/0", "[0]").replace('/', ".");
            for wrong in [
                json!(null),
                json!(-1),
                json!(1.5),
                json!("a"),
                json!([1]),
                json!({"a": 1}),
                json!(true),
            ] {
                let mut manifest = full();
                let there = manifest.pointer_mut(&pointer).unwrap();
                let is_alike = std::mem::discriminant(there) == std::mem::discriminant(&wrong);
                if is_alike && !wrong.is_number() && !wrong.is_array() && !wrong.is_object() {
                    continue;
                }
                *there = wrong;
                let told = faults(&manifest, MANIFEST).join("; ");
                assert!(told.contains(&place), "{pointer}: {told}");
                assert!(
                    told.contains(", and must be ") || told.contains(" is missing"),
                    "{pointer}: {told}"
                );
            }
        }
    }

    #[test]
    fn a_required_key_that_is_missing_is_told_by_its_place() {
        let mut manifest = full();
        manifest["abi"].as_object_mut().unwrap().remove("minor");
        manifest["backends"][0]["options"][0]
            .as_object_mut()
            .unwrap()
            .remove("type");
        assert_eq!(
            faults(&manifest, MANIFEST),
            ["abi.minor is missing", "backends[0].options[0].type is missing"]
        );
        assert_eq!(
            faults(&json!([]), ENVELOPE),
            ["it is a list, and must be an object"]
        );
    }
}
