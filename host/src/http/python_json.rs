//! Explains what is wrong with an invalid JSON text, in the words of Python's `json` module. Clients of
//! django-phone-verify may compare these messages. Used only when parsing has failed.
//!
//! Source: Python 3.11, `Modules/_json.c` and `Lib/json/decoder.py`.

use std::fmt::Write as _;

/// The deepest nesting of arrays and objects. The parser has the same bound.
const MAX_DEPTH: usize = 128;

/// Explains what is wrong with the text. `cause` is the message if Python would accept the text.
pub(super) fn explain(bytes: &[u8], cause: &serde_json::Error) -> String {
    match std::str::from_utf8(bytes) {
        Err(error) => not_utf8(bytes, error),
        Ok(text) => {
            let characters: Vec<char> = text.chars().collect();
            Scanner { text: &characters }
                .document()
                .err()
                .map_or_else(|| cause.to_string(), |fault| fault.told(&characters))
        }
    }
}

/// Explains invalid UTF-8 as Python's decoder does.
fn not_utf8(bytes: &[u8], error: std::str::Utf8Error) -> String {
    let at = error.valid_up_to();
    let (length, reason) = match error.error_len() {
        None => (bytes.len() - at, "unexpected end of data"),
        Some(length) if matches!(bytes[at], 0xC2..=0xF4) => (length, "invalid continuation byte"),
        Some(length) => (length, "invalid start byte"),
    };
    let mut told = "'utf-8' codec can't decode ".to_owned();
    let _ = if length == 1 {
        write!(told, "byte 0x{:02x} in position {at}: {reason}", bytes[at])
    } else {
        write!(told, "bytes in position {at}-{}: {reason}", at + length - 1)
    };
    told
}

/// What is wrong, and at which character.
enum Fault {
    At(&'static str, usize),
    NotANumber(&'static str),
    TooDeep,
}

impl Fault {
    fn told(&self, text: &[char]) -> String {
        match self {
            Self::At(what, at) => {
                let before = &text[..*at];
                let line = 1 + before.iter().filter(|character| **character == '\n').count();
                let line_start = before.iter().rposition(|character| *character == '\n');
                let column = line_start.map_or(at + 1, |start| at - start);
                format!("{what}: line {line} column {column} (char {at})")
            }
            Self::NotANumber(what) => format!("Out of range float values are not JSON compliant: '{what}'"),
            Self::TooDeep => format!("Nested more than {MAX_DEPTH} levels deep"),
        }
    }
}

/// Walks through the text. Each method takes the position where it begins, and returns the position after what it read.
struct Scanner<'a> {
    text: &'a [char],
}

type Step = Result<usize, Fault>;

impl Scanner<'_> {
    fn at(&self, at: usize) -> Option<char> {
        self.text.get(at).copied()
    }

    fn begins(&self, at: usize, word: &str) -> bool {
        word.chars()
            .enumerate()
            .all(|(offset, character)| self.at(at + offset) == Some(character))
    }

    /// Reads the whole text. White space is allowed around the value, and nothing else.
    fn document(&self) -> Step {
        if self.at(0) == Some('\u{feff}') {
            return Err(Fault::At("Unexpected UTF-8 BOM (decode using utf-8-sig)", 0));
        }
        let end = self.value(self.space(0), 0)?;
        let end = self.space(end);
        if end == self.text.len() {
            Ok(end)
        } else {
            Err(Fault::At("Extra data", end))
        }
    }

    /// Skips white space, as JSON defines it.
    fn space(&self, mut at: usize) -> usize {
        while matches!(self.at(at), Some(' ' | '\t' | '\n' | '\r')) {
            at += 1;
        }
        at
    }

    /// Reads one value of any kind.
    fn value(&self, at: usize, depth: usize) -> Step {
        if depth > MAX_DEPTH {
            return Err(Fault::TooDeep);
        }
        match self.at(at) {
            Some('"') => self.string(at + 1),
            Some('{') => self.object(at + 1, depth + 1),
            Some('[') => self.array(at + 1, depth + 1),
            _ => {
                for word in ["null", "true", "false"] {
                    if self.begins(at, word) {
                        return Ok(at + word.len());
                    }
                }
                // Python's parser accepts these by itself. Django REST framework makes it refuse them, in these words.
                for word in ["NaN", "Infinity", "-Infinity"] {
                    if self.begins(at, word) {
                        return Err(Fault::NotANumber(word));
                    }
                }
                self.number(at).ok_or(Fault::At("Expecting value", at))
            }
        }
    }

