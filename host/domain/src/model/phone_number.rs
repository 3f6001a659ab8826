//! Phone numbers in E.164, by the rules of libphonenumber.
//!
//! Invariant: a [`PhoneNumber`] is valid and prints masked. Only [`PhoneNumber::e164`] returns the full number.

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
};

use rlibphonenumber::{PHONE_NUMBER_UTIL, PhoneNumberFormat, PhoneNumberType};

use super::{numbering_plans::Plan, typed};

/// The longest text that is parsed, in bytes; libphonenumber has the same bound. E.164 has at most 15 digits. The rest
/// is room for punctuation, invisible marks, and digits that take four bytes each.
const MAX_TEXT_LENGTH: usize = 250;
/// The most digits: a national number with the longest trunk prefix.
const MAX_DIGITS: usize = 20;
const BELARUS: u16 = 375;
/// The most digits of a calling code (E.164, section 6.2.1).
const MAX_CALLING_CODE_DIGITS: usize = 3;
/// The fewest digits. Shorter numbers are for use within one country or network.
const MIN_DIGITS: usize = 4;

/// Types of numbers that rarely belong to a person who waits for a code, with their names in the settings.
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
pub struct PhoneNumber {
    e164: String,
    origin: Origin,
}

/// What the numbering plan says about a number. Empty for a stored number that is no longer valid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Origin {
    country: Option<Region>,
    /// One of [`NUMBER_TYPES`].
    number_type: Option<&'static str>,
}

/// The text is not a valid phone number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a valid phone number")]
pub struct NotAPhoneNumber;

/// A country as an ISO 3166 code such as `US`, or `001` for numbers of no country.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Region(rlibphonenumber::Region);

impl Region {
    /// Reads an ISO 3166 code, in any case.
    pub fn parse(text: &str) -> Option<Self> {
        let region = rlibphonenumber::Region::from_code(&text.to_ascii_uppercase()).ok()?;
        Plan::has(region).then_some(Self(region))
    }

    /// The ISO 3166 code in upper case.
    pub fn code(self) -> String {
        self.0.as_region_str().as_str().to_owned()
    }
}

impl PhoneNumber {
    /// Reads a number as people write it: with spaces, dashes, dots and brackets. A number without a leading plus sign
    /// is a national one and needs a default region.
    pub fn parse(text: &str, default_region: Option<Region>) -> Result<Self, NotAPhoneNumber> {
        // Cheap checks first: the metadata is loaded only for a text that could be a number.
        let digits = digits(text).ok_or(NotAPhoneNumber)?;
        let international = digits.starts_with('+');
        if international && let Some(origin) = RECENT.find(&digits).or_else(|| origin_as_it_stands(&digits)) {
            RECENT.insert(&digits, origin);
            return Ok(Self { e164: digits, origin });
        }
        let region = match default_region {
            _ if international => None,
            Some(region) => Some(region.0),
            None => return Err(NotAPhoneNumber),
        };
        let number = PHONE_NUMBER_UTIL
            .parse(&digits, region)
            .map_err(|_| NotAPhoneNumber)?;
        let origin = origin(&number).ok_or(NotAPhoneNumber)?;
        let e164 = PHONE_NUMBER_UTIL
            .format(&number, PhoneNumberFormat::E164)
            .into_owned();
        RECENT.insert(&e164, origin);
        Ok(Self { e164, origin })
    }

    /// Reads the beginning of a range of numbers, as people write it: `+44770090`, 1 to 15 digits.
    pub fn parse_beginning(text: &str) -> Option<String> {
        let beginning = typed::number(text, MAX_DIGITS)?;
        let digits = beginning.strip_prefix('+')?;
        (1..=15).contains(&digits.len()).then_some(beginning)
    }

    /// Restores a number that was valid when it was stored. The numbering rules may have changed since.
    pub fn stored(e164: &str) -> Option<Self> {
        let digits = e164.strip_prefix('+')?;
        let shaped = digits.len() >= MIN_DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit());
        shaped.then(|| {
            let today = Self::parse(e164, None).ok();
            today
                .filter(|number| number.e164 == e164)
                .unwrap_or_else(|| Self {
                    e164: e164.to_owned(),
                    origin: Origin::default(),
                })
        })
    }

    /// `+13478379634`. For backends and digests, never for a log.
    pub fn e164(&self) -> &str {
        &self.e164
    }

    /// The country of the number. `None`: unknown by current rules.
    pub fn country(&self) -> Option<Region> {
        self.origin.country
    }

    /// The type, one of [`NUMBER_TYPES`]. `None`: an ordinary one, or unknown by current rules.
    pub fn number_type(&self) -> Option<&'static str> {
        self.origin.number_type
    }

    /// The number without its last four digits: a block of ten thousand numbers, which mostly belong to one operator.
    pub fn prefix(&self) -> &str {
        // A valid number has at least 7 characters after its plus sign.
        &self.e164[..self.e164.len() - 4]
    }

    /// `+13****34`. For logs and all other output.
    pub fn masked(&self) -> String {
        // A valid number is ASCII and has at least 7 characters after its plus sign.
        format!("{}****{}", &self.e164[..3], &self.e164[self.e164.len() - 2..])
    }
}

