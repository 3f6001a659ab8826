//! API keys and their scopes. The settings hold only a key's digest. An unsalted SHA-256 suffices, because a key has
//! 256 random bits and cannot be found by trying.

use std::{fmt, sync::Arc};

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::entropy::{Entropy, NoEntropy};

/// The beginning of every key, so that scanners recognise one in a repository or a log.
const PREFIX: &str = "pv_";
/// The beginning of a digest in the settings.
const ALGORITHM: &str = "sha256:";

/// A permission. Each route requires one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Register, check, resend and cancel verifications.
    Verify,
    /// Read the state of verifications and backends, and the guard's decisions.
    Read,
    /// Send texts that are not verifications.
    Messages,
    /// Read the metrics.
    Metrics,
    /// Change how the service works.
    Admin,
}

impl Scope {
    /// All scopes.
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

    /// All names as a phrase: `verify, read, messages, metrics and admin`.
    pub fn names() -> String {
        let names = Self::ALL.map(Self::as_str);
        let [first @ .., last] = &names;
        format!("{} and {last}", first.join(", "))
    }
}

/// A key in the settings.
#[derive(Clone, Debug)]
pub struct ApiKey {
    /// The name of its user, which the log shows in place of the key.
    pub name: Arc<str>,
    /// The digest of the key itself.
    pub digest: KeyDigest,
    /// What the key permits.
    pub scopes: Vec<Scope>,
}

impl ApiKey {
    /// Whether a key can have this name: 1 to 64 ASCII letters, digits, dashes and underscores, so that it is safe in a
    /// log line.
    pub fn is_name(text: &str) -> bool {
        let is_of_name = |character: char| character.is_ascii_alphanumeric() || "-_".contains(character);
        (1..=64).contains(&text.len()) && text.chars().all(is_of_name)
    }

    /// Whether the key has this scope.
    pub fn may(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope)
    }
}

/// Access to the endpoints of django-phone-verify, `/api/phone/*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropIn {
    /// Every client may use them.
    Open,
    /// Clients need an API key with the scope `verify`.
    Key,
    /// They do not exist: requests get 404.
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

    /// A phrase for the operator.
    pub fn description(self) -> &'static str {
        match self {
            Self::Open => "open to everybody who reaches them",
            Self::Key => "for who shows an API key with the scope verify",
            Self::Closed => "closed",
        }
    }
}

/// The SHA-256 digest of a key.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyDigest([u8; 32]);

impl KeyDigest {
    /// Reads the form that the settings use: `sha256:` and 64 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix(ALGORITHM)?.to_ascii_lowercase();
        let bytes = HEXLOWER.decode(digits.as_bytes()).ok()?;
        bytes.try_into().ok().map(Self)
    }

    /// Generates a key and its digest. The key is shown once and stored nowhere.
    pub fn new_key(entropy: &Entropy) -> Result<(String, Self), NoEntropy> {
        let key = format!("{PREFIX}{}", BASE64URL_NOPAD.encode(&entropy.array::<32>()?));
        let digest = Self::of(&key);
        Ok((key, digest))
    }

    fn of(key: &str) -> Self {
        Self(Sha256::digest(key.as_bytes()).into())
    }

    /// Whether this is the digest of `key`. Compares in constant time.
    pub fn is_of(&self, key: &str) -> bool {
        self.0.ct_eq(&Self::of(key).0).into()
    }
}

/// The form that the settings use.
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
