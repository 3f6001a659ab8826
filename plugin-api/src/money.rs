//! What a message costs, and what is left of an account: decimals as the provider writes them, without rounding.

use phone_verify_plugin_abi::{
    RawBalance,
    abi_stable::std_types::{RString, RVec},
};

/// An amount in a currency.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Money {
    amount: String,
    currency: String,
}

impl Money {
    /// A decimal such as `0.0333`, and a currency by ISO 4217, such as `EUR`. A price has no sign; the balance of an
    /// account may be negative, and of an unknown currency, which is empty. The host ignores a price that is not that.
    pub fn new(amount: impl Into<String>, currency: impl Into<String>) -> Self {
        Self {
            amount: amount.into(),
            currency: currency.into(),
        }
    }

    /// The amount, as it was given.
    pub fn amount(&self) -> &str {
        &self.amount
    }

    /// The currency, as it was given.
    pub fn currency(&self) -> &str {
        &self.currency
    }

    pub(crate) fn into_balance(self) -> RawBalance {
        RawBalance {
            amount: RString::from(self.amount),
            currency: RString::from(self.currency),
            flags: 0,
            ext: RVec::new(),
        }
    }
}
