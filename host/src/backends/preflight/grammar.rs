//! The keys that a manifest may have, and what a reader should be told of the others. A host ignores a key that it does not
//! know, since a later version may have it; whoever misspelt one wants to hear of it all the same.

use serde_json::{Map, Value};

use crate::backends::refusal::hint;

const LIBRARY: &[&str] = &[
    "schema",
    "library",
    "version",
    "license",
    "repository",
    "abi",
    "plugin_api",
    "panic",
    "backends",
    "tape",
];
const ABI: &[&str] = &["major", "minor"];
const BACKEND: &[&str] = &["name", "summary", "sandbox", "overrides", "hosts", "options"];
const OPTION: &[&str] = &[
    "name", "alias", "type", "required", "secret", "default", "help", "example",
];
/// The types that a host knows; it takes a value of any other as it is.
const TYPES: &[&str] = &["string", "integer", "bool", "seconds", "list", "table"];

/// A sentence for each key, and each type of an option, that is not known. At most ten: more are one mistake.
pub(super) fn unknown(manifest: &Value) -> Vec<String> {
    let mut found = Vec::new();
    if let Some(library) = manifest.as_object() {
        keys(library, LIBRARY, "the manifest", &mut found);
        if let Some(abi) = library.get("abi").and_then(Value::as_object) {
            keys(abi, ABI, "abi", &mut found);
        }
        for backend in rows(library, "backends") {
            let name = text(backend, "name");
            keys(backend, BACKEND, &format!("backend {name}"), &mut found);
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
    found.truncate(10);
    found
}

fn keys(object: &Map<String, Value>, known: &[&str], place: &str, found: &mut Vec<String>) {
    for key in object.keys().filter(|key| !known.contains(&key.as_str())) {
        found.push(format!(
            "the key {key:?} of {place} is none that this program knows{}",
            hint(key, known.iter().copied())
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
            "backends": [{ "name": "AcmeBackend", "host": [], "options": [
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
                "the key \"requried\" of option KEY of AcmeBackend is none that this program knows; did you mean required?",
                "the type \"int\" of option TIMES of AcmeBackend is none that this program knows",
            ]
        );
    }
}
