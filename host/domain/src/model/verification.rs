//! The life cycle of a verification.
//!
//! A verification is pending from its registration; a check verifies it, or time or too many wrong codes end
//! it. Where it stands is computed from what is stored ([`Standing`]), so that it cannot contradict itself.

use std::{fmt, str::FromStr};

use super::{Delivery, Message};
use crate::{
    clock::{Clock, UnixMillis},
    entropy::{Entropy, NoEntropy},
};

/// Names a verification. 48 bits of milliseconds come first, so that new ones are stored side by side; 80
/// random bits follow.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VerificationId(pub [u8; 16]);

impl VerificationId {
    /// A new one.
    pub fn generate(clock: &Clock, entropy: &Entropy) -> Result<Self, NoEntropy> {
        let mut id = [0; 16];
        id[..6].copy_from_slice(&clock.now().0.to_be_bytes()[2..]);
        entropy.fill(&mut id[6..])?;
        Ok(Self(id))
    }
}

/// Reads it as it is displayed.
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

/// The text names no verification.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the id of a verification")]
pub struct NotAnId;

/// As it appears in a log and in the API: 32 hexadecimal digits.
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

/// What a check of a security code came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// The right code.
    Valid,
    /// A wrong code.
    Invalid,
    /// The right code, too late.
    Expired,
    /// The right code, used before, and codes are good for one use.
    AlreadyVerified,
    /// No such session for this number.
    SessionTokenInvalid,
    /// No attempts left; nothing was compared.
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

/// What is known about a verification. Neither its number nor its code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verification {
    /// Names it.
    pub id: VerificationId,
    /// Where it stands.
    pub status: Status,
    /// When it was registered.
    pub created_at: UnixMillis,
    /// When its code stops being good.
    pub expires_at: UnixMillis,
    /// When the code came back.
    pub verified_at: Option<UnixMillis>,
    /// From when on the limits of its number have room for another SMS; `None`: it is over.
    pub resend_at: Option<UnixMillis>,
    /// How many wrong codes it survives.
    pub attempts_remaining: u32,
    /// What it is for, as its caller named it.
    pub purpose: Option<String>,
    /// Its messages, the first one first.
    pub messages: Vec<Message>,
}

impl Verification {
    /// What became of its first message, which the answer to the registration spoke of.
    pub fn first_delivery(&self) -> Delivery {
        self.messages
            .first()
            .map_or(Delivery::Pending, |message| message.delivery)
    }

    /// What became of its last message.
    pub fn delivery(&self) -> Delivery {
        self.messages
            .last()
            .map_or(Delivery::Pending, |message| message.delivery)
    }
}

/// Where a verification stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// The code is awaited.
    Pending,
    /// The code came back.
    Verified,
    /// The code came too late, or never.
    Expired,
    /// It was given up by whoever began it.
    Cancelled,
    /// All attempts are used up.
    Failed,
    /// No SMS was sent.
    NotSent,
}

impl Status {
    /// All of them.
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

/// What of a verification decides a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// When its code stops being good.
    pub expires_at: UnixMillis,
    /// Whether its code was used.
    pub verified: bool,
}

impl Standing {
    /// The verdict on an attempt that was counted already. The order is django-phone-verify's: a wrong code is
    /// wrong before it is late.
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
