//! Tells the service manager that the daemon is alive, as long as that is so: the runtime runs this task, and the store
//! answers. A store that answers with an error, as of a full disk, is alive: to start the daemon anew would mend
//! nothing.
//!
//! Invariant: nothing is reported on behalf of a store that does not answer.

use std::{sync::Arc, time::Duration};

use tokio::time::{MissedTickBehavior, interval, timeout};

use super::service_manager::ServiceManager;
use crate::store::Store;

/// Into so many parts the time is divided within which the service manager must hear that the daemon lives: it is asked
/// after each, and has two for its answer.
const PARTS: u32 = 4;

/// Asks the store and notifies until it is aborted; returns at once if no watchdog is set.
pub(super) async fn watch(manager: Arc<ServiceManager>, store: Arc<dyn Store>) {
    let Some(within) = manager.watchdog() else { return };
    let mut ticks = interval(within / PARTS);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut answered = true;
    loop {
        ticks.tick().await;
        let answers = answers_within(&*store, within / PARTS * 2).await;
        match (answers, answered) {
            (true, false) => {
                tracing::info!("the store answers again");
                manager.status("The store answers again");
            }
            (false, true) => {
                tracing::error!(
                    "the store does not answer: the service manager is not told that the daemon lives, and will start it \
                     anew unless that changes"
                );
                manager.status("The store does not answer");
            }
            _ => {}
        }
        if answers {
            manager.lives();
        }
        answered = answers;
    }
}

async fn answers_within(store: &dyn Store, patience: Duration) -> bool {
    timeout(patience, store.ready()).await.is_ok()
}
