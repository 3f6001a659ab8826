//! Options for constructing a backend: those that the author gave, and made-up ones for the rest. Made-up secrets are
//! canaries: unusual values that checks search for in URLs, errors and logs.

use phone_verify_plugin_host::OptionInfo;
use serde_json::{Map, Value, json};

/// Minimum length of a secret to search for, in bytes. A shorter one would be found by chance.
const MIN_CANARY_LENGTH: usize = 6;

/// A set of options that should construct the backend.
pub(super) struct Sample {
    pub(super) options: Map<String, Value>,
    /// The values of the secret options, to search for.
    pub(super) canaries: Vec<String>,
}

/// Takes the given options and makes up the others. Leaves out an optional one without an example, unless it is a
/// secret (to have a canary) or the base URL (so that no check aims at the real provider).
pub(super) fn of(infos: &[OptionInfo], given: &Map<String, Value>) -> Sample {
    let mut sample = Sample {
        options: Map::new(),
        canaries: Vec::new(),
    };
    for info in infos {
        let value = given_for(info, given).or_else(|| made_up(info));
        let Some(value) = value else { continue };
        if info.secret {
            sample.canaries.extend(
                value
                    .as_str()
                    .filter(|text| text.len() >= MIN_CANARY_LENGTH)
                    .map(str::to_owned),
            );
        }
        sample.options.insert(info.name.clone(), value);
    }
    sample
}

/// An option's key in the form in which the host compares keys.
pub(super) fn folded(key: &str) -> String {
    key.to_lowercase().replace('-', "_")
}

/// Whether this key names that option, by its name or its alias.
pub(super) fn names(key: &str, info: &OptionInfo) -> bool {
    let key = folded(key);
    key == folded(&info.name) || (!info.alias.is_empty() && key == folded(&info.alias))
}

fn given_for(info: &OptionInfo, given: &Map<String, Value>) -> Option<Value> {
    given
        .iter()
        .find(|(key, _)| names(key, info))
        .map(|(_, value)| value.clone())
}

fn made_up(info: &OptionInfo) -> Option<Value> {
    if info.secret {
        let name: String = info.name.chars().filter(char::is_ascii_alphanumeric).collect();
        return Some(json!(format!("canary{name}q7x3")));
    }
    if !info.default.is_null() {
        return None;
    }
    if !info.example.is_empty() {
        return Some(example(info));
    }
    if names("base_url", info) {
        return Some(json!("https://provider.example"));
    }
    if !info.required {
        return None;
    }
    Some(match info.value_type.as_str() {
        "integer" | "seconds" => json!(5),
        "bool" => json!(false),
        "list" => json!([]),
        "table" => json!({}),
        _ => json!("phone-verify"),
    })
}

/// The example as a value of the option's type. That of a list or a table is JSON.
fn example(info: &OptionInfo) -> Value {
    let value = match info.value_type.as_str() {
        "list" | "table" => serde_json::from_str(&info.example).ok(),
        _ => None,
    };
    value.unwrap_or_else(|| json!(info.example))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(name: &str, more: &Value) -> OptionInfo {
        let mut row = json!({ "name": name, "type": "string" });
        let row_map = row.as_object_mut().unwrap();
        row_map.extend(more.as_object().unwrap().clone());
        serde_json::from_value(row).unwrap()
    }

    #[test]
    fn what_the_author_gave_goes_before_what_is_made_up() {
        let infos = [
            info("KEY", &json!({ "required": true, "secret": true })),
            info("TOKEN", &json!({ "secret": true, "alias": "AUTH_TOKEN" })),
            info("FROM", &json!({ "example": "+1555" })),
            info("BASE_URL", &json!({})),
            info("TIMES", &json!({ "required": true, "type": "integer" })),
            info("FLASH", &json!({ "default": false, "type": "bool" })),
            info("EXTRA", &json!({})),
            info("ROUTES", &json!({ "type": "table", "example": r#"{"a": 1}"# })),
        ];
        let given = json!({ "auth-token": "from the author" });
        let sample = of(&infos, given.as_object().unwrap());
        assert_eq!(
            Value::Object(sample.options),
            json!({
                "KEY": "canaryKEYq7x3", "TOKEN": "from the author", "FROM": "+1555",
                "BASE_URL": "https://provider.example", "TIMES": 5,
                "ROUTES": { "a": 1 },
            })
        );
        assert_eq!(sample.canaries, ["canaryKEYq7x3", "from the author"]);
    }
}
