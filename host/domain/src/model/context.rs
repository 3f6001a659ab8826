//! The values that a caller passes with the number, for a backend that composes the SMS itself. They often come from
//! users of the caller's application, who must not be able to put a text or link of their own into the SMS.
//!
//! Invariant: cleaned values are short and hold no control or invisible characters and, unless allowed, no web
//! addresses.

use serde_json::{Map, Value};

use super::harmful::is_invisible;

/// The most values of a context.
pub const MAX_VALUES: usize = 16;
/// The most characters of a name, and of a text value.
pub const MAX_CHARACTERS: usize = 64;

/// Schemes that phones turn into links without a slash after them.
const PLAIN_SCHEMES: [&str; 5] = ["tel:", "sms:", "smsto:", "mailto:", "geo:"];

/// The context without control characters and, unless allowed, without web addresses.
///
/// # Errors
/// A sentence for the client that states which bound is exceeded.
pub fn cleaned(context: Map<String, Value>, allows_urls: bool) -> Result<Map<String, Value>, &'static str> {
    if context.len() > MAX_VALUES {
        return Err("At most 16 values are taken.");
    }
    context
        .into_iter()
        .map(|(name, value)| {
            if name.chars().count() > MAX_CHARACTERS {
                return Err("A name has at most 64 characters.");
            }
            if name.contains(|character: char| character.is_control() || is_invisible(character)) {
                return Err("A name has no control characters.");
            }
            let value = match value {
                Value::String(text) if text.chars().count() > MAX_CHARACTERS => {
                    return Err("A text has at most 64 characters.");
                }
                Value::String(text) => Value::String(cleaned_text(&text, allows_urls)),
                Value::Array(_) | Value::Object(_) => return Err("Values are texts, numbers or booleans."),
                plain => plain,
            };
            Ok((name, value))
        })
        .collect()
}

fn cleaned_text(text: &str, allows_urls: bool) -> String {
    // Removed first: phones turn an address into a link even if it contains invisible characters.
    let visible = text.replace(is_invisible, "").replace(char::is_control, " ");
    let words: Vec<&str> = visible
        .split_whitespace()
        .filter(|word| allows_urls || !is_address(word))
        .collect();
    words.join(" ")
}

/// Whether phones would turn the word into a link: it has a scheme, a dot before a letter as in `evil.example/x`, or
/// four numbers with dots between them. This also removes a name such as `Dr.Who`, which is less harmful than sending
/// an attacker's link.
fn is_address(word: &str) -> bool {
    let is_joiner = |character: &char| matches!(character, '\u{200c}' | '\u{200d}');
    let characters: Vec<char> = word.chars().filter(|character| !is_joiner(character)).collect();
    let around_dots = || {
        let parts = characters
            .windows(3)
            .filter(|part| is_dot(part[1]) && !is_dot(part[0]));
        parts.map(|part| (part[0], part[2]))
    };
    let plain: String = characters.iter().collect::<String>().to_lowercase();
    let plain = plain.trim_start_matches(|character: char| !character.is_alphanumeric());
    around_dots().any(|(_, after)| after.is_alphabetic())
        || around_dots()
            .filter(|(before, after)| before.is_numeric() && after.is_numeric())
            .count()
            >= 3
        || plain.contains(":/")
        || plain.contains(":\\")
        || PLAIN_SCHEMES.iter().any(|scheme| plain.starts_with(scheme))
}

/// Whether a character is a full stop, or is treated as one in host names (UTS #46) or by fonts.
fn is_dot(character: char) -> bool {
    matches!(character, '.' | '。' | '．' | '｡' | '\u{2024}' | '﹒')
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn clean(value: Value) -> Result<Value, &'static str> {
        let context = Map::from_iter([("name".to_owned(), value)]);
        cleaned(context, false).map(|mut context| context.remove("name").unwrap())
    }

    #[test]
    fn a_name_stays_as_it_is() {
        for name in [
            "Ada Lovelace",
            "Dr. Nguyễn",
            "J. R. R. Tolkien",
            "A.",
            "3.5 km",
            "1.2.3",
            "and so on...",
            ".NET",
            "ratio 3:4",
            "Hotel: Ritz",
            "نام\u{200c}ها",
            "👩\u{200d}🚀",
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
            "EVIL.EXAMPLE",
            "evil．example",
            "evil｡example",
            "evil\u{2024}example",
            "evil\u{200b}.\u{2060}example",
            "evil\u{200d}.\u{200c}example",
            "\u{202e}elpmaxe.live",
            "пример.рф",
            "i❤.ws",
            "a_.example",
            "(evil.example)",
            "192.0.2.7/x",
            "http:/evil",
            "http:\\\\evil",
            "tel:+15550100",
            "(SMS:+15550100)",
        ] {
            assert_eq!(
                clean(json!(format!("Ada {text} now"))),
                Ok(json!("Ada now")),
                "{text}"
            );
        }
    }

    #[test]
    fn an_address_that_is_allowed_stays_but_not_what_is_hidden_in_it() {
        let context = Map::from_iter([(
            "link".to_owned(),
            json!("see\nhttps://acme\u{200b}.example/\u{202e}1"),
        )]);
        assert_eq!(
            cleaned(context, true).unwrap()["link"],
            json!("see https://acme.example/1")
        );
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
        assert!(cleaned(many, true).is_err());
        for name in ["x".repeat(65), "a\nb".to_owned(), "a\u{202e}b".to_owned()] {
            assert!(cleaned(Map::from_iter([(name, json!(1))]), true).is_err());
        }
    }
}
