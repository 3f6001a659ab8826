//! Logs a warning when a cap of the limits is nearly used up, and again when there is room.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tokio::time::{MissedTickBehavior, interval};

use crate::http::App;

/// How often the caps are checked. A flood fills one within minutes.
const INTERVAL: Duration = Duration::from_secs(5);

/// Checks the caps until the task is aborted.
pub(super) async fn watch(app: Arc<App>) {
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut told = BTreeSet::new();
    loop {
        ticks.tick().await;
        let caps = match app.live.get().verifier.caps().await {
            Ok(caps) => caps,
            Err(error) => {
                tracing::error!(%error, "how much of the caps is used cannot be read");
                continue;
            }
        };
        let mut near = BTreeSet::new();
        for cap in caps.iter().filter(|cap| cap.is_near()) {
            // Warn once when it is near, and once more when unknown numbers are refused.
            let key = (cap.code, cap.country.clone(), cap.is_full_for_strangers());
            if !told.contains(&key) {
                tracing::warn!(
                    limit = cap.code,
                    country = cap.country,
                    used = cap.used,
                    max = cap.max,
                    "{cap}"
                );
            }
            near.insert((cap.code, cap.country.clone(), false));
            near.insert(key);
        }
        for (code, country, is_full) in told.difference(&near) {
            if !is_full {
                tracing::info!(limit = code, country, "there is room in the cap again");
            }
        }
        told = near;
    }
}
