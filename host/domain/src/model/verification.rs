//! The life cycle of a verification.
//!
//! A verification is pending from its registration. A check verifies it, or it ends by expiry, cancellation, too many
//! wrong codes, or an SMS that was not sent. The status is computed from stored facts ([`Standing`]), so the two cannot
//! contradict each other.

use std::{fmt, str::FromStr};

use super::{Delivery, Message};
use crate::{
    clock::{Clock, UnixMillis},
    entropy::{Entropy, NoEntropy},
};

/// Identifies a verification: 48 bits of milliseconds, then 80 random bits. With the time first, new rows are stored
/// next to each other.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VerificationId(pub [u8; 16]);

impl VerificationId {
    /// A new id.
    pub fn generate(clock: &Clock, entropy: &Entropy) -> Result<Self, NoEntropy> {
        let mut id = [0; 16];
        id[..6].copy_from_slice(&clock.now().0.to_be_bytes()[2..]);
        entropy.fill(&mut id[6..])?;
        Ok(Self(id))
    }
}

/// Reads the form in which it is displayed.
impl FromStr for VerificationId {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, NotAnId> {
        let bytes = data_encoding::HEXLOWER.decode(text.as_bytes());
        bytes
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .map(Self)
            .ok_or(NotAnId)
    }
}

/// The text is not the id of a verification.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the id of a verification")]
pub struct NotAnId;

/// The form in logs and in the API: 32 hexadecimal digits.
impl fmt::Display for VerificationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for VerificationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The result of a check of a security code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// The right code.
    Valid,
    /// A wrong code.
    Invalid,
    /// The right code, after its expiry.
    Expired,
    /// The right code, used before, where codes are valid for one use.
    AlreadyVerified,
    /// There is no such session for this number.
    SessionTokenInvalid,
    /// No attempts left. Nothing was compared.
    TooManyAttempts,
}

impl Verdict {
    const ALL: [(Self, &'static str); 6] = [
        (Self::Valid, "valid"),
        (Self::Invalid, "invalid"),
        (Self::Expired, "expired"),
        (Self::AlreadyVerified, "already_verified"),
        (Self::SessionTokenInvalid, "session_token_invalid"),
        (Self::TooManyAttempts, "too_many_attempts"),
    ];

    /// Its stable name.
    pub fn as_str(self) -> &'static str {
        let found = Self::ALL.iter().find(|(verdict, _)| *verdict == self);
        found.map_or("invalid", |(_, name)| name)
    }

    /// The verdict of that name.
    pub fn parse(name: &str) -> Option<Self> {
        let found = Self::ALL.iter().find(|(_, known)| *known == name);
        found.map(|(verdict, _)| *verdict)
    }
}

/// What is known about a verification. It has neither the number nor the code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verification {
    /// Its id.
    pub id: VerificationId,
    /// Its status.
    pub status: Status,
    /// When it was registered.
    pub created_at: UnixMillis,
    /// When its code expires.
    pub expires_at: UnixMillis,
    /// When the right code was entered.
    pub verified_at: Option<UnixMillis>,
    /// When the limits of its number admit another SMS. `None`: the verification has ended.
    pub resend_at: Option<UnixMillis>,
    /// How many more wrong codes are accepted before it fails.
    pub attempts_remaining: u32,
    /// The name of its purpose, as the caller gave it.
    pub purpose: Option<String>,
    /// Its messages, oldest first.
    pub messages: Vec<Message>,
}

impl Verification {
    /// The delivery of its first message, which the answer to the registration reports.
    pub fn first_delivery(&self) -> Delivery {
        self.messages
            .first()
            .map_or(Delivery::Pending, |message| message.delivery)
    }

    /// The delivery of its last message.
    pub fn delivery(&self) -> Delivery {
        self.messages
            .last()
            .map_or(Delivery::Pending, |message| message.delivery)
    }
}

/// The status of a verification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It waits for the code.
    Pending,
    /// The right code was entered.
    Verified,
    /// The code expired before it was entered.
    Expired,
    /// The caller cancelled it.
    Cancelled,
    /// All attempts are used up.
    Failed,
    /// No SMS was sent.
    NotSent,
}

impl Status {
    /// All statuses.
    pub const ALL: [Self; 6] = [
        Self::Pending,
        Self::Verified,
        Self::Expired,
        Self::Cancelled,
        Self::Failed,
        Self::NotSent,
    ];

    /// Its stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Verified => "verified",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
            Self::NotSent => "not_sent",
        }
    }
}

/// The stored facts that decide a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// When the code expires.
    pub expires_at: UnixMillis,
    /// Whether the code was used.
    pub verified: bool,
}

impl Standing {
    /// The verdict on an attempt that was already counted. The order is that of django-phone-verify: a wrong code is
    /// reported as wrong even after its expiry.
    pub fn judge(self, matches: bool, now: UnixMillis, only_once: bool) -> Verdict {
        if !matches {
            Verdict::Invalid
        } else if now > self.expires_at {
            Verdict::Expired
        } else if self.verified && only_once {
            Verdict::AlreadyVerified
        } else {
            Verdict::Valid
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_is_judged_in_the_order_of_django_phone_verify() {
        let fresh = Standing {
            expires_at: UnixMillis(1000),
            verified: false,
        };
        let used = Standing {
            verified: true,
            ..fresh
        };
        let (in_time, late) = (UnixMillis(1000), UnixMillis(1001));
        assert_eq!(fresh.judge(true, in_time, true), Verdict::Valid);
        assert_eq!(fresh.judge(true, late, true), Verdict::Expired);
        assert_eq!(fresh.judge(false, late, true), Verdict::Invalid);
        assert_eq!(used.judge(true, in_time, true), Verdict::AlreadyVerified);
        assert_eq!(used.judge(true, late, true), Verdict::Expired);
        assert_eq!(used.judge(true, in_time, false), Verdict::Valid);
    }

    #[test]
    fn later_ids_sort_after_earlier_ones() {
        let clock = Clock::manual(UnixMillis(1_700_000_000_000));
        let earlier = VerificationId::generate(&clock, &Entropy::system()).unwrap();
        clock.advance(std::time::Duration::from_millis(1));
        assert!(VerificationId::generate(&clock, &Entropy::system()).unwrap() > earlier);
    }
}
