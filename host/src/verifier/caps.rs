//! How much of the caps on the whole service and on each country is used, so that an operator can act before they are
//! full.

use std::{fmt, sync::Arc};

use super::{RateLimits, Verifier};
use crate::{
    model::{Limit, limits::Share},
    store::{Counted, StoreError},
};

/// Warn once this share of what unknown numbers may use is used, in percent.
const NEAR_PERCENT: u64 = 80;

/// A cap, and how much of it is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CapUse {
    /// [`Limit::code`].
    pub code: &'static str,
    /// The ISO 3166 code of the country that it is the cap of; empty: of the whole service, or of numbers of no
    /// country.
    pub country: String,
    /// Counted within the window that ends now: SMS, or millionths of the currency.
    pub used: u64,
    /// The bound on that.
    pub max: u64,
    /// The lower bound for an unknown number: one that was not verified before.
    pub open: u64,
    is_money: bool,
}

impl CapUse {
    fn of(limit: &Limit, country: &str, used: u64, is_money: bool) -> Self {
        Self {
            code: limit.code,
            country: country.to_owned(),
            used,
            max: limit.max,
            open: limit.max_for(Share::Open),
            is_money,
        }
    }

    /// Whether an operator should act: 80 % of what unknown numbers may use is used, which is never later than 80 % of
    /// the cap.
    pub fn is_near(&self) -> bool {
        self.used.saturating_mul(100) >= self.open.saturating_mul(NEAR_PERCENT)
    }

    /// Whether unknown numbers are refused.
    pub fn is_full_for_strangers(&self) -> bool {
        self.used >= self.open
    }

    /// The used share of the cap, from 0 to 1.
    #[expect(clippy::cast_precision_loss, reason = "a ratio for people needs no 53 bits")]
    pub fn ratio(&self) -> f64 {
        self.used as f64 / self.max as f64
    }

    /// The share of the cap from which on unknown numbers are refused, from 0 to 1.
    #[expect(clippy::cast_precision_loss, reason = "a ratio for people needs no 53 bits")]
    pub fn open_ratio(&self) -> f64 {
        self.open as f64 / self.max as f64
    }

    fn amount(&self, amount: u64) -> String {
        if !self.is_money {
            return amount.to_string();
        }
        let (units, millionths) = (amount / 1_000_000, amount % 1_000_000);
        let text = format!("{units}.{millionths:06}");
        let text = text.trim_end_matches('0');
        text.strip_suffix('.').unwrap_or(text).to_owned()
    }
}

impl fmt::Display for CapUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code)?;
        if !self.country.is_empty() {
            write!(f, " of {}", self.country)?;
        }
        let percent = self.used.saturating_mul(100) / self.max.max(1);
        let (used, max) = (self.amount(self.used), self.amount(self.max));
        write!(f, ": {used} of {max} are used ({percent} %)")?;
        if self.open < self.max {
            let open = self.amount(self.open);
            write!(
                f,
                "; from {open} on, only numbers that were verified before and countries whose codes come back are served"
            )?;
        }
        f.write_str("; raise it in [limits] if people ask for this, else see phone-verify decisions")
    }
}

impl RateLimits {
    fn caps(&self, counted: Counted) -> Option<&Arc<[Limit]>> {
        match counted {
            Counted::Country => Some(&self.country),
            Counted::Service => Some(&self.service),
            Counted::Spend => Some(&self.spend),
            _ => None,
        }
    }
}

impl Verifier {
    /// How much of each cap is used, for all processes on the database. An unused cap is included;
    /// of countries, only those that SMS went to lately.
    pub async fn caps(&self) -> Result<Vec<CapUse>, StoreError> {
        let logs = self.store.caps().await?;
        let now = self.clock.now();
        let mut caps = Vec::new();
        for counted in [Counted::Service, Counted::Spend, Counted::Country] {
            let limits = self
                .policy
                .limits
                .caps(counted)
                .into_iter()
                .flat_map(|limits| limits.iter());
            let is_money = counted == Counted::Spend;
            for limit in limits {
                let mut logs = logs.iter().filter(|cap| cap.counted == counted).peekable();
                if logs.peek().is_none() && counted != Counted::Country {
                    caps.push(CapUse::of(limit, "", 0, is_money));
                }
                caps.extend(logs.map(|cap| {
                    let used = cap.log.within(limit.window, now);
                    CapUse::of(limit, &cap.country, used, is_money)
                }));
            }
        }
        Ok(caps)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn cap(max: u64, used: u64, is_money: bool) -> CapUse {
        let limit = Limit {
            reserved_percent: 20,
            ..Limit::new("spend_per_day", max, Duration::from_secs(1))
        };
        CapUse::of(&limit, "", used, is_money)
    }

    #[test]
    fn it_is_told_before_strangers_are_refused() {
        let told = |used| {
            (
                cap(100, used, false).is_near(),
                cap(100, used, false).is_full_for_strangers(),
            )
        };
        assert_eq!(told(63), (false, false));
        assert_eq!(told(64), (true, false));
        assert_eq!(told(79), (true, false));
        assert_eq!(told(80), (true, true));
    }

    #[test]
    fn money_is_told_in_units_of_the_currency() {
        assert!(
            cap(50_000_000, 40_050_000, true)
                .to_string()
                .starts_with("spend_per_day: 40.05 of 50 are used (80 %); from 40 on, only numbers")
        );
    }
}
