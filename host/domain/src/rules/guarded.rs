//! What the pumping guard asks of the store: to judge a registration by what came back of others, and to remember
//! what it decided.

use serde::{Deserialize, Serialize};

use super::counter::CounterKey;
use crate::{
    clock::UnixMillis,
    model::guard::{Budgets, Reason},
};

/// Where the guard counts a registration, and its verification.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct GuardKeys {
    /// What is remembered of the number.
    pub number: CounterKey,
    /// Codes for numbers of this prefix that did not come back.
    pub prefix: CounterKey,
    /// Codes for this country that did not come back.
    pub country: CounterKey,
    /// The days of this country.
    pub history: CounterKey,
    /// The countries of the client's address; `None`: it is not known.
    pub address: Option<CounterKey>,
    /// The country's ISO 3166 code, filled up with zeros.
    pub country_code: [u8; 3],
}

/// A registration under guard.
#[derive(Clone, Debug)]
pub struct Guarded {
    /// Where it is counted.
    pub keys: GuardKeys,
    /// What speaks against the number itself.
    pub reasons: Vec<Reason>,
    /// How many codes may not come back.
    pub budgets: Budgets,
    /// Whether it is refused for a reason, or the reason only recorded. A number that was verified before is never
    /// refused.
    pub enforce: bool,
}

impl Guarded {
    /// One that was judged before, and counted there.
    pub fn judged_before(keys: GuardKeys) -> Self {
        Self {
            keys,
            reasons: Vec::new(),
            budgets: Budgets::default(),
            enforce: false,
        }
    }
}

/// A message is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocked {
    /// Why.
    pub reason: Reason,
    /// Until when; `None`: for as long as the settings are what they are.
    pub until: Option<UnixMillis>,
}
