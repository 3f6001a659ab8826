//! What operators, and the daemon by itself, do with what is stored: delete what is old, show or delete what is stored
//! about one number, begin bulk jobs, read the logs. It needs no backend, so all of that works where a library is
//! missing.
//!
//! Invariants: every entry of the audit log is written here, or by the transaction that it is about. What deletes or
//! discloses records is recorded before it happens; what changes nothing is not recorded. Only of entries of the audit
//! log itself it is recorded afterwards that they were deleted, since nobody knows before whether any are.

use std::{sync::Arc, time::Duration};

use crate::{
    clock::{Clock, UnixMillis},
    model::{Event, PhoneNumber, guard::Decision, quantity},
    rules::attempt::Terms,
    store::{AuditEntry, BulkProgress, CheckRules, JobId, Records, Store, StoreError, WhichEvents},
};

const SECONDS_OF_A_DAY: u64 = 24 * 60 * 60;
/// How long events are kept, or as long as records if that is less.
const EVENTS_KEPT: Duration = Duration::from_secs(3 * SECONDS_OF_A_DAY);

/// Administrates a store in somebody's name.
pub struct Administration {
    store: Arc<dyn Store>,
    clock: Clock,
    actor: String,
}

impl Administration {
    /// `actor`: who does it, for the audit log: `daemon`, `api:shop`, `uid:1000`.
    pub fn new(store: Arc<dyn Store>, clock: Clock, actor: String) -> Self {
        Self { store, clock, actor }
    }

    /// The time that its entries have.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Counts the verifications, bulk jobs and decisions from longer ago than `age`.
    pub async fn count_records(&self, age: Duration) -> Result<u64, StoreError> {
        let before = self.clock.now().minus(age);
        self.store.delete_before(before, true).await
    }

    /// Deletes them. Returns how many.
    pub async fn delete_records(&self, age: Duration) -> Result<u64, StoreError> {
        self.delete_records_before(self.clock.now().minus(age), age).await
    }

    /// Deletes them, and spares those that are so old only because a clock ran ahead.
    pub async fn delete_records_cautiously(&self, age: Duration) -> Result<u64, StoreError> {
        self.delete_records_before(self.clock.ago(age), age).await
    }

    async fn delete_records_before(&self, before: UnixMillis, age: Duration) -> Result<u64, StoreError> {
        // They only tell what records have, so that they leave is not in the audit log.
        let events = before.plus(age.saturating_sub(EVENTS_KEPT));
        self.store.delete_events_before(events).await?;
        // Counted first: what deletes nothing is not recorded.
        if self.store.delete_before(before, true).await? == 0 {
            return Ok(0);
        }
        self.record("cleanup", format!("older than {}", in_days(age)))
            .await?;
        self.store.delete_before(before, false).await
    }

    /// Deletes the entries of the audit log from longer ago than `age`, unless they are so old only because a clock ran
    /// ahead.
    pub async fn delete_audit_entries(&self, age: Duration) -> Result<(), StoreError> {
        let deleted = self.store.delete_audit_entries_before(self.clock.ago(age));
        if deleted.await? == 0 {
            return Ok(());
        }
        self.record("cleanup", format!("audit log older than {}", in_days(age)))
            .await
    }

    /// All that is stored about a number, judged by these rules. Recorded even if there is nothing: it discloses
    /// personal data.
    pub async fn export(
        &self,
        number: &PhoneNumber,
        only_once: bool,
        max_failed_attempts: u32,
    ) -> Result<Records, StoreError> {
        let rules = CheckRules {
            terms: Terms {
                now: self.clock.now(),
                only_once,
                max_failed_attempts,
                bound: None,
            },
            failed_checks: None,
            guard: None,
        };
        self.record("export", number.masked()).await?;
        self.store.records_of(number, rules).await
    }

    /// Counts all that is stored about a number.
    pub async fn count_records_of(&self, number: &PhoneNumber) -> Result<u64, StoreError> {
        self.store.forget(number, None).await
    }

    /// Deletes all that is stored about a number. Returns how many records. The entry names the number masked: it must
    /// not be readable in the audit log either.
    pub async fn forget(&self, number: &PhoneNumber) -> Result<u64, StoreError> {
        let entry = self.entry("forget", number.masked());
        self.store.forget(number, Some(entry)).await
    }

    /// Begins a bulk job, or goes on with the one of this name. Returns whether it is new, and how far it is. A job
    /// without anything left to send is not recorded.
    pub async fn begin_job(
        &self,
        job: JobId,
        numbers: &[PhoneNumber],
        text: &str,
    ) -> Result<(bool, BulkProgress), StoreError> {
        let now = self.clock.now();
        let begun = self.store.begin_bulk(job, numbers.to_vec(), text.to_owned(), now);
        let (is_new, progress) = (begun.await?, self.store.bulk_progress(job).await?);
        if is_new || progress.waiting > 0 {
            let numbers = quantity(numbers.len(), "number", "numbers");
            self.record("send", format!("job {job}, {numbers}")).await?;
        }
        Ok((is_new, progress))
    }

    /// The latest decisions of the guard about registrations that something spoke against, the latest one first.
    pub async fn decisions(&self, limit: u32) -> Result<Vec<Decision>, StoreError> {
        self.store.decisions(limit).await
    }

    /// Recorded events, in the order in which they happened.
    pub async fn events(&self, which: WhichEvents) -> Result<Vec<Event>, StoreError> {
        self.store.events(which).await
    }

    /// The latest entries of the audit log, the oldest of them first.
    pub async fn latest_audit_entries(&self, limit: u32) -> Result<Vec<AuditEntry>, StoreError> {
        self.store.latest_audit_entries(limit).await
    }

    /// Records that something was done, such as a backup, of which the store knows nothing.
    pub async fn record(&self, action: &str, subject: String) -> Result<(), StoreError> {
        self.store.record_audit_entry(self.entry(action, subject)).await
    }

    /// For a transaction that records itself.
    pub(super) fn entry(&self, action: &str, subject: String) -> AuditEntry {
        AuditEntry {
            at: self.clock.now(),
            actor: self.actor.clone(),
            action: action.to_owned(),
            subject,
        }
    }
}

fn in_days(age: Duration) -> String {
    quantity(age.as_secs() / SECONDS_OF_A_DAY, "day", "days")
}