impl fmt::Debug for PhoneNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.masked())
    }
}

/// The ASCII digits of a text, after a plus sign if it begins with one. `None`: it holds other characters than
/// punctuation, or has too few or too many digits.
fn digits(text: &str) -> Option<String> {
    if text.len() > MAX_TEXT_LENGTH {
        return None;
    }
    let digits = typed::number(text, MAX_DIGITS)?;
    (MIN_DIGITS..=MAX_DIGITS)
        .contains(&digits.trim_start_matches('+').len())
        .then_some(digits)
}

/// Fast path for an international number that needs no change, which nearly all are. libphonenumber's parser would
/// spend three quarters of the time on a search for extensions and letters, which [`digits`] does not admit. `None`:
/// use the parser. That includes numbers that may begin with a prefix to be removed: a leading zero, and all numbers of
/// Belarus, where 8 is a prefix and also a first digit.
fn origin_as_it_stands(digits: &str) -> Option<Origin> {
    let digits = digits
        .strip_prefix('+')
        .filter(|digits| !digits.starts_with('0'))?;
    // The first match is right, as no calling code is the beginning of another one (E.164).
    let (calling_code, national) = (1..=MAX_CALLING_CODE_DIGITS.min(digits.len())).find_map(|at| {
        let (calling_code, national) = digits.split_at(at);
        let calling_code = calling_code.parse().ok()?;
        Plan::exists(calling_code).then_some((calling_code, national))
    })?;
    if calling_code == BELARUS || national.starts_with('0') {
        return None;
    }
    Plan::judge(calling_code, national).map(|(region, number_type)| Origin::new(Some(region), number_type))
}

/// What the library says about a number. `None`: it is not valid, which it defines as having no known type.
fn origin(number: &rlibphonenumber::PhoneNumber) -> Option<Origin> {
    let number_type = PHONE_NUMBER_UTIL.get_number_type(number);
    if number_type == PhoneNumberType::Unknown {
        return None;
    }
    Some(Origin::new(
        PHONE_NUMBER_UTIL.get_region_for_number(number),
        number_type,
    ))
}

/// A cache of recently seen valid numbers: most numbers return within minutes, to be verified. It holds no numbers,
/// only fingerprints under a key of this process. That a number is mistaken for another is as likely as guessing 60
/// bits.
struct Recent {
    key: RandomState,
    places: [AtomicU64; Self::SIZE],
}

static RECENT: LazyLock<Recent> = LazyLock::new(|| Recent {
    key: RandomState::new(),
    places: [const { AtomicU64::new(0) }; Recent::SIZE],
});

impl Recent {
    const SIZE: usize = 4096;
    /// The lower bits of a slot hold the origin, the others the fingerprint.
    const ORIGIN: u64 = 0xffff;

    /// The slot of a number and its fingerprint. A slot holds the last number that was stored there.
    fn place(&self, number: &str) -> (&AtomicU64, u64) {
        let hash = self.key.hash_one(number);
        let place = usize::try_from(hash % Self::SIZE as u64).unwrap_or(0);
        (&self.places[place], hash & !Self::ORIGIN)
    }

    fn find(&self, number: &str) -> Option<Origin> {
        let (place, fingerprint) = self.place(number);
        let found = place.load(Ordering::Relaxed);
        let same = found & !Self::ORIGIN == fingerprint;
        Origin::unpack(found & Self::ORIGIN).filter(|_| same)
    }

    fn insert(&self, number: &str, origin: Origin) {
        let (place, fingerprint) = self.place(number);
        place.store(fingerprint | origin.pack(), Ordering::Relaxed);
    }
}

impl Origin {
    fn new(country: Option<rlibphonenumber::Region>, number_type: PhoneNumberType) -> Self {
        let listed = NUMBER_TYPES.iter().find(|(listed, _)| *listed == number_type);
        Self {
            country: country.map(Region),
            number_type: listed.map(|(_, name)| *name),
        }
    }

    /// The origin in 16 bits. Never 0, which marks an empty slot.
    fn pack(self) -> u64 {
        let letter = |byte: &u8| u64::from(byte.to_ascii_lowercase().saturating_sub(b'a'));
        let country = match self.country.map(Region::code).as_deref().map(str::as_bytes) {
            None => 0,
            Some([first, second]) => 2 + letter(first) * 26 + letter(second),
            // Numbers of no country.
            Some(_) => 1,
        };
        let number_type = NUMBER_TYPES
            .iter()
            .position(|(_, name)| Some(*name) == self.number_type);
        (country << 4) + number_type.map_or(1, |at| at as u64 + 2)
    }

