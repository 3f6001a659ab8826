//! Security codes, and how the default behaviour generates them.
//!
//! Invariant: the `Debug` form of a [`SecurityCode`] shows nothing of it.

use std::fmt;

use zeroize::Zeroizing;

use super::{CodeFormat, typed};
use crate::entropy::{Entropy, NoEntropy};

/// A security code. A generated one has 1 to 64 characters, no control characters, and at least one character that
/// counts when codes are compared. One that a client submitted may be any text.
#[derive(Clone, PartialEq, Eq)]
pub struct SecurityCode(Zeroizing<String>);

impl SecurityCode {
    /// Accepts a code that a backend generated. `None`: it breaks the rules above.
    pub fn new(text: impl Into<String>) -> Option<Self> {
        let text = Zeroizing::new(text.into());
        let fits = (1..=64).contains(&text.chars().count()) && !text.chars().any(char::is_control);
        // A code without such a character would equal every submission that normalises to nothing.
        let counts = typed::code(&text).next().is_some();
        (fits && counts).then_some(Self(text))
    }

    /// Normalises a code that a person typed: ASCII digits, and no spaces, dashes, punctuation or invisible marks.
    /// Keeps upper and lower case. The result need not be a possible code.
    pub fn from_client(text: &str) -> Self {
        let mut code = Zeroizing::new(String::with_capacity(text.len()));
        code.extend(typed::code(text));
        Self(code)
    }

    /// Generates a code of this format. All codes are equally likely, those with leading zeros included.
    pub fn generate(format: CodeFormat, entropy: &Entropy) -> Result<Self, NoEntropy> {
        let characters = format.alphabet.characters();
        // The largest multiple of the alphabet's length that fits into a byte. Using higher bytes would make the first
        // characters more likely.
        let fair = 256 - 256 % characters.len();
        let mut code = Zeroizing::new(String::with_capacity(format.length));
        while code.len() < format.length {
            for byte in Zeroizing::new(entropy.array::<16>()?).iter() {
                let byte = usize::from(*byte);
                if byte < fair && code.len() < format.length {
                    code.push(char::from(characters[byte % characters.len()]));
                }
            }
        }
        Ok(Self(code))
    }

