//! The format of security codes: alphabet and length.
//!
//! People read letters off a phone and type them. So there are no vowels, which could form words (RFC 8628, section
//! 6.1, advises this), and the mixed alphabet has no two characters that look alike.

use super::SecurityCode;

/// The characters of codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alphabet {
    /// 0 to 9.
    Digits,
    /// The twenty consonants in upper case.
    Letters,
    /// Upper-case consonants and digits, without 0, 1 and the letters that look like a digit: B, G, S, Z.
    LettersAndDigits,
}

impl Alphabet {
    /// Reads the name in the settings.
    ///
    /// # Errors
    /// A phrase for the operator that states what is needed.
    pub fn parse(name: &str) -> Result<Self, String> {
        match name {
            "digits" => Ok(Self::Digits),
            "letters" => Ok(Self::Letters),
            "letters_and_digits" => Ok(Self::LettersAndDigits),
            _ => Err(format!(
                "must be \"digits\", \"letters\" or \"letters_and_digits\", not {name}"
            )),
        }
    }

    /// Its characters: ASCII, each once.
    pub const fn characters(self) -> &'static [u8] {
        match self {
            Self::Digits => b"0123456789",
            Self::Letters => b"BCDFGHJKLMNPQRSTVWXZ",
            Self::LettersAndDigits => b"23456789CDFHJKLMNPQRTVWX",
        }
    }
}

/// The format of generated codes. A backend that generates its own codes does not use it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodeFormat {
    /// The characters.
    pub alphabet: Alphabet,
    /// The number of characters, 4 to 10.
    pub length: usize,
}

impl CodeFormat {
    /// The format with this many digits.
    pub const fn digits(length: usize) -> Self {
        Self {
            alphabet: Alphabet::Digits,
            length,
        }
    }

    /// A code of this format. All codes of a format take the same space in an SMS, so any one shows the length of the
    /// text.
    pub fn example(self) -> SecurityCode {
        let first = char::from(self.alphabet.characters()[0]);
        SecurityCode::from_client(&first.to_string().repeat(self.length))
    }

    /// Whether a code has this format, after normalisation.
    pub fn fits(self, code: &SecurityCode) -> bool {
        let code = code.folded();
        let code = code.as_bytes();
        code.len() == self.length && code.iter().all(|one| self.alphabet.characters().contains(one))
    }

    /// The number of possible codes.
    pub fn possibilities(self) -> u64 {
        let length = u32::try_from(self.length).unwrap_or(u32::MAX);
        (self.alphabet.characters().len() as u64).saturating_pow(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alphabet_has_each_character_once_and_no_lookalike() {
        for name in ["digits", "letters", "letters_and_digits"] {
            let characters = Alphabet::parse(name).unwrap().characters();
            assert!(characters.is_ascii() && characters.is_sorted_by(|one, other| one < other));
            assert!(
                !characters
                    .iter()
                    .any(|character| b"AEIOUaeiou".contains(character))
            );
            if name == "letters_and_digits" {
                assert!(!characters.iter().any(|character| b"01BGSZ".contains(character)));
            }
        }
        assert!(Alphabet::parse("Digits").is_err());
    }

    #[test]
    fn a_letter_says_more_than_a_digit() {
        let possibilities = |alphabet, length| CodeFormat { alphabet, length }.possibilities();
        assert_eq!(possibilities(Alphabet::Digits, 6), 1_000_000);
        assert_eq!(possibilities(Alphabet::Letters, 5), 3_200_000);
        assert_eq!(possibilities(Alphabet::LettersAndDigits, 4), 331_776);
        assert_eq!(possibilities(Alphabet::LettersAndDigits, 10), 63_403_380_965_376);
    }
}
