//! What a caller says beside the number, for a backend that words the SMS itself. It comes from whoever uses the
//! caller's application, and must not become a text of theirs in an SMS of ours.
//!
//! Invariant: cleaned values have no control characters and no addresses on the web, and are short.

use serde_json::{Map, Value};

const MAX_VALUES: usize = 16;
const MAX_CHARACTERS: usize = 64;

/// The context with control characters and web addresses taken out; an error says what cannot be used.
pub fn cleaned(context: Map<String, Value>) -> Result<Map<String, Value>, &'static str> {
    if context.len() > MAX_VALUES {
        return Err("At most 16 values are taken.");
    }
    context
        .into_iter()
        .map(|(name, value)| {
            if name.chars().count() > MAX_CHARACTERS {
                return Err("A name has at most 64 characters.");
            }
            let value = match value {
                Value::String(text) if text.chars().count() > MAX_CHARACTERS => {
                    return Err("A text has at most 64 characters.");
                }
                Value::String(text) => Value::String(without_addresses(&text)),
                Value::Array(_) | Value::Object(_) => return Err("Values are texts, numbers or booleans."),
                plain => plain,
            };
            Ok((name, value))
        })
        .collect()
}

fn without_addresses(text: &str) -> String {
    let plain = text.replace(char::is_control, " ");
    let words: Vec<&str> = plain
        .split_whitespace()
        .filter(|word| !is_address(word))
        .collect();
    words.join(" ")
}

/// Whether phones would make a link of it: a scheme, or a dot between two letters or digits, as in `evil.example/x`.
fn is_address(word: &str) -> bool {
    let characters: Vec<char> = word.chars().collect();
    let dotted = characters
        .windows(3)
        .any(|part| part[0].is_alphanumeric() && is_dot(part[1]) && part[2].is_alphabetic());
    dotted || word.contains("://")
}

/// A full stop, also as browsers take it for one in a host name (UTS #46).
fn is_dot(character: char) -> bool {
    matches!(character, '.' | '。' | '．' | '｡')
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn clean(value: Value) -> Result<Value, &'static str> {
        let context = Map::from_iter([("name".to_owned(), value)]);
        cleaned(context).map(|mut context| context.remove("name").unwrap())
    }

    #[test]
    fn a_name_stays_as_it_is() {
        for name in [
            "Ada Lovelace",
            "Dr. Nguyễn",
            "J. R. R. Tolkien",
            "A.",
            "3.5 km",
            "محمد",
        ] {
            assert_eq!(clean(json!(name)), Ok(json!(name)));
        }
        assert_eq!(clean(json!(7)), Ok(json!(7)));
    }

    #[test]
    fn an_address_is_taken_out() {
        for text in [
            "https://evil.example",
            "evil.example/win",
            "www.evil.example",
            "evil。example",
            "sms://1",
            "a@evil.example",
        ] {
            assert_eq!(
                clean(json!(format!("Ada {text} now"))),
                Ok(json!("Ada now")),
                "{text}"
            );
        }
    }

    #[test]
    fn a_line_break_does_not_begin_a_message_of_its_own() {
        assert_eq!(
            clean(json!("Ada\r\nYour\u{0} code\u{85}is")),
            Ok(json!("Ada Your code is"))
        );
    }

    #[test]
    fn what_is_too_much_is_refused() {
        assert_eq!(clean(json!("x".repeat(64))), Ok(json!("x".repeat(64))));
        assert!(clean(json!("x".repeat(65))).is_err());
        assert!(clean(json!(["x"])).is_err());
        let many = (0..17).map(|n| (n.to_string(), json!(n))).collect();
        assert!(cleaned(many).is_err());
    }
}
