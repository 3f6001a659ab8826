//! Old records leave: by themselves while the daemon runs, and when an operator says so.
//!
//! Invariants: what is deleted by itself is in the audit log, like what somebody deletes; what deletes nothing is not.

use std::time::Duration;

use super::Verifier;
use crate::{
    model::quantity,
    store::{AuditEntry, StoreError},
};

const SECONDS_OF_A_DAY: u64 = 24 * 60 * 60;

impl Verifier {
    /// Deletes what is older than the settings keep, if there is anything: records, and entries of the audit log. Several
    /// processes may do it at once. Returns how many records.
    pub async fn delete_old_records(&self) -> Result<u64, StoreError> {
        self.delete_old_audit_entries().await?;
        let age = self.policy.record_retention;
        let before = self.clock.ago(age);
        if self.store.delete_before(before, true).await? == 0 {
            return Ok(0);
        }
        let entry = AuditEntry {
            at: self.clock.now(),
            actor: "daemon".to_owned(),
            action: "cleanup".to_owned(),
            subject: format!("older than {}", in_days(age)),
        };
        self.store.record_audit_entry(entry).await?;
        self.store.delete_before(before, false).await
    }

    async fn delete_old_audit_entries(&self) -> Result<(), StoreError> {
        let age = self.policy.audit_retention;
        let now = self.clock.now();
        if self
            .store
            .delete_audit_entries_before(self.clock.ago(age))
            .await?
            == 0
        {
            return Ok(());
        }
        let entry = AuditEntry {
            at: now,
            actor: "daemon".to_owned(),
            action: "cleanup".to_owned(),
            subject: format!("audit log older than {}", in_days(age)),
        };
        self.store.record_audit_entry(entry).await
    }

    /// Deletes what began longer ago than `age`; with `dry_run` it is only counted. Returns how many.
    pub async fn cleanup(&self, age: Duration, dry_run: bool) -> Result<u64, StoreError> {
        self.store
            .delete_before(self.clock.now().minus(age), dry_run)
            .await
    }
}

fn in_days(age: Duration) -> String {
    quantity(age.as_secs() / SECONDS_OF_A_DAY, "day", "days")
}
