//! `phone-verify decisions`: shows what the guard against SMS pumping decided, and why.
//!
//! Reads the store alone, so it works even if the backend's library is missing. It creates no database: a mistake in
//! the settings would otherwise look like an empty one.

use clap::Args;
use serde_json::{Value, json};

use super::{Common, output::Failure, whoami};
use crate::{
    clock::Clock,
    daemon,
    model::guard::{Action, Decision},
};

#[derive(Args)]
pub(super) struct Decisions {
    /// How many of the latest to show
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    last: u32,
    #[command(flatten)]
    pub(super) common: Common,
}

impl Decisions {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let settings = self.common.load()?;
        let clock = Clock::system();
        let store =
            daemon::administration(&settings, &clock, whoami()).map_err(|problem| Failure::of([problem]))?;
        let mut decisions = super::runtime()?
            .block_on(store.decisions(self.last))
            .map_err(|error| Failure::failed(error.to_string()))?;
        // The store keeps service time, which never goes back. A person expects the wall clock.
        for decision in &mut decisions {
            decision.at = clock.shown(decision.at);
        }
        let result: Vec<Value> = decisions.iter().map(shown).collect();
        self.common.output().result(&json!({ "decisions": result }), || {
            if decisions.is_empty() {
                return "nothing spoke against an SMS".into();
            }
            decisions.iter().map(line).collect::<Vec<_>>().join("\n")
        })?;
        Ok(())
    }
}

/// A decision as JSON. `phone-verify export` prints the same.
pub(super) fn shown(decision: &Decision) -> Value {
    json!({
        "at": decision.at.rfc3339(),
        "number": decision.number,
        "country": decision.country,
        "action": decision.action.as_str(),
        "verified_before": decision.verified_before,
        "reasons": decision.reasons,
    })
}

/// A decision as one line of text.
fn line(decision: &Decision) -> String {
    let action = match decision.action {
        Action::Allowed if decision.verified_before => "allowed, for it was verified before",
        Action::Allowed => "allowed",
        Action::Blocked => "blocked",
    };
    let Decision { number, country, .. } = decision;
    format!(
        "{}  {number}  {country:3}  {}  {action}",
        decision.at.rfc3339(),
        decision.reasons.join(" ")
    )
}
