//! Makes a text from a library fit to be shown: secrets, codes and phone numbers are masked, control
//! and invisible characters replaced, the length bounded.
//!
//! Invariant: what leaves [`Scrubber::clean`] holds no secret option's value, none of the texts that the call
//! is about, and no full phone number.

use std::{borrow::Cow, cmp::Reverse};

use crate::model::{Alphabet, is_harmful};

/// A text from a library is cut here before anything else is done with it.
pub(super) const MAX_INPUT_BYTES: usize = 16 * 1024;
/// Shorter values are not secrets, and masking them would make every sentence unreadable.
const MIN_SECRET_LENGTH: usize = 4;
/// A word after "Basic" that is shorter is a word.
const MIN_CREDENTIALS: usize = 8;
/// A phone number is not shorter, with its country code or without.
const MIN_DIGITS: usize = 7;
const MASK: &str = "***";

/// As it is in a URL: all but the unreserved characters of RFC 3986, section 2.3, escaped.
fn percent_encoded(secret: &str) -> String {
    let mut escaped = String::with_capacity(secret.len());
    for byte in secret.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

/// Masks the secrets of one backend.
#[derive(Default)]
pub(super) struct Scrubber {
    /// Longest first, so that a secret that holds another is masked whole.
    secrets: Vec<String>,
}

impl Scrubber {
    pub(super) fn new(secrets: &[String]) -> Self {
        let mut secrets: Vec<String> = secrets
            .iter()
            .filter(|secret| secret.len() >= MIN_SECRET_LENGTH)
            .flat_map(|secret| {
                let in_a_form = form_urlencoded::byte_serialize(secret.as_bytes()).collect();
                let in_a_path = percent_encoded(secret);
                [secret.clone(), in_a_form, in_a_path]
            })
            .collect();
        secrets.sort_by_key(|secret| Reverse(secret.len()));
        secrets.dedup();
        Self { secrets }
    }

    /// The text as it may be shown, at most `max_characters` long. `private` is what the call is about: a
    /// message with its code, a code, a token, numbers in E.164.
    pub(super) fn clean(&self, text: &str, private: &[&str], max_characters: usize) -> String {
        shown(&masked(&self.secrets, text, private), max_characters)
    }

    /// The same, by what each of several backends keeps secret.
    pub(super) fn clean_by_all<'a>(
        scrubbers: impl Iterator<Item = &'a Self>,
        text: &str,
        private: &[&str],
        max_characters: usize,
    ) -> String {
        let secrets = scrubbers.flat_map(|scrubber| &scrubber.secrets);
        let mut secrets: Vec<&str> = secrets.map(String::as_str).collect();
        secrets.sort_by_key(|secret| Reverse(secret.len()));
        shown(&masked(&secrets, text, private), max_characters)
    }

    /// A provider's id for a message. It may well look like a phone number, so only the number of the call is masked.
    pub(super) fn clean_id(&self, id: &str, private: &[&str]) -> String {
        masked(&self.secrets, id, private)
    }
}

/// What is known to be secret or private is masked before what only looks like a number, which could be a part of it.
fn shown(masked: &str, max_characters: usize) -> String {
    let mut clean: Vec<char> = mask_each(masked, any_number)
        .chars()
        .map(|character| if is_harmful(character) { ' ' } else { character })
        .collect();
    if clean.len() > max_characters {
        clean.truncate(max_characters.saturating_sub(1));
        clean.push('…');
    }
    clean.into_iter().collect()
}

/// `secrets`: longest first.
fn masked(secrets: &[impl AsRef<str>], text: &str, private: &[&str]) -> String {
    let mut clean = Cow::Borrowed(cut(text, MAX_INPUT_BYTES));
    for secret in secrets {
        mask(&mut clean, secret.as_ref());
    }
    mask_credentials(&mut clean);
    let mut numbers = Vec::new();
    let mut words = Vec::new();
    for text in private {
        if let Some(number) = e164_digits(text) {
            numbers.push(number);
            continue;
        }
        if text.chars().count() >= MIN_SECRET_LENGTH {
            words.push(*text);
        }
        words.extend(code_words(text));
    }
    words.sort_by_key(|word| Reverse(word.len()));
    for word in words {
        mask(&mut clean, word);
    }
    let digits = clean.bytes().filter(u8::is_ascii_digit).count();
    if numbers.is_empty() || digits < MIN_DIGITS {
        return clean.into_owned();
    }
    numbers.sort_unstable_by(|one, other| tail(one).cmp(tail(other)));
    mask_each(&clean, |text, _| one_of(&numbers, text))
}

/// Masks every word that may be a security code, in a text of which nobody knows what it is about.
pub(super) fn mask_any_code(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for piece in text.split_inclusive(is_between_words) {
        let word = piece.trim_end_matches(is_between_words);
        clean.push_str(if may_be_code(word) { MASK } else { word });
        clean.push_str(&piece[word.len()..]);
    }
    clean
}

fn mask(text: &mut Cow<'_, str>, secret: &str) {
    if text.contains(secret) {
        *text = Cow::Owned(text.replace(secret, MASK));
    }
}

/// The words of a private text that may be its code: a library could quote them alone.
pub(super) fn code_words(text: &str) -> impl Iterator<Item = &str> {
    text.split(is_between_words).filter(|word| may_be_code(word))
}

fn is_between_words(character: char) -> bool {
    !character.is_alphanumeric()
}

