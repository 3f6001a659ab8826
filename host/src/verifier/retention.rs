//! Old records leave by themselves while the daemon runs, as long as the settings say.
//!
//! Invariants: what is deleted by itself is in the audit log, like what somebody deletes; what deletes nothing is not.

use std::sync::Arc;
#[cfg(test)]
use std::time::Duration;

use super::{Administration, Verifier};
use crate::store::StoreError;

impl Verifier {
    /// The store, to be administrated in the name of `actor`.
    pub fn administration(&self, actor: String) -> Administration {
        Administration::new(Arc::clone(&self.store), self.clock.clone(), actor)
    }

    /// Deletes what is older than the settings keep, if there is anything: records, and entries of the audit log.
    /// Several processes may do it at once. Returns how many records.
    pub async fn delete_old_records(&self) -> Result<u64, StoreError> {
        let daemon = self.administration("daemon".to_owned());
        daemon.delete_audit_entries(self.policy.audit_retention).await?;
        daemon
            .delete_records_cautiously(self.policy.record_retention)
            .await
    }

    /// Deletes what began longer ago than `age`, without a trace; with `dry_run` it is only counted. Returns how many.
    #[cfg(test)]
    pub(crate) async fn cleanup(&self, age: Duration, dry_run: bool) -> Result<u64, StoreError> {
        self.store
            .delete_before(self.clock.now().minus(age), dry_run)
            .await
    }
}
