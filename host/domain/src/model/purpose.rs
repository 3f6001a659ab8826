//! What a code is good for. A code that lets somebody log in must not confirm a payment as well.

use std::fmt;

/// What a verification is for, in its caller's words. A code is shared with, and good for, a verification of the same
/// purpose and binding alone.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Purpose {
    /// What is done with it, such as `login` or `payout`: 1 to [`Self::MAX_NAME`] characters. Stored as it is, and shown.
    pub name: Option<String>,
    /// What in particular, such as an account and a sum: 1 to [`Self::MAX_BINDING`] characters. Stored as a digest, and
    /// never shown.
    pub binding: Option<String>,
}

impl Purpose {
    /// The most characters of a name.
    pub const MAX_NAME: usize = 64;
    /// The most characters of a binding.
    pub const MAX_BINDING: usize = 1024;
}

/// The binding is the caller's.
impl fmt::Debug for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Purpose")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// A purpose as it is stored and compared: a keyed digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound(pub [u8; 32]);
