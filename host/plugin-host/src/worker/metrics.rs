//! What is counted of worker processes. A process starts or ends rarely, so a lock is cheap enough.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

/// Counts worker processes, by the library that they run.
#[derive(Debug, Default)]
pub struct WorkerMetrics(Mutex<WorkerCounts>);

/// What was counted until now.
#[derive(Clone, Debug, Default)]
pub struct WorkerCounts {
    /// Processes that were started, by library.
    pub started: BTreeMap<String, u64>,
    /// Processes that ended, by library and cause, which is one of a few words.
    pub ended: BTreeMap<(String, &'static str), u64>,
    /// The library that a process runs now, by process id.
    pub running: BTreeMap<u32, String>,
}

impl WorkerMetrics {
    /// What was counted until now.
    pub fn counts(&self) -> WorkerCounts {
        self.change(|counts| counts.clone())
    }

    pub(super) fn started(&self, library: &str, process: u32) {
        self.change(|counts| {
            *counts.started.entry(library.to_owned()).or_default() += 1;
            counts.running.insert(process, library.to_owned());
        });
    }

    pub(super) fn ended(&self, library: &str, process: u32, cause: &'static str) {
        self.change(|counts| {
            *counts.ended.entry((library.to_owned(), cause)).or_default() += 1;
            counts.running.remove(&process);
        });
    }

    fn change<T>(&self, change: impl FnOnce(&mut WorkerCounts) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
