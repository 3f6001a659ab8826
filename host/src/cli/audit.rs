//! `phone-verify audit`: shows which user or process did what, from the audit log.
//!
//! Reads the store alone, so it works even if the backend's library is missing. It creates no database: a mistake in
//! the settings would otherwise look like an empty one.

use clap::Args;
use serde_json::{Value, json};

use super::{Common, output::Failure, whoami};
use crate::{clock::Clock, daemon};

#[derive(Args)]
pub(super) struct Audit {
    /// How many of the latest to show
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    last: u32,
    #[command(flatten)]
    pub(super) common: Common,
}

impl Audit {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let settings = self.common.load()?;
        let clock = Clock::system();
        let store =
            daemon::administration(&settings, &clock, whoami()).map_err(|problem| Failure::of([problem]))?;
        let entries = super::runtime()?
            .block_on(store.latest_audit_entries(self.last))
            .map_err(|error| Failure::failed(error.to_string()))?;
        // The store keeps service time, which never goes back. A person expects the wall clock.
        let time = |entry: &crate::store::AuditEntry| clock.shown(entry.at).rfc3339();
        let result: Vec<Value> = entries
            .iter()
            .map(|entry| {
                json!({ "at": time(entry), "actor": entry.actor, "action": entry.action, "subject": entry.subject })
            })
            .collect();
        self.common.output().result(&json!({ "entries": result }), || {
            let lines = entries.iter().map(|entry| {
                format!(
                    "{}  {}  {}  {}",
                    time(entry),
                    entry.actor,
                    entry.action,
                    entry.subject
                )
            });
            if entries.is_empty() {
                return "nothing is recorded".to_owned();
            }
            lines.collect::<Vec<_>>().join("\n")
        })?;
        Ok(())
    }
}
