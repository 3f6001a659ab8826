//! Old records leave: by themselves while the daemon runs, and when an operator says so.
//!
//! Invariant: what is deleted by itself is in the audit log, like what somebody deletes.

use std::time::Duration;

use super::Verifier;
use crate::{
    clock::UnixMillis,
    store::{Deed, StoreError},
};

impl Verifier {
    /// Deletes what is older than the settings keep, if there is anything. Several processes may do it at once.
    /// Returns how many.
    pub async fn delete_old_records(&self) -> Result<u64, StoreError> {
        let age = self.policy.record_retention;
        if self.cleanup(age, true).await? == 0 {
            return Ok(0);
        }
        let deed = Deed {
            at: self.clock.now(),
            actor: "daemon".to_owned(),
            action: "cleanup".to_owned(),
            subject: format!("older than {} days", age.as_secs() / (24 * 60 * 60)),
        };
        self.store.record_deed(deed).await?;
        self.cleanup(age, false).await
    }

    /// Deletes what began longer ago than `age`; with `dry_run` it is only counted. Returns how many.
    pub async fn cleanup(&self, age: Duration, dry_run: bool) -> Result<u64, StoreError> {
        let age = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        self.store
            .delete_before(UnixMillis(self.clock.now().0.saturating_sub(age)), dry_run)
            .await
    }
}
