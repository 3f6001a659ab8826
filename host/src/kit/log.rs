//! Captures the log of a check process, so that a check can search it for secrets, floods of lines and reported misuse.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};

use tracing_subscriber::{filter::LevelFilter, fmt};

/// Log output beyond this is dropped. A check that counts lines fails a flooding library long before.
const MAX_BYTES: usize = 8 << 20;

/// The captured log output. Clones share one buffer.
#[derive(Clone, Default)]
pub(super) struct KeptLog(Arc<Mutex<Vec<u8>>>);

impl KeptLog {
    /// Starts capturing. The subscriber is global to the process, so only the first call takes effect.
    pub(super) fn start() -> Self {
        let log = Self::default();
        let writer = log.clone();
        let _ = fmt()
            .with_max_level(LevelFilter::TRACE)
            .with_ansi(false)
            .without_time()
            .with_writer(move || writer.clone())
            .try_init();
        log
    }

    /// Removes and returns the lines captured since the last call.
    pub(super) fn take(&self) -> Vec<String> {
        let bytes = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        String::from_utf8_lossy(&bytes)
            .lines()
            .map(str::to_owned)
            .collect()
    }
}

impl io::Write for KeptLog {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < MAX_BYTES {
            kept.extend_from_slice(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