    fn unpack(packed: u64) -> Option<Self> {
        let letter = |number: u64| char::from(b'A' + u8::try_from(number % 26).unwrap_or(0));
        let country = match packed >> 4 {
            0 => None,
            1 => Some("001".to_owned()),
            letters => Some(String::from_iter([
                letter((letters - 2) / 26),
                letter(letters - 2),
            ])),
        };
        let country = country.and_then(|code| rlibphonenumber::Region::from_code(&code).ok());
        let number_type = usize::try_from(packed & 0xf).ok()?.checked_sub(1)?;
        Some(Self {
            country: country.map(Region),
            number_type: number_type.checked_sub(1).map(|at| NUMBER_TYPES[at].1),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rlibphonenumber::PHONE_NUMBER_UTIL;

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
            // Copied from contacts, chats and web pages.
            "\u{202a}+1 (347) 837-9634\u{202c}",
            "\u{202d}+13478379634\u{202c}",
            "\u{2068}+1 347 837 9634\u{2069}",
            "\u{200e}+1\u{a0}347\u{202f}837\u{2011}9634",
            "\u{feff}+\u{200b}13478379634\n",
            "+1~347~837~9634",
        ] {
            assert_eq!(e164(text).as_deref(), Some("+13478379634"), "{text}");
        }
    }

    /// The expected results come from Google's own libphonenumber.
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

    fn by_the_long_way(digits: &str) -> Option<PhoneNumber> {
        let number = PHONE_NUMBER_UTIL.parse(digits, None).ok()?;
        Some(PhoneNumber {
            origin: origin(&number)?,
            e164: PHONE_NUMBER_UTIL
                .format(&number, PhoneNumberFormat::E164)
                .into_owned(),
        })
    }

    /// A number of each type of every country and of none, and variants of it with a digit added, removed, inserted
    /// where a prefix would be, or changed there.
    #[test]
    fn the_short_way_judges_as_the_long_way_does() {
        let library = &PHONE_NUMBER_UTIL;
        let of_countries = library.get_supported_regions().flat_map(|region| {
            let types = library.get_supported_types_for_region(region).unwrap_or_default();
            types
                .into_iter()
                .filter_map(move |kind| library.get_example_number_for_type_and_region(region, kind).ok())
        });
        let of_none = library
            .get_supported_global_network_calling_codes()
            .filter_map(|code| library.get_example_number_for_non_geo_entity(code).ok());
        let mut examples = 0;
        for example in of_countries.chain(of_none) {
            let example = library.format(&example, PhoneNumberFormat::E164).into_owned();
            examples += 1;
            let mut texts = vec![example.clone(), example[..example.len() - 1].to_owned()];
            let digit = char::from(b'0' + u8::try_from(examples % 10).unwrap());
            texts.push(format!("{example}{digit}"));
            for at in 2..6 {
                texts.push(format!("{}{digit}{}", &example[..at], &example[at..]));
                texts.push(format!("{}{digit}{}", &example[..at], &example[at + 1..]));
            }
            for text in texts {
                assert_eq!(
                    PhoneNumber::parse(&text, None).ok(),
                    by_the_long_way(&text),
                    "{text}"
                );
            }
        }
        assert!(examples > 1000, "{examples}");
    }

    proptest! {
        #[test]
        fn a_number_at_random_is_judged_as_by_the_long_way(
            code in proptest::sample::select(PHONE_NUMBER_UTIL.get_supported_calling_codes().collect::<Vec<_>>()),
            national in "[0-9]{4,12}",
        ) {
            let text = format!("+{code}{national}");
            prop_assert_eq!(PhoneNumber::parse(&text, None).ok(), by_the_long_way(&text));
        }
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
            assert_eq!(number.number_type(), expected, "{}", number.e164());
        }
    }

    #[test]
    fn a_number_has_the_same_origin_when_it_comes_back() {
        for text in ["+13478379634", "+447640123456", "+80012345678", "+445612345678"] {
            let number = PhoneNumber::parse(text, None).unwrap();
            let packed = number.origin.pack();
            assert_eq!(Origin::unpack(packed), Some(number.origin), "{text}");
            assert!(packed <= Recent::ORIGIN);
        }
        for region in PHONE_NUMBER_UTIL.get_supported_regions().map(Region) {
            for number_type in NUMBER_TYPES.map(|(_, name)| Some(name)).into_iter().chain([None]) {
                let country = Some(region);
                let origin = Origin { country, number_type };
                assert_eq!(Origin::unpack(origin.pack()), Some(origin));
            }
        }
        let unknown = Origin::default();
        assert_eq!(Origin::unpack(unknown.pack()), Some(unknown));
        assert_eq!(Origin::unpack(0), None);
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
