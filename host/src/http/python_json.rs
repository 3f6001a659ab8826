//! Why a text is no JSON, in the words of Python's `json` module, which clients of the ancestor may look for.

use serde_json::error::Category;

/// The reason, with line, column and character as Python counts them: the first two from 1, the last from 0.
pub(super) fn explain(bytes: &[u8], error: &serde_json::Error) -> String {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let at = error.valid_up_to();
            return format!(
                "'utf-8' codec can't decode byte 0x{:02x} in position {at}: invalid start byte",
                bytes[at]
            );
        }
    };
    if text.starts_with('\u{feff}') {
        return "Unexpected UTF-8 BOM (decode using utf-8-sig): line 1 column 1 (char 0)".into();
    }
    let words = error.to_string();
    let at = offset(text, error);
    let (what, at) = match error.classify() {
        _ if words.starts_with("trailing characters") => ("Extra data", at),
        _ if words.starts_with("key must be a string") => {
            ("Expecting property name enclosed in double quotes", at)
        }
        _ if words.starts_with("trailing comma") && text[at..].starts_with('}') => {
            ("Expecting property name enclosed in double quotes", at)
        }
        _ if words.starts_with("expected `:`") => ("Expecting ':' delimiter", at),
        _ if words.starts_with("expected `,` or") => ("Expecting ',' delimiter", at),
        _ if words.starts_with("control character") => ("Invalid control character at", at),
        _ if words.starts_with("invalid escape") => ("Invalid \\escape", at.saturating_sub(1)),
        Category::Eof => at_the_end(&words, text),
        _ => ("Expecting value", start_of_value(text, at)),
    };
    let before = &text[..at];
    let line = 1 + before.matches('\n').count();
    let column = 1 + before
        .chars()
        .rev()
        .take_while(|character| *character != '\n')
        .count();
    format!(
        "{what}: line {line} column {column} (char {})",
        before.chars().count()
    )
}

/// Where the parser stood, as an offset into the text.
fn offset(text: &str, error: &serde_json::Error) -> usize {
    let line_begin: usize = text
        .split_inclusive('\n')
        .take(error.line().saturating_sub(1))
        .map(str::len)
        .sum();
    // Column 0 is the line break before the line.
    let mut at = (line_begin + error.column()).saturating_sub(1).min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// The parser stops inside a wrong literal; Python names its first character.
fn start_of_value(text: &str, at: usize) -> usize {
    text[..at]
        .char_indices()
        .rev()
        .take_while(|(_, character)| character.is_alphanumeric())
        .last()
        .map_or(at, |(begin, _)| begin)
}

fn at_the_end<'a>(words: &str, text: &str) -> (&'a str, usize) {
    let end = text.trim_end();
    let last = end.chars().last();
    if words.contains("string") {
        return (
            "Unterminated string starting at",
            end.rfind('"').unwrap_or(end.len()),
        );
    }
    match last {
        Some('{') => ("Expecting property name enclosed in double quotes", end.len()),
        Some(',') if words.contains("object") => {
            ("Expecting property name enclosed in double quotes", end.len())
        }
        Some('"') if words.contains("object") && !has_colon(end) => ("Expecting ':' delimiter", end.len()),
        Some(':' | '[' | ',') | None => ("Expecting value", text.len()),
        _ => ("Expecting ',' delimiter", end.len()),
    }
}

/// Whether the last text of an object is a value, so that its colon has come.
fn has_colon(text: &str) -> bool {
    let mut parts = text.trim_end_matches('"').rsplitn(2, '"');
    let _ = parts.next();
    parts
        .next()
        .is_some_and(|before| before.trim_end().ends_with(':'))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn the_words_are_pythons() {
        // From Python 3.11's json.loads.
        let cases = [
            (
                "{",
                "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)",
            ),
            (
                "{\"phone_number\"",
                "Expecting ':' delimiter: line 1 column 16 (char 15)",
            ),
            ("{\"a\":}", "Expecting value: line 1 column 6 (char 5)"),
            ("nonsense", "Expecting value: line 1 column 1 (char 0)"),
            ("{\"a\":1} x", "Extra data: line 1 column 9 (char 8)"),
            (
                "{'a':1}",
                "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)",
            ),
            ("[1,]", "Expecting value: line 1 column 4 (char 3)"),
            (
                "{\"a\":\"\n\"}",
                "Invalid control character at: line 1 column 7 (char 6)",
            ),
            (
                "{\"a\":\"b\" \"c\":1}",
                "Expecting ',' delimiter: line 1 column 10 (char 9)",
            ),
            (
                "{1:2}",
                "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)",
            ),
            (
                "{\"a\":1,}",
                "Expecting property name enclosed in double quotes: line 1 column 8 (char 7)",
            ),
            ("{\n\"a\": é}", "Expecting value: line 2 column 6 (char 7)"),
        ];
        for (text, expected) in cases {
            let error = serde_json::from_str::<Value>(text).unwrap_err();
            assert_eq!(explain(text.as_bytes(), &error), expected, "{text} ({error})");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_broken_text_is_explained(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..40), text in "[{}\\[\\]\",:a-z0-9é \\n\\\\]{0,20}") {
            for bytes in [&bytes[..], text.as_bytes()] {
                if let Err(error) = serde_json::from_slice::<Value>(bytes) {
                    explain(bytes, &error);
                }
            }
        }
    }
}