    /// The form in which codes are compared, generated and submitted ones alike: normalised as by
    /// [`SecurityCode::from_client`], in upper case.
    pub fn folded(&self) -> Zeroizing<String> {
        if self.0.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Zeroizing::new(self.0.to_ascii_uppercase());
        }
        let mut folded = Zeroizing::new(String::with_capacity(self.0.len()));
        folded.extend(typed::code(&self.0).flat_map(char::to_uppercase));
        folded
    }

    /// The code in clear, for the message. Never for a log.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecurityCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("******")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Alphabet;

    const CODES: u32 = 1_000_000;

    /// Pearson's chi-squared statistic of `counts`, all of which should be equal.
    fn chi_squared(counts: &[u32]) -> f64 {
        let expected = f64::from(CODES) / f64::from(u32::try_from(counts.len()).unwrap());
        counts
            .iter()
            .map(|count| (f64::from(*count) - expected).powi(2) / expected)
            .sum()
    }

    /// Over a million codes from the operating system. A bound that a fair generator passes once in 10¹¹ times is
    /// set to each of 13 statistics, and ten standard deviations to the last, so that a false alarm is rarer than
    /// one in 10⁹ runs. Digits taken from a byte without throwing any away would give 366 where 71 is allowed.
    #[test]
    fn of_a_million_codes_every_digit_pair_and_code_is_as_frequent_as_any_other() {
        // The quantiles of the chi-squared distribution with 9, 99 and 999 degrees of freedom.
        const OF_TEN: f64 = 71.0;
        const OF_HUNDRED: f64 = 224.5;
        const OF_THOUSAND: f64 = 1329.0;
        let mut digits = [[0_u32; 10]; 6];
        let mut neighbours = [[0_u32; 100]; 5];
        let mut halves = [[0_u32; 1000]; 2];
        let mut whole = vec![0_u32; 1_000_000];
        for _ in 0..CODES {
            let code = SecurityCode::generate(CodeFormat::digits(6), &Entropy::system()).unwrap();
            let code: [u8; 6] = code
                .expose()
                .as_bytes()
                .try_into()
                .expect("leading zeros are kept");
            let code = code.map(|digit| usize::from(digit - b'0'));
            let number = |digits: &[usize]| digits.iter().fold(0, |number, digit| 10 * number + digit);
            for (counts, digit) in digits.iter_mut().zip(code) {
                counts[digit] += 1;
            }
            for (counts, pair) in neighbours.iter_mut().zip(code.windows(2)) {
                counts[number(pair)] += 1;
            }
            for (counts, half) in halves.iter_mut().zip(code.chunks(3)) {
                counts[number(half)] += 1;
            }
            whole[number(&code)] += 1;
        }
        for (place, counts) in digits.iter().enumerate() {
            assert!(chi_squared(counts) < OF_TEN, "digit {place}: {counts:?}");
        }
        for (place, counts) in neighbours.iter().enumerate() {
            assert!(
                chi_squared(counts) < OF_HUNDRED,
                "digits from {place}: {counts:?}"
            );
        }
        for (place, counts) in halves.iter().enumerate() {
            assert!(chi_squared(counts) < OF_THOUSAND, "half {place}: {counts:?}");
        }
        // With one code expected in each of a million places the statistic is as good as normally distributed
        // about 999 999, with a variance of twice that. One that is too small comes from counting, not from chance.
        let deviation = (chi_squared(&whole) - 999_999.0) / (2.0 * 999_999.0_f64).sqrt();
        assert!(deviation.abs() < 10.0, "whole codes: {deviation}");
    }

    #[test]
    fn a_code_has_the_length_asked_for() {
        for length in 4..=10 {
            for alphabet in [Alphabet::Digits, Alphabet::Letters, Alphabet::LettersAndDigits] {
                let code =
                    SecurityCode::generate(CodeFormat { alphabet, length }, &Entropy::system()).unwrap();
                assert_eq!(code.expose().len(), length);
                assert!(
                    code.expose()
                        .bytes()
                        .all(|character| alphabet.characters().contains(&character))
                );
            }
        }
    }

    /// The same bound as for digits, at 19 and 23 degrees of freedom. Letters taken from a byte without throwing any
    /// away would give over 1500.
    #[test]
    fn of_a_million_characters_every_letter_is_as_frequent_as_any_other() {
        for (alphabet, bound) in [(Alphabet::Letters, 100.0), (Alphabet::LettersAndDigits, 110.0)] {
            let format = CodeFormat { alphabet, length: 10 };
            let mut counts = vec![0_u32; alphabet.characters().len()];
            for _ in 0..CODES / 10 {
                for character in SecurityCode::generate(format, &Entropy::system())
                    .unwrap()
                    .expose()
                    .bytes()
                {
                    counts[alphabet
                        .characters()
                        .iter()
                        .position(|one| *one == character)
                        .unwrap()] += 1;
                }
            }
            assert!(chi_squared(&counts) < bound, "{alphabet:?}: {counts:?}");
        }
    }

    #[test]
    fn nonsense_is_no_code() {
        assert!(SecurityCode::new("").is_none());
        assert!(SecurityCode::new("12\n34").is_none());
        assert!(SecurityCode::new("1".repeat(65)).is_none());
        for compares_as_nothing in ["-", "  ", "\u{200b}", "..."] {
            assert!(SecurityCode::new(compares_as_nothing).is_none());
        }
        assert!(SecurityCode::new("１２３４５６").is_some());
    }

    #[test]
    fn a_code_is_compared_as_it_is_meant_whoever_wrote_it() {
        let same = |made: &str, typed: &str| {
            let made = SecurityCode::new(made).unwrap();
            *made.folded() == *SecurityCode::from_client(typed).folded()
        };
        for (made, typed) in [
            ("983568", "٩٨٣٥٦٨"),
            ("983568", "۹۸۳۵۶۸"),
            ("٩٨٣٥٦٨", "983-568"),
            ("983 568", "983568"),
            ("kx7-trm", "KX7TRM"),
            ("KX7TRM", "ｋｘ７ｔｒｍ"),
            ("Ключ", "КЛЮЧ"),
            ("\u{202a}12\u{202c}", "12"),
        ] {
            assert!(same(made, typed) && same(typed, made), "{made} {typed}");
        }
        for (made, typed) in [
            ("983568", "983569"),
            ("983568", "98356"),
            ("983568", ""),
            ("O", "0"),
        ] {
            assert!(!same(made, typed), "{made} {typed}");
        }
    }

    #[test]
    fn a_code_never_prints() {
        assert_eq!(format!("{:?}", SecurityCode::new("123456")), "Some(******)");
    }
}
