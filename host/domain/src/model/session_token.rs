//! The token that connects a check to its registration. Its content is encoded by the keyring of the host; here it is
//! an opaque text that must not be shown.

use std::fmt;

/// The token that a client received when it registered.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionToken(String);

impl SessionToken {
    /// Wraps the text that a client sent. It need not be a token that this service issued.
    pub fn from_client(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The token in clear, for the client that registered.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SessionToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("******")
    }
}
