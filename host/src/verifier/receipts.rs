//! What providers report about messages: recorded, counted, and kept for a while if the message is not known yet.
//!
//! Invariant: what was acknowledged to a provider is durable. It may forget the report then.

use std::{sync::Arc, time::Duration};

use tokio::time::{sleep, timeout};

use super::Verifier;
use crate::{
    metrics::ReceiptMetrics,
    model::{DeliveryReport, ReportedMessage},
    store::{ReportOutcome, StoreError},
};

/// How soon kept reports are looked at, and looked at again while there are any. The record of a provider's answer takes
/// milliseconds, so most wait once.
const EARLY_PAUSE: Duration = Duration::from_secs(1);
/// How often they are looked for otherwise: another process may have left some.
const SWEEP_INTERVAL: Duration = Duration::from_secs(30);

impl Verifier {
    /// What is counted of reports.
    pub fn receipt_metrics(&self) -> Arc<ReceiptMetrics> {
        Arc::clone(&self.receipts)
    }

    /// Whether this is the secret part of the address for the receipts of the member of this name.
    pub fn is_receipt_secret(&self, member: &str, given: &str) -> bool {
        self.keyring.is_receipt_secret(member, given)
    }

    /// Records what the provider of a backend reports. `member`: its name in the settings; `backend`: what its messages
    /// are recorded under.
    pub async fn record_reports(
        &self,
        member: &str,
        backend: &Arc<str>,
        reports: Vec<DeliveryReport>,
    ) -> Result<(), StoreError> {
        let now = self.clock.now();
        let outcomes = self
            .store
            .apply_reports(member, backend, reports.clone(), now)
            .await?;
        for (report, outcome) in reports.iter().zip(&outcomes) {
            self.receipts.reported(backend, report, outcome);
            match outcome {
                ReportOutcome::Recorded(message) => log(message),
                ReportOutcome::Early => self.early_report.notify_one(),
                ReportOutcome::NothingNew | ReportOutcome::Unknown => {}
            }
        }
        Ok(())
    }

    /// Records the kept reports whose message is known by now. Returns how many are still kept.
    pub async fn record_early_reports(&self) -> Result<u64, StoreError> {
        let applied = self.store.apply_early_reports(self.clock.now()).await?;
        for message in &applied.recorded {
            self.receipts.recorded_later(message);
            log(message);
        }
        self.receipts.given_up(applied.unknown);
        Ok(applied.waiting)
    }

    /// Waits until there may be kept reports.
    pub async fn early_reports(&self) {
        let _ = timeout(SWEEP_INTERVAL, self.early_report.notified()).await;
    }

    /// Records kept reports whenever there are any, without end.
    pub async fn watch_early_reports(&self) {
        loop {
            self.early_reports().await;
            loop {
                sleep(EARLY_PAUSE).await;
                match self.record_early_reports().await {
                    Ok(0) => break,
                    Ok(_) => {}
                    Err(error) => {
                        tracing::error!(%error, "delivery reports that were kept cannot be recorded");
                        break;
                    }
                }
            }
        }
    }
}

fn log(message: &ReportedMessage) {
    if message.is_new_state {
        tracing::debug!(
            verification = %message.verification,
            backend = message.backend,
            code = message.reported.code,
            "reported as {}",
            message.delivery.state()
        );
    }
}
