//! A phone number in E.164, by libphonenumber's rules.
//!
//! Invariant: a [`PhoneNumber`] is valid, and prints masked; the full number is had only by asking for it.

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
};

use rlibphonenumber::{PHONE_NUMBER_UTIL, PhoneNumberFormat, PhoneNumberType};

/// The longest text that is looked at. E.164 has at most 15 digits; the rest is room for punctuation.
const MAX_TEXT_LENGTH: usize = 64;
/// A national number with the longest prefix that its country dials before it.
const MAX_DIGITS: usize = 20;
const BELARUS: i32 = 375;
/// E.164, 6.2.1.
const MAX_CALLING_CODE_DIGITS: usize = 3;
/// Shorter ones are for use inside one country or one network.
const MIN_DIGITS: usize = 4;

/// Types of numbers that seldom belong to somebody who waits for a code, by the names that the settings use.
pub const NUMBER_TYPES: [(PhoneNumberType, &str); 8] = [
    (PhoneNumberType::PremiumRate, "premium_rate"),
    (PhoneNumberType::SharedCost, "shared_cost"),
    (PhoneNumberType::TollFree, "toll_free"),
    (PhoneNumberType::UAN, "uan"),
    (PhoneNumberType::Pager, "pager"),
    (PhoneNumberType::VoiceMail, "voicemail"),
    (PhoneNumberType::VoIP, "voip"),
    (PhoneNumberType::PersonalNumber, "personal"),
];

/// A valid phone number.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PhoneNumber(String);

/// The text is not a valid phone number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a valid phone number")]
pub struct NotAPhoneNumber;

/// A country, or `001` for numbers of no country: an ISO 3166 code such as `US`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Region(rlibphonenumber::Region);

impl Region {
    /// Reads an ISO 3166 code, in any case.
    pub fn parse(text: &str) -> Option<Self> {
        let region = rlibphonenumber::Region::from_code(&text.to_ascii_uppercase()).ok()?;
        PHONE_NUMBER_UTIL
            .get_country_code_for_region(region)
            .map(|_| Self(region))
    }

    /// Its ISO 3166 code in upper case.
    pub fn code(self) -> String {
        self.0.as_region_str().as_str().to_owned()
    }
}

impl PhoneNumber {
    /// Reads a number as people write it: with spaces, dashes, dots and brackets. Without a leading plus
    /// sign it is a national number, and needs a default region.
    pub fn parse(text: &str, default_region: Option<Region>) -> Result<Self, NotAPhoneNumber> {
        // Cheap refusals first; the metadata is loaded at the first number that could be one.
        let digits = digits(text).ok_or(NotAPhoneNumber)?;
        let international = digits.starts_with('+');
        if international && (RECENT.contains(&digits) || valid_as_it_stands(&digits)) {
            RECENT.insert(&digits);
            return Ok(Self(digits));
        }
        let region = match default_region {
            _ if international => None,
            Some(region) => Some(region.0),
            None => return Err(NotAPhoneNumber),
        };
        let number = PHONE_NUMBER_UTIL
            .parse(&digits, region)
            .map_err(|_| NotAPhoneNumber)?;
        if !PHONE_NUMBER_UTIL.is_valid_number(&number) {
            return Err(NotAPhoneNumber);
        }
        let e164 = PHONE_NUMBER_UTIL
            .format(&number, PhoneNumberFormat::E164)
            .into_owned();
        RECENT.insert(&e164);
        Ok(Self(e164))
    }

    /// A number that was valid when it was stored, whatever the rules are today.
    pub(crate) fn stored(e164: &str) -> Option<Self> {
        let digits = e164.strip_prefix('+')?;
        let shaped = digits.len() >= MIN_DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit());
        shaped.then(|| Self(e164.to_owned()))
    }

    /// `+13478379634`: for the backend and the digest, never for a log.
    pub fn e164(&self) -> &str {
        &self.0
    }

    /// The country that it belongs to; `None` if today's rules know none.
    pub fn country(&self) -> Option<Region> {
        let number = PHONE_NUMBER_UTIL.parse(&self.0, None).ok()?;
        let region = PHONE_NUMBER_UTIL.get_region_for_number(&number)?;
        Some(Region(region))
    }

    /// Its country, and its type as one of [`NUMBER_TYPES`]; `None`: today's rules know none, or it is an ordinary one.
    pub fn origin(&self) -> (Option<Region>, Option<&'static str>) {
        let Ok(number) = PHONE_NUMBER_UTIL.parse(&self.0, None) else {
            return (None, None);
        };
        let country = PHONE_NUMBER_UTIL.get_region_for_number(&number).map(Region);
        let found = PHONE_NUMBER_UTIL.get_number_type(&number);
        let listed = NUMBER_TYPES.iter().find(|(number_type, _)| *number_type == found);
        (country, listed.map(|(_, name)| *name))
    }

    /// The number without its last four digits: ten thousand numbers that are mostly one operator's.
    pub fn prefix(&self) -> &str {
        // A valid number has at least 7 characters after its plus sign.
        &self.0[..self.0.len() - 4]
    }

    /// `+13****34`: for everybody else.
    pub fn masked(&self) -> String {
        // A valid number is ASCII and has at least 7 characters after its plus sign.
        format!("{}****{}", &self.0[..3], &self.0[self.0.len() - 2..])
    }
}

