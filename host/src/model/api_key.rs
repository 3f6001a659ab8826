//! API keys. A key is known by its digest alone: it has 256 random bits, so that a plain digest cannot be turned back.

use std::fmt;

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::entropy::{Entropy, NoEntropy};

/// What every key begins with, so that it is recognised where it must not be.
const PREFIX: &str = "pv_";
/// What a digest in the settings begins with.
const ALGORITHM: &str = "sha256:";

/// The digest of a key.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyDigest([u8; 32]);

impl KeyDigest {
    /// Reads it as it stands in the settings: `sha256:` and 64 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix(ALGORITHM)?.to_ascii_lowercase();
        let bytes = HEXLOWER.decode(digits.as_bytes()).ok()?;
        bytes.try_into().ok().map(Self)
    }

    /// A new key and its digest. The key is shown once and kept nowhere.
    pub fn new_key(entropy: &Entropy) -> Result<(String, Self), NoEntropy> {
        let key = format!("{PREFIX}{}", BASE64URL_NOPAD.encode(&entropy.array::<32>()?));
        let digest = Self::of(&key);
        Ok((key, digest))
    }

    fn of(key: &str) -> Self {
        Self(Sha256::digest(key.as_bytes()).into())
    }

    /// Whether this is its key.
    pub fn is_of(&self, key: &str) -> bool {
        self.0.ct_eq(&Self::of(key).0).into()
    }
}

/// As it stands in the settings.
impl fmt::Display for KeyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{ALGORITHM}{}", HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for KeyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_known_by_its_digest() {
        let (key, digest) = KeyDigest::new_key(&Entropy::system()).unwrap();
        let (other, _) = KeyDigest::new_key(&Entropy::system()).unwrap();
        let read = KeyDigest::parse(&digest.to_string()).unwrap();
        assert!(read.is_of(&key));
        assert!(!read.is_of(&other));
        assert!(!format!("{digest:?}").contains(&key));
    }

    #[test]
    fn a_digest_that_is_none_is_not_read() {
        for text in ["", "sha256:", "sha256:00", "md5:00", &"0".repeat(64)] {
            assert!(KeyDigest::parse(text).is_none(), "{text}");
        }
    }
}
