//! What is stored about one number, and who did what with it.

use super::{Found, FoundText, JobId};
use crate::{clock::UnixMillis, model::guard::Decision};

/// All that is stored about one number.
#[derive(Debug)]
pub struct Records {
    /// Its verifications, the oldest first.
    pub verifications: Vec<Found>,
    /// The texts to it that were no verifications, the oldest first.
    pub texts: Vec<FoundText>,
    /// Its places in bulk jobs.
    pub messages: Vec<BulkRecord>,
    /// What the guard decided about it, the oldest first.
    pub decisions: Vec<Decision>,
}

/// A number's place in a bulk job.
#[derive(Clone, Debug)]
pub struct BulkRecord {
    /// The job.
    pub job: JobId,
    /// When the job began.
    pub created_at: UnixMillis,
    /// `waiting`, `leased`, `sent`, or the class of a failure.
    pub state: String,
}

/// Something that somebody did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// When.
    pub at: UnixMillis,
    /// Who: `api:shop`, `daemon`, or the user of the operating system who ran a command, `uid:1000`.
    pub actor: String,
    /// What: `forget`, `export`, `cleanup`, `cancel`.
    pub action: String,
    /// To what: a masked number, the id of a verification.
    pub subject: String,
}