impl fmt::Debug for PhoneNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.masked())
    }
}

/// The digits, after a plus sign if the text begins with one; `None` if there is anything but punctuation
/// around them, or too few or too many of them.
fn digits(text: &str) -> Option<String> {
    let text = text.trim();
    if text.len() > MAX_TEXT_LENGTH {
        return None;
    }
    let mut digits = String::with_capacity(1 + MAX_DIGITS);
    for character in text.chars() {
        match character {
            '0'..='9' => digits.push(character),
            '+' | '＋' if digits.is_empty() => digits.push('+'),
            // What libphonenumber takes for punctuation between digits, without letters.
            ' '
            | '\u{a0}'
            | '\u{3000}'
            | '\u{2060}'
            | '\u{200b}'
            | '-'
            | '‐'..='―'
            | '−'
            | 'ー'
            | '－'
            | '.'
            | '．'
            | '/'
            | '／'
            | '('
            | ')'
            | '（'
            | '）'
            | '['
            | ']'
            | '［'
            | '］' => {}
            // The digits of other scripts; what is numeric and no digit comes out empty.
            _ if character.is_numeric() => {
                let digit = PHONE_NUMBER_UTIL.normalize_digits_only(character.encode_utf8(&mut [0; 4]));
                digits.push(digit.chars().next()?);
            }
            _ => return None,
        }
    }
    (MIN_DIGITS..=MAX_DIGITS)
        .contains(&digits.trim_start_matches('+').len())
        .then_some(digits)
}

/// What libphonenumber makes of an international number that is valid as it stands: itself. Nearly all
/// are, and three quarters of the time that one takes are spent on looking for extensions and letters, which
/// [`digits`] lets nobody write. What may begin with a prefix that is to be stripped is left to it: a leading
/// zero, and all of Belarus, where an 8 is a prefix and begins numbers too.
fn valid_as_it_stands(digits: &str) -> bool {
    let Some(digits) = digits.strip_prefix('+').filter(|digits| !digits.starts_with('0')) else {
        return false;
    };
    // No calling code is the start of another (E.164).
    let split = (1..=MAX_CALLING_CODE_DIGITS.min(digits.len())).find_map(|at| {
        let (calling_code, national) = digits.split_at(at);
        let country_code = calling_code.parse().ok()?;
        let region = PHONE_NUMBER_UTIL.get_region_for_country_code(country_code)?;
        Some((country_code, region, national))
    });
    let Some((country_code, main_region, national)) =
        split.filter(|(code, _, national)| *code != BELARUS && !national.starts_with('0'))
    else {
        return false;
    };
    national.parse().is_ok_and(|national_number| {
        let number = rlibphonenumber::PhoneNumber {
            country_code,
            national_number,
            ..Default::default()
        };
        // Which of the regions that share the calling code it is takes as long again.
        PHONE_NUMBER_UTIL.is_valid_number_for_region(&number, main_region)
            || PHONE_NUMBER_UTIL.is_valid_number(&number)
    })
}

/// Numbers found valid lately: a number comes back within minutes, to be verified. Holds no numbers, but
/// fingerprints under a key of this process; that a wrong one passes for a right one is as likely as guessing
/// 64 bits.
struct Recent {
    key: RandomState,
    fingerprints: [AtomicU64; Self::SIZE],
}

static RECENT: LazyLock<Recent> = LazyLock::new(|| Recent {
    key: RandomState::new(),
    fingerprints: [const { AtomicU64::new(0) }; Recent::SIZE],
});

impl Recent {
    const SIZE: usize = 4096;

    /// A number has one place, which the last one there keeps.
    fn place(&self, number: &str) -> (&AtomicU64, u64) {
        let fingerprint = self.key.hash_one(number).max(1);
        let place = usize::try_from(fingerprint % Self::SIZE as u64).unwrap_or(0);
        (&self.fingerprints[place], fingerprint)
    }

    fn contains(&self, number: &str) -> bool {
        let (place, fingerprint) = self.place(number);
        place.load(Ordering::Relaxed) == fingerprint
    }

