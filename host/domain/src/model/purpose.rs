//! What a code may be used for. A code for logging in must not confirm a payment.

use std::fmt;

/// The caller's purpose of a verification. A code is shared between, and accepted for, verifications with the same
/// purpose and binding only.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Purpose {
    /// The kind of action, such as `login` or `payout`: 1 to [`Self::MAX_NAME`] characters. Stored as it is, and shown.
    pub name: Option<String>,
    /// The particular action, such as an account and an amount: 1 to [`Self::MAX_BINDING`] characters. Stored as a
    /// digest, and never shown.
    pub binding: Option<String>,
}

impl Purpose {
    /// The most characters of a name.
    pub const MAX_NAME: usize = 64;
    /// The most characters of a binding.
    pub const MAX_BINDING: usize = 1024;
}

/// Without the binding, which may be confidential.
impl fmt::Debug for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Purpose")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// A purpose in the form in which it is stored and compared: a keyed digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound(pub [u8; 32]);
