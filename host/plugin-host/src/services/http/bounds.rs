//! What the requests of one backend may take of this process at once: connections, of which a process has few, and
//! memory for the answers.
//!
//! Invariant: a backend that asks for more waits, or gets an error; no other backend notices.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Semaphore, SemaphorePermit};

/// All answers that are being read: some tens of thousands of usual ones, and 64 of the longest.
const MAX_HELD_BYTES: usize = 64 << 20;

/// The bounds of one backend.
pub(crate) struct Bounds {
    requests: Semaphore,
    held_bytes: AtomicUsize,
}

impl Bounds {
    pub(crate) fn new(requests_at_once: usize) -> Self {
        Self {
            requests: Semaphore::new(requests_at_once),
            held_bytes: AtomicUsize::new(0),
        }
    }

    /// Waits until another request may begin, and counts it until the permit is dropped.
    pub(super) async fn admit(&self) -> Option<SemaphorePermit<'_>> {
        // It is never closed.
        self.requests.acquire().await.ok()
    }

    /// An answer of which nothing is there yet.
    pub(super) fn answer(&self) -> Answer<'_> {
        Answer {
            bounds: self,
            bytes: 0,
        }
    }
}

/// The memory of an answer, until it is handed on.
pub(super) struct Answer<'a> {
    bounds: &'a Bounds,
    bytes: usize,
}

impl Answer<'_> {
    /// Counts more of it. Returns whether there is room.
    pub(super) fn grow(&mut self, bytes: usize) -> bool {
        self.bytes += bytes;
        let before = self.bounds.held_bytes.fetch_add(bytes, Ordering::Relaxed);
        before + bytes <= MAX_HELD_BYTES
    }
}

impl Drop for Answer<'_> {
    fn drop(&mut self) {
        self.bounds.held_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answers_of_a_backend_share_a_bound_and_give_back_what_they_took() {
        let bounds = Bounds::new(1);
        let (mut first, mut second) = (bounds.answer(), bounds.answer());
        assert!(first.grow(MAX_HELD_BYTES - 1));
        assert!(second.grow(1));
        assert!(!second.grow(1));
        drop((first, second));
        assert!(bounds.answer().grow(MAX_HELD_BYTES));
    }
}
