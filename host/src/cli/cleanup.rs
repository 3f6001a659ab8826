//! `phone-verify cleanup`: deletes old records now, with the age of the settings or another one. The daemon does the
//! same regularly, so this is for a daemon that does not run, and for another age.

use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::{Common, output::Failure, whoami};
use crate::{clock::Clock, daemon, model::quantity};

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
        let store =
            daemon::administration(&settings, &clock, whoami()).map_err(|problem| Failure::of([problem]))?;
        let records = super::runtime()?
            .block_on(async {
                if self.dry_run {
                    store.count_records(age).await
                } else {
                    store.delete_records(age).await
                }
            })
            .map_err(|error| Failure::failed(error.to_string()))?;
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
