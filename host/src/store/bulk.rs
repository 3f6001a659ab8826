//! One text to many numbers: a job that survives an interruption.

use std::fmt;

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::model::PhoneNumber;

/// Names a job by what it sends to whom, so that the same command finds it again.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct JobId(pub [u8; 16]);

impl JobId {
    /// The job that sends this text to these numbers. `again` tells repetitions apart.
    pub fn of(numbers: &[PhoneNumber], message: &str, again: &str) -> Self {
        let mut hash = Sha256::new();
        for part in numbers.iter().map(PhoneNumber::e164).chain([message, again]) {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        let mut id = [0; 16];
        id.copy_from_slice(&hash.finalize()[..16]);
        Self(id)
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Numbers of a job that this process alone may text, until their lease lapses.
pub struct BulkBatch {
    /// The text.
    pub message: Zeroizing<String>,
    /// Their places in the job, and the numbers.
    pub items: Vec<(u64, PhoneNumber)>,
}

/// How far a job is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct BulkProgress {
    /// All numbers.
    pub total: u64,
    /// Taken by the provider.
    pub sent: u64,
    /// Certainly not sent.
    pub failed: u64,
    /// Perhaps sent.
    pub unknown: u64,
    /// Not tried yet.
    pub waiting: u64,
}

impl BulkProgress {
    /// How many need nothing more.
    pub fn settled(&self) -> u64 {
        self.sent + self.failed + self.unknown
    }
}

/// A number of a job that was not, or perhaps not, sent.
#[derive(Clone, Debug)]
pub struct BulkFailure {
    /// The number.
    pub number: PhoneNumber,
    /// The failure class.
    pub class: String,
    /// The provider's code or the host's own.
    pub code: String,
}
