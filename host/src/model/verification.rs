//! The life cycle.
/// 48 bits of milliseconds, 80 random bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VerificationId(pub [u8; 16]);
/// What a check came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    Valid,
    Invalid,
    Expired,
    AlreadyVerified,
    SessionTokenInvalid,
    TooManyAttempts,
}
