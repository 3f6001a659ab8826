//! A phone number in E.164, by libphonenumber's rules.
//!
//! Invariant: a [`PhoneNumber`] is valid, and prints masked; the full number is had only by asking for it.

use std::fmt;

use phonenumber::{Mode, country};

/// The longest text that is looked at. E.164 has at most 15 digits; the rest is room for punctuation.
const MAX_TEXT_LENGTH: usize = 64;

/// A valid phone number.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PhoneNumber(String);

/// The text is not a valid phone number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a valid phone number")]
pub struct NotAPhoneNumber;

/// A country whose national numbers are accepted: an ISO 3166 code such as `US`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region(country::Id);

impl Region {
    /// Reads an ISO 3166 code, in any case.
    pub fn parse(text: &str) -> Option<Self> {
        text.to_uppercase().parse().ok().map(Self)
    }
}

impl PhoneNumber {
    /// Reads a number as people write it: with spaces, dashes, dots and brackets. Without a leading plus
    /// sign it is a national number, and needs a default region.
    pub fn parse(text: &str, default_region: Option<Region>) -> Result<Self, NotAPhoneNumber> {
        // Cheap refusals first; the metadata is loaded at the first number that could be one.
        if text.len() > MAX_TEXT_LENGTH {
            return Err(NotAPhoneNumber);
        }
        let text = plain(text);
        if default_region.is_none() && !text.starts_with('+') && !text.starts_with("tel:+") {
            return Err(NotAPhoneNumber);
        }
        let number =
            phonenumber::parse(default_region.map(|region| region.0), text).map_err(|_| NotAPhoneNumber)?;
        if !number.is_valid() {
            return Err(NotAPhoneNumber);
        }
        Ok(Self(number.format().mode(Mode::E164).to_string()))
    }

    /// `+13478379634`: for the backend and the digest, never for a log.
    pub fn e164(&self) -> &str {
        &self.0
    }

    /// `+13****34`: for everybody else.
    pub fn masked(&self) -> String {
        // A valid number is ASCII and has at least 7 characters after its plus sign.
        format!("{}****{}", &self.0[..3], &self.0[self.0.len() - 2..])
    }
}

/// Digits of other scripts and the wide plus sign become ASCII; the marks that text carries along unseen when
/// it is copied are dropped, and so is a bracket around the country code.
fn plain(text: &str) -> String {
    // Where the ten digits of a script begin: full-width, Arabic, Persian, Devanagari, Bengali.
    const ZEROS: [u32; 5] = [0xff10, 0x0660, 0x06f0, 0x0966, 0x09e6];
    let plain: String = text
        .chars()
        .filter(|character| {
            !matches!(
                character,
                '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}'
            )
        })
        .map(|character| match character {
            '\u{ff0b}' => '+',
            _ => ZEROS
                .iter()
                .find_map(|zero| {
                    let digit = u32::from(character).checked_sub(*zero).filter(|digit| *digit < 10)?;
                    char::from_digit(digit, 10)
                })
                .unwrap_or(character),
        })
        .collect();
    match plain.trim().strip_prefix("(+") {
        Some(rest) => format!("+{}", rest.replacen(')', "", 1)),
        None => plain.trim().to_owned(),
    }
}

impl fmt::Debug for PhoneNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.masked())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn e164(text: &str) -> Option<String> {
        PhoneNumber::parse(text, None)
            .ok()
            .map(|number| number.e164().to_owned())
    }

    #[test]
    fn a_number_may_be_written_as_people_write_it() {
        for text in [
            "+13478379634",
            "+1 347 837 9634",
            " +1 (347) 837-9634 ",
            "(+1) 347 837 9634",
            "＋１３４７８３７９６３４",
            "\u{202a}+1 347 837 9634\u{202c}",
            "tel:+1-347-837-9634",
            "+1 347 837 9634 ext. 5",
            "+1.347.837.9634",
        ] {
            assert_eq!(e164(text).as_deref(), Some("+13478379634"), "{text}");
        }
        assert_eq!(e164("+44 20 7946 0018").as_deref(), Some("+442079460018"));
    }

    #[test]
    fn what_is_not_a_valid_number_is_refused() {
        for text in [
            "",
            "+",
            "abc",
            "+1",
            "13478379634",
            "+1347837963",
            "+134783796340000000",
            "+999123456789",
        ] {
            assert_eq!(e164(text), None, "{text}");
        }
    }

    #[test]
    fn a_national_number_needs_a_region() {
        let region = Region::parse("us");
        assert_eq!(
            PhoneNumber::parse("(347) 837-9634", region).unwrap().e164(),
            "+13478379634"
        );
        assert_eq!(e164("(347) 837-9634"), None);
        assert_eq!(Region::parse("atlantis"), None);
    }

    #[test]
    fn a_number_prints_masked() {
        let number = PhoneNumber::parse("+13478379634", None).unwrap();
        assert_eq!(format!("{number:?}"), "+13****34");
    }

    proptest! {
        #[test]
        fn any_text_is_a_number_or_refused(text in "\\PC{0,40}|[+0-9 ()./-]{0,30}") {
            let _ = PhoneNumber::parse(&text, None);
            let _ = PhoneNumber::parse(&text, Region::parse("US"));
        }
    }
}
