//! A security code, and how the base behaviour makes one.
//!
//! Invariant: a [`SecurityCode`] never prints.

use std::fmt;

use zeroize::Zeroizing;

use crate::entropy::{Entropy, NoEntropy};

/// A security code. One that was made has 1 to 64 characters, none of them a control character; one that a
/// client sent back has any.
#[derive(Clone, PartialEq, Eq)]
pub struct SecurityCode(Zeroizing<String>);

impl SecurityCode {
    /// Takes a code that a backend made.
    pub fn new(text: impl Into<String>) -> Option<Self> {
        let text = Zeroizing::new(text.into());
        let fits = (1..=64).contains(&text.chars().count()) && !text.chars().any(char::is_control);
        fits.then_some(Self(text))
    }

    /// As the client sent it: not necessarily one that could be right.
    pub fn from_client(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// `length` digits, each as likely as any other, leading zeros kept.
    pub fn generate(length: usize, entropy: &Entropy) -> Result<Self, NoEntropy> {
        let mut code = Zeroizing::new(String::with_capacity(length));
        while code.len() < length {
            for byte in Zeroizing::new(entropy.array::<16>()?).iter() {
                // 250 is the largest multiple of 10 in a byte: what lies above would favour the low digits.
                if *byte < 250 && code.len() < length {
                    code.push(char::from(b'0' + byte % 10));
                }
            }
        }
        Ok(Self(code))
    }

    /// The readable code: for the message and the digest, never for a log.
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

    #[test]
    fn every_digit_is_as_likely_as_any_other() {
        let entropy = Entropy::seeded(7);
        let mut counts = [0_u32; 10];
        for _ in 0..20_000 {
            for digit in SecurityCode::generate(6, &entropy).unwrap().expose().bytes() {
                counts[usize::from(digit - b'0')] += 1;
            }
        }
        let expected = 12_000.0;
        let chi_squared: f64 = counts
            .iter()
            .map(|count| (f64::from(*count) - expected).powi(2) / expected)
            .sum();
        // 9 degrees of freedom: above 27.9 once in a thousand seeds; this one is fixed.
        assert!(chi_squared < 27.9, "{chi_squared} from {counts:?}");
    }

    #[test]
    fn a_code_has_the_length_asked_for() {
        for length in 4..=10 {
            assert_eq!(
                SecurityCode::generate(length, &Entropy::system())
                    .unwrap()
                    .expose()
                    .len(),
                length
            );
        }
    }

    #[test]
    fn nonsense_is_no_code() {
        assert!(SecurityCode::new("").is_none());
        assert!(SecurityCode::new("12\n34").is_none());
        assert!(SecurityCode::new("1".repeat(65)).is_none());
        assert!(SecurityCode::new("１２３４５６").is_some());
    }

    #[test]
    fn a_code_never_prints() {
        assert_eq!(format!("{:?}", SecurityCode::new("123456")), "Some(******)");
    }
}
