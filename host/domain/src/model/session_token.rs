//! What ties a check to the registration before it. Its inside is the keyring's business
//! (the host's keyring); here it is a text that must not be seen.

use std::fmt;

/// The token that the client got when it registered.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionToken(String);

impl SessionToken {
    /// As the client sent it: not necessarily one of ours.
    pub fn from_client(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The readable token: for the client that registered.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SessionToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("******")
    }
}