    fn digits(&self, mut at: usize) -> usize {
        while self.at(at).is_some_and(|digit| digit.is_ascii_digit()) {
            at += 1;
        }
        at
    }

    /// The end of the longest number that begins here.
    fn number(&self, at: usize) -> Option<usize> {
        let begin = at + usize::from(self.at(at) == Some('-'));
        let mut end = match self.at(begin)? {
            '0' => begin + 1,
            '1'..='9' => self.digits(begin),
            _ => return None,
        };
        if self.at(end) == Some('.') && self.digits(end + 1) > end + 1 {
            end = self.digits(end + 1);
        }
        if matches!(self.at(end), Some('e' | 'E')) {
            let exponent = end + 1 + usize::from(matches!(self.at(end + 1), Some('+' | '-')));
            if self.digits(exponent) > exponent {
                end = self.digits(exponent);
            }
        }
        Some(end)
    }

    /// Reads a string. `at` is the position after the opening quote.
    fn string(&self, mut at: usize) -> Step {
        let unterminated = Fault::At("Unterminated string starting at", at - 1);
        loop {
            match self.at(at) {
                None => return Err(unterminated),
                Some('"') => return Ok(at + 1),
                Some('\0'..='\u{1f}') => return Err(Fault::At("Invalid control character at", at)),
                Some('\\') => match self.at(at + 1) {
                    None => return Err(unterminated),
                    Some('"' | '\\' | '/' | 'b' | 'f' | 'n' | 'r' | 't') => at += 2,
                    Some('u') => {
                        let hex = (at + 2..at + 6)
                            .all(|digit| self.at(digit).is_some_and(|digit| digit.is_ascii_hexdigit()));
                        if !hex || self.at(at + 6).is_none() {
                            return Err(Fault::At("Invalid \\uXXXX escape", at + 1));
                        }
                        at += 6;
                    }
                    Some(_) => return Err(Fault::At("Invalid \\escape", at)),
                },
                Some(_) => at += 1,
            }
        }
    }

    /// Reads an object. `at` is the position after the opening brace.
    fn object(&self, at: usize, depth: usize) -> Step {
        let mut at = self.space(at);
        if self.at(at) == Some('}') {
            return Ok(at + 1);
        }
        loop {
            if self.at(at) != Some('"') {
                return Err(Fault::At("Expecting property name enclosed in double quotes", at));
            }
            at = self.space(self.string(at + 1)?);
            if self.at(at) != Some(':') {
                return Err(Fault::At("Expecting ':' delimiter", at));
            }
            at = self.space(self.value(self.space(at + 1), depth)?);
            match self.at(at) {
                Some('}') => return Ok(at + 1),
                Some(',') => at = self.space(at + 1),
                _ => return Err(Fault::At("Expecting ',' delimiter", at)),
            }
        }
    }

    /// Reads an array. `at` is the position after the opening bracket.
    fn array(&self, at: usize, depth: usize) -> Step {
        let mut at = self.space(at);
        if self.at(at) == Some(']') {
            return Ok(at + 1);
        }
        loop {
            at = self.space(self.value(at, depth)?);
            match self.at(at) {
                Some(']') => return Ok(at + 1),
                Some(',') => at = self.space(at + 1),
                _ => return Err(Fault::At("Expecting ',' delimiter", at)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_text_nested_too_deeply_is_told_as_such() {
        let text = "[".repeat(60_000);
        let error = serde_json::from_str::<serde_json::Value>(&text).unwrap_err();
        assert_eq!(
            explain(text.as_bytes(), &error),
            "Nested more than 128 levels deep"
        );
    }

    #[test]
    fn a_cut_off_character_is_told_as_such() {
        let error = serde_json::from_str::<serde_json::Value>("{").unwrap_err();
        assert_eq!(
            explain(b"{\"\xe2\x82", &error),
            "'utf-8' codec can't decode bytes in position 2-3: unexpected end of data"
        );
    }

    proptest! {
        /// The scanner and the parser agree on what is JSON, except for what only Python accepts.
        #[test]
        fn what_the_parser_takes_has_no_fault(text in "[\\[\\]{}:,\"0-9eE+.a\\\\u -]{0,24}|\\PC{0,24}") {
            let characters: Vec<char> = text.chars().collect();
            let fault = Scanner { text: &characters }.document().err();
            if serde_json::from_str::<serde_json::Value>(&text).is_ok() {
                prop_assert!(fault.is_none(), "{}", fault.map_or_else(String::new, |fault| fault.told(&characters)));
            } else if let Some(fault) = fault {
                fault.told(&characters);
            }
        }
    }
}
