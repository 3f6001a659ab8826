//! `phone-verify cleanup`: deletes old records now, with the age of the settings or another one. The daemon does the
//! same regularly, so this is for a daemon that does not run, and for another age.

use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::{Common, output::Failure};
use crate::{
    clock::Clock,
    daemon,
    entropy::Entropy,
    model::quantity,
    store::{AuditEntry, StoreError},
};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

#[derive(Args)]
pub(super) struct Cleanup {
    /// Delete what is older than so many days, 0 being all, pending codes too; else than `RECORD_RETENTION_DAYS`
    #[arg(long, value_parser = clap::value_parser!(u32).range(0..=36_500))]
    days: Option<u32>,
    /// Only say how many there are
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    pub(super) common: Common,
}

impl Cleanup {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let settings = self.common.load()?;
        let kept = settings.phone_verification.record_retention;
        let age = self.days.map_or(kept, |days| DAY * days);
        let days = age.as_secs() / DAY.as_secs();
        // Uses only the store: old records must be deletable even if the backend's library is missing.
        let clock = Clock::system();
        let (store, _) = daemon::open_existing_store(&settings, &clock, &Entropy::system())
            .map_err(|problem| Failure::of([problem]))?;
        let now = clock.now();
        let before = now.minus(age);
        let entry = AuditEntry {
            at: now,
            actor: super::whoami(),
            action: "cleanup".to_owned(),
            subject: format!("older than {}", quantity(days, "day", "days")),
        };
        let records = super::runtime()?
            .block_on(async {
                // Count first: a run that deletes nothing is not recorded in the audit log.
                let found = store.delete_before(before, true).await?;
                if self.dry_run || found == 0 {
                    return Ok(found);
                }
                store.record_audit_entry(entry).await?;
                store.delete_before(before, false).await
            })
            .map_err(|error: StoreError| Failure::failed(error.to_string()))?;
        let result = json!({ "records": records, "days": days, "dry_run": self.dry_run });
        self.common.output().result(&result, || {
            let did = if self.dry_run { "would delete" } else { "deleted" };
            format!(
                "{did} {} older than {}",
                quantity(records, "record", "records"),
                quantity(days, "day", "days")
            )
        })?;
        Ok(())
    }
}
