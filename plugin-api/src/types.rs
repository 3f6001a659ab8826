//! The values that a backend receives and returns. Those that hold personal data print masked.

use std::fmt;

use phone_verify_plugin_abi::{
    RawReceipt,
    abi_stable::std_types::{RString, RVec, Tuple2},
    receipt_key, verdict,
};
use serde_json::{Map, Value};

use crate::{Money, options::table};

/// A valid phone number.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PhoneNumber(RString);

impl PhoneNumber {
    pub(crate) fn from_raw(e164: RString) -> Self {
        Self(e164)
    }

    /// E.164 with its plus sign: `+13478379634`.
    pub fn e164(&self) -> &str {
        &self.0
    }

    /// E.164 without the plus sign, as some providers want it: `13478379634`.
    pub fn digits(&self) -> &str {
        self.0.trim_start_matches('+')
    }
}

/// Masked: `+13****34`.
impl fmt::Debug for PhoneNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.e164();
        match (
            number.get(..3),
            number.len().checked_sub(2).and_then(|at| number.get(at..)),
        ) {
            (Some(head), Some(tail)) if number.len() > 6 => write!(f, "{head}****{tail}"),
            _ => f.write_str("****"),
        }
    }
}

/// The result of an accepted SMS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Receipt {
    message_id: String,
    segments: Option<u32>,
    cost: Option<Money>,
}

impl Receipt {
    /// With the provider's message id. The provider's delivery receipts refer to it.
    pub fn new(message_id: impl Into<String>) -> Self {
        Self {
            message_id: message_id.into(),
            ..Self::default()
        }
    }

    /// For a provider that returns no id.
    pub fn without_id() -> Self {
        Self::default()
    }

    /// The provider's message id. Empty: it returned none.
    pub fn message_id(&self) -> &str {
        &self.message_id
    }

    /// Adds in how many segments the message is sent, if the provider says so.
    #[must_use]
    pub fn with_segments(self, segments: u32) -> Self {
        Self {
            segments: Some(segments),
            ..self
        }
    }

    /// Adds what the message costs, all segments together, if the provider says so.
    #[must_use]
    pub fn with_cost(self, cost: Money) -> Self {
        Self {
            cost: Some(cost),
            ..self
        }
    }

    /// In how many segments it is sent.
    pub fn segments(&self) -> Option<u32> {
        self.segments
    }

    /// What it costs.
    pub fn cost(&self) -> Option<&Money> {
        self.cost.as_ref()
    }

    pub(crate) fn into_raw(self) -> RawReceipt {
        let mut ext = RVec::new();
        let mut add = |key: &str, value: &str| ext.push(Tuple2(RString::from(key), RString::from(value)));
        if let Some(segments) = self.segments {
            add(receipt_key::SEGMENTS, &segments.to_string());
        }
        if let Some(cost) = &self.cost {
            add(receipt_key::COST, cost.amount());
            add(receipt_key::CURRENCY, cost.currency());
        }
        RawReceipt {
            message_id: RString::from(self.message_id),
            flags: 0,
            ext,
        }
    }

    /// For the host of unit tests.
    #[cfg(feature = "testing")]
    pub(crate) fn from_raw(raw: RawReceipt) -> Self {
        let of = |key: &str| {
            let mut pairs = raw.ext.iter();
            pairs.find(|pair| pair.0 == key).map(|pair| pair.1.to_string())
        };
        Self {
            segments: of(receipt_key::SEGMENTS).and_then(|segments| segments.parse().ok()),
            cost: of(receipt_key::COST)
                .map(|amount| Money::new(amount, of(receipt_key::CURRENCY).unwrap_or_default())),
            message_id: raw.message_id.into_string(),
        }
    }
}

/// The values that the caller of the host passed with the number, for [`crate::Backend::generate_message`].
#[derive(Clone, Default)]
pub struct Context(Map<String, Value>);

impl Context {
    pub(crate) fn from_json(json: &str) -> Self {
        Self(table(json).unwrap_or_default())
    }

    /// The value of this name, if it is a text.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_str()
    }
}

/// Shows names only: the values may be personal.
impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// The result of judging a security code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Verdict {
    /// The right code.
    Valid,
    /// A wrong code.
    Invalid,
    /// The right code, after its expiry.
    Expired,
    /// The right code, used before.
    AlreadyVerified,
    /// There is no such session.
    SessionTokenInvalid,
    /// The session has no attempts left.
    TooManyAttempts,
}

impl Verdict {
    pub(crate) fn to_raw(self) -> u16 {
        match self {
            Self::Valid => verdict::VALID,
            Self::Invalid => verdict::INVALID,
            Self::Expired => verdict::EXPIRED,
            Self::AlreadyVerified => verdict::ALREADY_VERIFIED,
            Self::SessionTokenInvalid => verdict::SESSION_TOKEN_INVALID,
            Self::TooManyAttempts => verdict::TOO_MANY_ATTEMPTS,
        }
    }

    /// A number that this version does not know counts as invalid: it must never let a code pass.
    pub(crate) fn from_raw(raw: u16) -> Self {
        match raw {
            verdict::VALID => Self::Valid,
            verdict::EXPIRED => Self::Expired,
            verdict::ALREADY_VERIFIED => Self::AlreadyVerified,
            verdict::SESSION_TOKEN_INVALID => Self::SessionTokenInvalid,
            verdict::TOO_MANY_ATTEMPTS => Self::TooManyAttempts,
            _ => Self::Invalid,
        }
    }
}
