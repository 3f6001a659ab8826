//! `phone-verify cleanup`: deletes old records now, or others than the daemon deletes by itself.

use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::{Common, output::Failure};
use crate::{
    clock::{Clock, UnixMillis},
    daemon,
    entropy::Entropy,
    store::Deed,
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
        // Needs no backend: old records go even when its library is gone.
        let (store, _) =
            daemon::open_store(&settings, &Entropy::system()).map_err(|problem| Failure::wrong([problem]))?;
        let now = Clock::system().now();
        let before = now
            .0
            .saturating_sub(u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
        let deed = Deed {
            at: now,
            actor: super::whoami(),
            action: "cleanup".to_owned(),
            subject: format!("older than {days} days"),
        };
        let records = super::runtime()?
            .block_on(async {
                if !self.dry_run {
                    store.record_deed(deed).await?;
                }
                store.delete_before(UnixMillis(before), self.dry_run).await
            })
            .map_err(|error| Failure::failed(error.to_string()))?;
        let result = json!({ "records": records, "days": days, "dry_run": self.dry_run });
        self.common.output().result(&result, || {
            let did = if self.dry_run { "would delete" } else { "deleted" };
            format!("{did} {records} records older than {days} days")
        })?;
        Ok(())
    }
}