/// Whether a word has a digit, or is of the letters that codes are made of.
fn may_be_code(word: &str) -> bool {
    let has_digit = word.bytes().any(|byte| byte.is_ascii_digit());
    let is_of_letters = || {
        word.bytes()
            .all(|byte| Alphabet::Letters.characters().contains(&byte))
    };
    word.len() >= MIN_SECRET_LENGTH && (has_digit || is_of_letters())
}

/// Masks what follows the name of an HTTP authentication scheme: the value of an `Authorization` field is made
/// of secrets, and is none of them.
fn mask_credentials(text: &mut Cow<'_, str>) {
    for scheme in ["basic ", "bearer "] {
        // ASCII lower case keeps every byte in its place.
        let lower = text.to_ascii_lowercase();
        let mut clean = String::new();
        let mut done = 0;
        for (at, _) in lower.match_indices(scheme) {
            let from = at + scheme.len();
            // The name of a scheme that begins in what was masked was masked with it.
            if at < done {
                continue;
            }
            let length = text[from..]
                .bytes()
                .take_while(|byte| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(byte))
                .count();
            let value = &text[from..from + length];
            // "Basic authentication" is told as it is.
            if length >= MIN_CREDENTIALS && !value.bytes().all(|byte| byte.is_ascii_lowercase()) {
                clean.push_str(&text[done..from]);
                clean.push_str(MASK);
                done = from + length;
            }
        }
        if done > 0 {
            clean.push_str(&text[done..]);
            *text = Cow::Owned(clean);
        }
    }
}

/// The digits of a number in E.164; `None`: the text is another one.
fn e164_digits(text: &str) -> Option<&str> {
    let digits = text.strip_prefix('+')?;
    let is_number =
        (MIN_DIGITS..=15).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then_some(digits)
}

/// What stands at the start of a text, and in how many bytes.
enum Found {
    /// A phone number.
    Number(usize),
    /// No number starts in any of these bytes.
    Other(usize),
}

/// Masks phone numbers, as `+13****34`. `look` is told whether the start of its text is inside of a word. What it
/// looked through is not looked through again, so that the time is linear in the text.
fn mask_each(text: &str, mut look: impl FnMut(&str, bool) -> Found) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    let mut inside_word = false;
    while let Some(first) = rest.chars().next() {
        let length = match look(rest, inside_word) {
            Found::Number(length) => {
                let number: String = rest[..length].chars().filter(char::is_ascii_digit).collect();
                let plus = if first == '+' { "+" } else { "" };
                clean.push_str(&format!(
                    "{plus}{}****{}",
                    &number[..2],
                    &number[number.len() - 2..]
                ));
                length
            }
            Found::Other(length) => {
                let length = length.max(first.len_utf8());
                clean.push_str(&rest[..length]);
                length
            }
        };
        inside_word = rest[..length].ends_with(char::is_alphanumeric);
        rest = &rest[length..];
    }
    clean
}

/// What may be a phone number at the start of `text`: a plus sign and 7 to 15 digits with the usual punctuation, or 8
/// to 15 digits that stand alone.
fn any_number(text: &str, inside_word: bool) -> Found {
    if let Some(rest) = text.strip_prefix('+') {
        // Punctuation may lead into another number; then only the digits in one piece count.
        return [punctuated(rest), plain(rest)]
            .into_iter()
            .find(|(digits, _)| (MIN_DIGITS..=15).contains(digits))
            .map_or(Found::Other(0), |(_, length)| Found::Number(length + 1));
    }
    if inside_word {
        return Found::Other(0);
    }
    let (digits, length) = plain(text);
    // A word that only begins with digits, such as a hash, is no number.
    let is_word = text[length..].starts_with(char::is_alphabetic);
    if (8..=15).contains(&digits) && !is_word {
        Found::Number(length)
    } else {
        // Behind its first digit one is inside of a word.
        Found::Other(length)
    }
}

/// Whether one of `numbers`, which are in the order of their tails, is at the start of `text`, written in whatever way:
/// with another prefix, without its country code, or in the middle of a word.
fn one_of(numbers: &[&str], text: &str) -> Found {
    if !text.starts_with(|first: char| first.is_ascii_digit()) {
        return Found::Other(0);
    }
    let (_, length) = punctuated(text);
    let digits: String = text[..length].chars().filter(char::is_ascii_digit).collect();
    let is_found = (MIN_DIGITS..=digits.len()).any(|end| {
        let before = &digits[..end];
        let first = numbers.partition_point(|number| tail(number) < tail(before));
        let mut same = numbers[first..]
            .iter()
            .take_while(|number| tail(number) == tail(before));
        // At the end of the run it may lack its country code; within, it is whole.
        same.any(|number| end == digits.len() || before.ends_with(number))
    });
    if is_found {
        Found::Number(length)
    } else {
        // What begins at a later digit has the same end, and less before it.
        Found::Other(length)
    }
}

/// The last digits of a number, by which it is found.
fn tail(digits: &str) -> &str {
    &digits[digits.len() - MIN_DIGITS..]
}

/// The digits at the start of `text`: how many, and in how many bytes.
fn plain(text: &str) -> (usize, usize) {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    (digits, digits)
}

/// The same across punctuation, of which at most two characters stand between two digits.
fn punctuated(text: &str) -> (usize, usize) {
    let (mut digits, mut length, mut gap) = (0, 0, 0);
    for (at, character) in text.char_indices() {
        if character.is_ascii_digit() {
            (digits, length, gap) = (digits + 1, at + 1, 0);
        } else if gap < 2 && " -.()/\u{a0}".contains(character) {
            gap += 1;
        } else {
            break;
        }
    }
    (digits, length)
}

pub(super) fn cut(text: &str, max_bytes: usize) -> &str {
    let mut end = text.len().min(max_bytes);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests;
