//! One text to many numbers: a job that survives an interruption.

use std::fmt;

use zeroize::Zeroizing;

use crate::{
    clock::UnixMillis,
    entropy::{Entropy, NoEntropy},
    model::{FailureClass, PhoneNumber},
    rules::bulk::State,
};

/// Names a job by what it sends to whom, so that the same command finds it again. It is a keyed digest
/// ([`Keyring::job_id`](super::Keyring::job_id)): a short list of numbers cannot be guessed from it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct JobId(pub [u8; 16]);

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

/// Names one run of a job: one process, from its start to its end.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RunId(pub [u8; 16]);

impl RunId {
    /// A new one.
    pub fn generate(entropy: &Entropy) -> Result<Self, NoEntropy> {
        entropy.array().map(Self)
    }
}

/// What a run got when it asked for numbers.
pub enum BulkLease {
    /// Numbers that this run alone may text.
    Batch(BulkBatch),
    /// No number waits.
    NothingWaits,
    /// Another run has the job.
    HeldByAnother {
        /// Until then, if it does not renew its lease.
        until: UnixMillis,
    },
}

/// Numbers of a job that a run is to text.
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
    /// Not tried yet, or under way.
    pub waiting: u64,
}

impl BulkProgress {
    /// Counts numbers that stand there.
    pub fn count(&mut self, state: &State, numbers: u64) {
        self.total += numbers;
        let place = match state {
            State::Sent => &mut self.sent,
            State::Waiting | State::Leased => &mut self.waiting,
            State::Failed { class, .. } if class == FailureClass::OutcomeUnknown.as_str() => {
                &mut self.unknown
            }
            State::Failed { .. } => &mut self.failed,
        };
        *place += numbers;
    }

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