    fn insert(&self, number: &str) {
        let (place, fingerprint) = self.place(number);
        place.store(fingerprint, Ordering::Relaxed);
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
            "+1.347.837.9634",
            "(+1) 347/837‑9634",
            "+1 [347] 837–9634",
            "＋１３４７８３７９６３４",
            "+١٣٤٧٨٣٧٩٦٣٤",
            "+१३४७८३७९६३४",
        ] {
            assert_eq!(e164(text).as_deref(), Some("+13478379634"), "{text}");
        }
    }

    /// Judged by Google's own libphonenumber.
    #[test]
    fn every_countrys_rules_are_kept() {
        for (text, valid) in [
            ("+44 20 7946 0018", Some("+442079460018")),
            ("+44 (0)20 7946 0018", Some("+442079460018")),
            ("+7 800 123-45-67", Some("+78001234567")),
            ("+7 812 123-45-67", Some("+78121234567")),
            ("+39 06 698 12345", Some("+390669812345")),
            ("+54 9 11 1234-5678", Some("+5491112345678")),
            ("+225 07 07 07 07 07", Some("+2250707070707")),
            ("+800 1234 5678", Some("+80012345678")),
            ("+247 68073", Some("+24768073")),
            ("+213 175 649 234", None),
            ("+61 1304 768 910", None),
            ("+1 201 155 5123", None),
            ("+375 8 10 256 0906", None),
            ("+375 8 29 256 0906", Some("+375292560906")),
        ] {
            assert_eq!(e164(text).as_deref(), valid, "{text}");
        }
    }

    #[test]
    fn what_is_not_a_valid_number_is_refused() {
        for text in [
            "",
            "+",
            "abc",
            "+1",
            "13478379634",
            "+1+3478379634",
            "+1347837963",
            "+134783796340000000",
            "+999123456789",
            "+0013478379634",
            "+1 347 837 9634 ext. 5",
            "+1 347 837 963½",
            "+1 347 837 963④",
            "tel:+13478379634",
        ] {
            assert_eq!(e164(text), None, "{text}");
        }
    }

    #[test]
    fn a_national_number_needs_a_region() {
        let region = Region::parse("us");
        for text in ["(347) 837-9634", "1 347 837 9634", "+13478379634"] {
            assert_eq!(PhoneNumber::parse(text, region).unwrap().e164(), "+13478379634");
        }
        let british = PhoneNumber::parse("020 7946 0018", Region::parse("GB")).unwrap();
        assert_eq!(british.e164(), "+442079460018");
        assert_eq!(e164("(347) 837-9634"), None);
        for nonsense in ["atlantis", "", "001", "ZZ", "XX"] {
            assert_eq!(Region::parse(nonsense), None, "{nonsense}");
        }
    }

    fn by_the_long_way(digits: &str) -> Option<String> {
        let number = PHONE_NUMBER_UTIL.parse(digits, None).ok()?;
        let valid = PHONE_NUMBER_UTIL.is_valid_number(&number);
        valid.then(|| {
            PHONE_NUMBER_UTIL
                .format(&number, PhoneNumberFormat::E164)
                .into_owned()
        })
    }

    /// A number of every country, and what becomes of it when a digit is added, taken away, put in where a
    /// prefix would be, or changed there.
    #[test]
    fn the_short_way_judges_as_the_long_way_does() {
        let mut examples = 0;
        for region in PHONE_NUMBER_UTIL.get_supported_regions() {
            let Ok(example) = PHONE_NUMBER_UTIL.get_example_number(region) else {
                continue;
            };
            let example = PHONE_NUMBER_UTIL
                .format(&example, PhoneNumberFormat::E164)
                .into_owned();
            examples += 1;
            let mut texts = vec![example.clone(), example[..example.len() - 1].to_owned()];
            for digit in '0'..='9' {
                texts.push(format!("{example}{digit}"));
                for at in 2..6 {
                    texts.push(format!("{}{digit}{}", &example[..at], &example[at..]));
                    texts.push(format!("{}{digit}{}", &example[..at], &example[at + 1..]));
                }
            }
            for text in texts {
                assert_eq!(e164(&text), by_the_long_way(&text), "{text}");
            }
        }
        assert!(examples > 200);
    }

    #[test]
    fn countries_that_share_a_calling_code_are_told_apart() {
        for (number, country) in [
            ("+13478379634", "US"),
            ("+14165550123", "CA"),
            ("+18765550123", "JM"),
            ("+442079460018", "GB"),
            ("+78001234567", "RU"),
            ("+77010000000", "KZ"),
            ("+80012345678", "001"),
        ] {
            let number = PhoneNumber::parse(number, None).unwrap();
            assert_eq!(number.country().unwrap().code(), country);
        }
    }

    #[test]
    fn numbers_that_cost_or_ring_nobody_are_told_from_ordinary_ones() {
        for (number, expected) in [
            ("+13478379634", None),
            ("+447911123456", None),
            ("+18005550123", Some("toll_free")),
            ("+19002345678", Some("premium_rate")),
            ("+445612345678", Some("voip")),
            ("+447640123456", Some("pager")),
        ] {
            let number = PhoneNumber::parse(number, None).unwrap();
            assert_eq!(number.origin().1, expected, "{}", number.e164());
            assert_eq!(number.origin().0, number.country());
        }
    }

    #[test]
    fn a_number_prints_masked() {
        let number = PhoneNumber::parse("+13478379634", None).unwrap();
        assert_eq!(format!("{number:?}"), "+13****34");
    }

    proptest! {
        #[test]
        fn any_text_is_a_number_or_refused(text in "\\PC{0,40}|[+0-9 ()./-]{0,30}|\\+[0-9]{1,20}") {
            for region in [None, Region::parse("US"), Region::parse("DE")] {
                if let Ok(number) = PhoneNumber::parse(&text, region) {
                    prop_assert_eq!(number.masked().len(), 9);
                    prop_assert_eq!(PhoneNumber::stored(number.e164()), Some(number));
                }
            }
        }
    }
}
