//! API keys and what each may do. A key is known by its digest alone: it has 256 random bits, so that a plain digest
//! cannot be turned back.

use std::{fmt, sync::Arc};

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::entropy::{Entropy, NoEntropy};

/// What every key begins with, so that it is recognised where it must not be.
const PREFIX: &str = "pv_";
/// What a digest in the settings begins with.
const ALGORITHM: &str = "sha256:";

/// What a request must be allowed to do. Each route needs one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// To begin, check, resend and cancel verifications.
    Verify,
    /// To read how verifications and backends fare, and what the guard decided.
    Read,
    /// To send texts that are no verifications.
    Messages,
    /// To read the metrics.
    Metrics,
    /// To change how the service works.
    Admin,
}

impl Scope {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Verify,
        Self::Read,
        Self::Messages,
        Self::Metrics,
        Self::Admin,
    ];

    /// Its name in the settings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Verify => "verify",
            Self::Read => "read",
            Self::Messages => "messages",
            Self::Metrics => "metrics",
            Self::Admin => "admin",
        }
    }

    /// The scope of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == name)
    }

    /// The names of all, for a person: `verify, read, messages, metrics and admin`.
    pub fn names() -> String {
        let names = Self::ALL.map(Self::as_str);
        let [first @ .., last] = &names;
        format!("{} and {last}", first.join(", "))
    }
}

/// A key that the settings name.
#[derive(Clone, Debug)]
pub struct ApiKey {
    /// Who uses it: what the log shows in its place.
    pub name: Arc<str>,
    /// How it is recognised.
    pub digest: KeyDigest,
    /// What it may do.
    pub scopes: Vec<Scope>,
}

impl ApiKey {
    /// Whether a key can have this name: 1 to 64 letters, digits, dashes and underscores, so that it fits a log line.
    pub fn is_name(text: &str) -> bool {
        let is_of_name = |character: char| character.is_ascii_alphanumeric() || "-_".contains(character);
        (1..=64).contains(&text.len()) && text.chars().all(is_of_name)
    }

    /// Whether it may do what needs this scope.
    pub fn may(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope)
    }
}

/// Who may use the endpoints of django-phone-verify, `/api/phone/*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropIn {
    /// Everybody who reaches them.
    Open,
    /// Who has an API key with the scope `verify`.
    Key,
    /// Nobody: they are not there.
    Closed,
}

impl DropIn {
    /// `open`, `key` or `closed`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Key => "key",
            Self::Closed => "closed",
        }
    }

    /// For an operator.
    pub fn description(self) -> &'static str {
        match self {
            Self::Open => "open to everybody who reaches them",
            Self::Key => "for who shows an API key with the scope verify",
            Self::Closed => "closed",
        }
    }
}

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
