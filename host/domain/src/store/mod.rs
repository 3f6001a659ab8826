//! Where verifications are kept. [`Store`] is what the rest of the host knows: domain operations, each one
//! transaction that is durable when it returns. An engine is a crate of its own; what each must do is in `contract`.
//!
//! Invariants: no driver error crosses the trait; nothing that identifies a person or opens a session is
//! stored readable; every operation that depends on time takes it as an argument.

pub mod bulk;
#[cfg(feature = "contract")]
pub mod contract;
pub mod keyring;
pub mod outbox;
pub mod person;
pub mod text;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use zeroize::Zeroizing;

pub use crate::rules::{
    counter::{CapLog, Counted, Counter, CounterKey, CounterKeys},
    guarded::{Blocked, GuardKeys, Guarded},
};
pub use bulk::{BulkBatch, BulkFailure, BulkLease, BulkProgress, JobId, RunId};
pub use keyring::{Keyring, MasterKey};
pub use outbox::{Destination, Dispatched, EarlyReports, OutboxMessage, ReplacedCode, ReportOutcome};
pub use person::{AuditEntry, BulkRecord, Records};
pub use text::{FoundText, NewText, TextBegun};

use crate::{
    clock::{Clock, UnixMillis},
    model::{
        Bound, DeliveryReport, Event, Limit, LimitReached, MessageId, Outcome, PhoneNumber, Purpose,
        SecurityCode, Verdict, Verification, VerificationId,
        guard::{Conversion, Decision},
    },
    rules::attempt::{TakenAttempt, Terms},
};

/// The store could not do it.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The database cannot be reached, read or written.
    #[error("the database cannot be used: {0}")]
    Unavailable(String),
    /// What it holds cannot be right.
    #[error("the database holds what this program did not write: {0}")]
    Corrupt(String),
    /// Another request was made under the same key.
    #[error("the idempotency key was used for another request")]
    KeyReused,
    /// Another process writes it with a key that this one has not.
    #[error(
        "another process writes the database with a key that is not among this one's, so what it made cannot be judged; add \
         that key to those of this process, as the last one"
    )]
    KeyMissing,
    /// The code is a backend's, named as in the settings, which alone may judge it. No attempt was taken.
    #[error("the code is to be judged by the backend {0}")]
    OwnedByBackend(String),
    /// The operating system gave no randomness to seal with.
    #[error(transparent)]
    NoEntropy(#[from] crate::entropy::NoEntropy),
}

/// What came of a look at the keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyReview {
    /// Whether other keys are in use from now on.
    pub changed: bool,
    /// Whether another process uses a key that is not among them.
    pub lacks: bool,
    /// Why keys that were offered were not taken.
    pub problem: Option<String>,
}

/// A registration that is to begin.
pub struct NewVerification {
    /// Its id, and the id of its first message.
    pub id: VerificationId,
    /// The number to verify.
    pub number: PhoneNumber,
    /// The code that the message carries.
    pub code: NewCode,
    /// The message, as it goes out. Whose code it carries, its `owner`, is recorded with the verification.
    pub message: OutboxMessage,
    /// The current time.
    pub now: UnixMillis,
    /// How many wrong codes the first session of a code may give, and how many all must have given before the
    /// sessions that joined may give no more than one each.
    pub max_failed_attempts: u32,
    /// How many verifications may share a code.
    pub max_sessions: u32,
    /// How long it is remembered whether the number was verified.
    pub remembered_for: Duration,
    /// The caller's own name for it.
    pub client_ref: Option<String>,
    /// What its code is good for.
    pub purpose: Purpose,
    /// What the request is known again by.
    pub request: Option<RequestKey>,
}

/// A request that its caller may make again without having it done again. What it did is remembered for a day, in the
/// transaction that does it.
#[derive(Clone)]
pub struct RequestKey {
    /// The caller and the key that it chose.
    pub key: String,
    /// What was asked.
    pub body: Vec<u8>,
}

/// A body holds a phone number.
impl std::fmt::Debug for RequestKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RequestKey").finish_non_exhaustive()
    }
}

/// Whether a request was made before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// It was not, or did nothing.
    Never,
    /// It did something, and what is answered is not known yet, or not any more.
    Unanswered,
    /// It was answered.
    Answered(Answer),
}

/// The answer to a request, with a session token in it.
#[derive(Clone, PartialEq, Eq)]
pub struct Answer(pub Zeroizing<String>);

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// A verification that was found by its id.
#[derive(Debug)]
pub struct Found {
    /// What may be shown of it.
    pub verification: Verification,
    /// The code and its number, as long as the code can be used. Of a session with a code [beside](NewCode::Beside) the
    /// pending one it is the pending one, for its own is stored as a digest only.
    pub code: Option<(SecurityCode, PhoneNumber)>,
    /// Whether its code is beside the pending one.
    pub is_beside: bool,
    /// The digest of its number.
    pub number_digest: Vec<u8>,
    /// The key of that digest.
    pub key_id: u32,
    /// The caller's own name for it.
    pub client_ref: Option<String>,
    /// What its code is good for.
    pub bound: Option<Bound>,
    /// The backend that alone judges its code, by its name in the settings; `None`: the host does.
    pub owner: Option<Arc<str>>,
}

/// Which events are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhichEvents {
    /// So many of the latest.
    Latest(u32),
    /// The first ones behind a place.
    After {
        /// The place.
        place: u64,
        /// The most of them.
        limit: u32,
    },
}

/// By what verifications are looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// Their number.
    Number(PhoneNumber),
    /// Their caller's own name for them.
    ClientRef(String),
}

/// Where the code of a new verification comes from.
pub enum NewCode {
    /// Made for it.
    Fresh {
        /// The code.
        code: SecurityCode,
        /// How long it is good.
        lifetime: Duration,
    },
    /// The one that is pending for the number.
    Shared(PendingCode),
    /// Made for it, beside the one that is pending for the number: it is good for as long as that one, and its attempts
    /// are those of that one.
    Beside {
        /// The one that is pending.
        pending: PendingCode,
        /// The code.
        code: SecurityCode,
    },
}

impl NewCode {
    /// The code that the message carries.
    pub fn sent(&self) -> &SecurityCode {
        match self {
            Self::Fresh { code, .. } | Self::Beside { code, .. } => code,
            Self::Shared(pending) => &pending.code,
        }
    }

    /// The one that is pending for the number, if there is one.
    pub fn pending(&self) -> Option<&PendingCode> {
        match self {
            Self::Fresh { .. } => None,
            Self::Shared(pending) | Self::Beside { pending, .. } => Some(pending),
        }
    }
}

/// A code that was sent to a number and is still good.
#[derive(Clone, Debug)]
pub struct PendingCode {
    /// The verification that it was made for.
    pub verification: VerificationId,
    /// The code.
    pub code: SecurityCode,
    /// When it stops being good.
    pub expires_at: UnixMillis,
    /// The backend that alone judges it, by its name in the settings; `None`: the host does.
    pub owner: Option<Arc<str>>,
    /// The backend that the last message of its verification went through, by its name in the settings, once that is
    /// recorded.
    pub sent_by: Option<Arc<str>>,
}

/// What became of a [`NewVerification`].
#[derive(Debug)]
pub enum Begun {
    /// It is durable, and its message is leased to the caller.
    Yes {
        /// When its code stops being good.
        expires_at: UnixMillis,
    },
    /// Nothing was stored: the same request was made before, and began this one.
    Before(VerificationId),
    /// Nothing was stored: another code is pending for this number; begin again with that one.
    CodeIsPending(PendingCode),
    /// Nothing was stored: the code to be shared is no longer pending; begin again with a fresh one.
    CodeIsGone,
    /// Nothing was stored: all attempts on the pending code are used up.
    AttemptsUsedUp {
        /// When the code has expired, and with it the refusal.
        until: UnixMillis,
    },
    /// Nothing was stored: too many verifications share the pending code.
    TooManySessions {
        /// When the code has expired, and with it the refusal.
        until: UnixMillis,
    },
    /// Nothing was stored or counted: a counter of the message has no room.
    LimitReached(LimitReached),
    /// No message was stored, but the decision, and the client's address is charged: the guard has a reason.
    Blocked(Blocked),
}

/// What became of a further message.
#[derive(Debug)]
pub enum MessageBegun {
    /// It is durable, and leased to the caller; with the code that gave way to another, if one did.
    Yes(Option<Arc<ReplacedCode>>),
    /// Nothing was stored: the same request was made before.
    Before,
    /// Nothing was stored: its code can no longer be used.
    CodeIsGone,
    /// Nothing was stored or counted: a counter of the message has no room.
    LimitReached(LimitReached),
    /// As for [`Begun::Blocked`].
    Blocked(Blocked),
}

/// What a check depends on besides the code.
#[derive(Clone, Copy, Debug)]
pub struct CheckRules {
    /// What decides the attempt.
    pub terms: Terms,
    /// Of which number a wrong code is counted, besides the code's own attempts.
    pub failed_checks: Option<CounterKey>,
    /// Where the guard counts that the code came back.
    pub guard: Option<GuardKeys>,
}

/// Is told what an engine does, to count it.
pub trait StoreObserver: Send + Sync {
    /// Counts a group of writes that ended, with the number of its operations.
    fn committed(&self, operations: usize, took: Duration, is_durable: bool) {
        let _ = (operations, took, is_durable);
    }

    /// Counts something that the guard found against a message, once that is durable.
    fn decided(&self, reason: &'static str, is_blocked: bool) {
        let _ = (reason, is_blocked);
    }

    /// Counts a move of the engine's write-ahead log to where its rows belong.
    fn log_moved(&self, took: Duration) {
        let _ = took;
    }

    /// Sets the present length of the engine's write-ahead log.
    fn log_is(&self, bytes: u64) {
        let _ = bytes;
    }
}

/// Counts nothing.
impl StoreObserver for () {}

/// Domain operations, each one transaction, durable when it returns. One with a [`RequestKey`] is done once under that
/// key; made again, it says what it said, and another under the same key is [`StoreError::KeyReused`].
#[async_trait]
pub trait Store: Send + Sync {
    /// Stores a verification together with its message and counts it, unless the number's pending code or a limit
    /// says otherwise.
    async fn begin_verification(&self, new: NewVerification) -> Result<Begun, StoreError>;

    /// The base check. Takes an attempt, then compares, then records the verdict. An attempt that fails is spent, and
    /// one that succeeds is not; none that was spent comes back. With `only_once`, of any number of calls with the
    /// right code exactly one is [`Verdict::Valid`], and a session that was verified is [`Verdict::AlreadyVerified`]
    /// once it has no attempts. A code of a backend is not judged: [`StoreError::OwnedByBackend`].
    async fn check_code(
        &self,
        id: VerificationId,
        code: SecurityCode,
        rules: CheckRules,
        request: Option<&RequestKey>,
    ) -> Result<Verdict, StoreError>;

    /// For a backend that judges by itself: takes an attempt. The inner error is the verdict if there was none to
    /// take, and the backend is not asked.
    async fn take_attempt(
        &self,
        id: VerificationId,
        rules: CheckRules,
        request: Option<&RequestKey>,
    ) -> Result<Result<TakenAttempt, Verdict>, StoreError>;

    /// The base comparison for an attempt that was taken. Records nothing.
    async fn compare_code(
        &self,
        id: VerificationId,
        code: SecurityCode,
        rules: CheckRules,
    ) -> Result<Verdict, StoreError>;

    /// Records what the backend said about an attempt that was taken; `None`: it said nothing, and the
    /// attempt is given back. Single use is enforced here: the answer is the verdict that holds.
    async fn settle_attempt(
        &self,
        id: VerificationId,
        taken: TakenAttempt,
        verdict: Option<Verdict>,
        rules: CheckRules,
        request: Option<&RequestKey>,
    ) -> Result<Option<Verdict>, StoreError>;

    /// Whether a request was made before.
    async fn seen(&self, request: &RequestKey, now: UnixMillis) -> Result<Seen, StoreError>;

    /// Keeps what is answered to a request, for when it comes again. The first answer is kept; of a request that did
    /// nothing, none.
    async fn keep_answer(&self, request: &RequestKey, answer: &Answer) -> Result<(), StoreError>;

    /// How a verification stands. `of_number`: what limits the SMS to its number.
    async fn find_verification(
        &self,
        id: VerificationId,
        rules: CheckRules,
        of_number: Arc<[Limit]>,
    ) -> Result<Option<Found>, StoreError>;

    /// The latest verifications of a number or of a caller's own name, the latest one first. `before`: only those that
    /// began before this one.
    async fn latest_verifications(
        &self,
        lookup: Lookup,
        before: Option<VerificationId>,
        limit: u32,
        rules: CheckRules,
        of_number: Arc<[Limit]>,
    ) -> Result<Vec<Found>, StoreError>;

    /// Ends a verification, unless it is over already. Neither its attempts nor its place among the sessions of
    /// its code become free. Returns whether it ended it; if so, `entry` is in the audit log.
    async fn cancel_verification(
        &self,
        id: VerificationId,
        entry: AuditEntry,
        request: Option<&RequestKey>,
    ) -> Result<bool, StoreError>;

    /// Stores a further message of a verification, which this process alone may send, and counts it. A `code` takes the
    /// place of the verification's own.
    async fn begin_message(
        &self,
        message: OutboxMessage,
        code: Option<SecurityCode>,
        now: UnixMillis,
        request: Option<&RequestKey>,
    ) -> Result<MessageBegun, StoreError>;

    /// Stores a text that is no verification, which this process alone may send, and counts it, unless a limit says
    /// otherwise.
    async fn begin_text(&self, new: NewText) -> Result<TextBegun, StoreError>;

    /// How a text stands.
    async fn find_text(&self, id: MessageId) -> Result<Option<FoundText>, StoreError>;

    /// Records what became of a message, and forgets its text. A session whose only message certainly was not
    /// sent gives up its place, a code without a session is no longer pending, and what was counted is taken back
    /// where [`Counted::is_taken_back_after`] says so. That a message was sent
    /// may take a little longer to record: nobody waits for it.
    async fn settle_message(
        &self,
        message: &OutboxMessage,
        dispatched: &Dispatched,
        now: UnixMillis,
    ) -> Result<(), StoreError>;

    /// Gives messages back that no backend was asked about, before this process ends: the next one has them as if this
    /// one never had. To be called once nothing of them is under way.
    async fn release_messages(&self, messages: &[OutboxMessage]) -> Result<(), StoreError>;

    /// From now on the verification is found as [`Self::settle_message`] will record it. So whoever is told of the
    /// outcome before it is recorded finds it all the same.
    fn announce(&self, message: &OutboxMessage, dispatched: &Dispatched);

    /// From now on events are recorded, each in the transaction that makes it happen; or not any more. At first they are
    /// not, and then they cost nothing.
    fn record_events(&self, are_recorded: bool);

    /// Recorded events, in the order in which they happened.
    async fn events(&self, which: WhichEvents) -> Result<Vec<Event>, StoreError>;

    /// Deletes events from before `before`, in steps that leave room for others. Returns how many.
    async fn delete_events_before(&self, before: UnixMillis) -> Result<u64, StoreError>;

    /// Records what the provider of `member`, a backend by its name in the settings, reports about messages, as [`rules::receipt`](crate::rules::receipt) says.
    /// A message is found by the member that sent it and by the provider's id alone. A report whose message is
    /// not known yet is kept for a while. One outcome for each report, in their order.
    async fn apply_reports(
        &self,
        member: &str,
        backend: &str,
        reports: Vec<DeliveryReport>,
        now: UnixMillis,
    ) -> Result<Vec<ReportOutcome>, StoreError>;

    /// Records the reports that were kept and whose message is known by now, and gives up those that are too old.
    async fn apply_early_reports(&self, now: UnixMillis) -> Result<EarlyReports, StoreError>;

    /// Takes messages that dead processes left; never one of a process that lives, whatever the time. A message is
    /// taken once at most from a process that may have tried it, and not once its code has expired or was used; those
    /// that are over are settled as unknown.
    async fn take_over_messages(&self, now: UnixMillis, limit: u32)
    -> Result<Vec<OutboxMessage>, StoreError>;

    /// Has the clock agree with those of the other processes on the database, and them with it.
    async fn share_time(&self, clock: &Clock) -> Result<(), StoreError>;

    /// Forgets codes that have expired, and counters in which nothing counts any more: of each some at a time.
    /// Returns how many codes.
    async fn expire_codes(&self, now: UnixMillis) -> Result<u64, StoreError>;

    /// The latest decisions of the guard about registrations that something spoke against, the latest one first.
    async fn decisions(&self, limit: u32) -> Result<Vec<Decision>, StoreError>;

    /// What was counted lately against the caps of the whole service and of each country.
    async fn caps(&self) -> Result<Vec<CapLog>, StoreError>;

    /// How many of the numbers that codes were made for in a time sent one back, of the latest ten thousand codes that
    /// the guard looked at; without those that certainly were not sent.
    async fn conversion(&self, from: UnixMillis, to: UnixMillis) -> Result<Conversion, StoreError>;

    /// Deletes, or only counts, verifications, texts, bulk jobs and decisions from before `before`, in steps that leave room
    /// for others.
    async fn delete_before(&self, before: UnixMillis, dry_run: bool) -> Result<u64, StoreError>;

    /// All that is stored about a number.
    async fn records_of(&self, number: &PhoneNumber, rules: CheckRules) -> Result<Records, StoreError>;

    /// Counts all that is stored about a number, and deletes it if there is an `entry`, which then is in the audit log
    /// unless there was nothing. A code that is pending for it is good no more.
    async fn forget(&self, number: &PhoneNumber, entry: Option<AuditEntry>) -> Result<u64, StoreError>;

    /// Adds to the audit log.
    async fn record_audit_entry(&self, entry: AuditEntry) -> Result<(), StoreError>;

    /// Deletes the entries of the audit log from before `before`. Returns how many.
    async fn delete_audit_entries_before(&self, before: UnixMillis) -> Result<u64, StoreError>;

    /// The latest entries of the audit log, the oldest of them first.
    async fn latest_audit_entries(&self, limit: u32) -> Result<Vec<AuditEntry>, StoreError>;

    /// Stores a bulk job, unless it is there already. Returns whether it was new.
    async fn begin_bulk(
        &self,
        job: JobId,
        numbers: Vec<PhoneNumber>,
        message: String,
        now: UnixMillis,
    ) -> Result<bool, StoreError>;

    /// Leases up to `limit` numbers to a run, and the job with them. One run at a time has a job. If the one
    /// before let its lease lapse, what it had under way is settled as unknown: whether those SMS left cannot
    /// be known, and they are not sent twice.
    async fn lease_bulk(
        &self,
        job: JobId,
        run: RunId,
        now: UnixMillis,
        lease: Duration,
        limit: u32,
    ) -> Result<BulkLease, StoreError>;

    /// Makes the lease of a run last until then. `false`: the job is another's by now.
    async fn renew_bulk(&self, job: JobId, run: RunId, until: UnixMillis) -> Result<bool, StoreError>;

    /// Records the outcomes of leased numbers. `None`: it was certainly not sent, and waits again.
    async fn settle_bulk(&self, job: JobId, outcomes: Vec<(u64, Option<Outcome>)>) -> Result<(), StoreError>;

    /// Ends a run, so that the next need not wait for its lease to lapse. What it leased and did not settle
    /// is settled as unknown.
    async fn end_bulk_run(&self, job: JobId, run: RunId) -> Result<(), StoreError>;

    /// How far a job is.
    async fn bulk_progress(&self, job: JobId) -> Result<BulkProgress, StoreError>;

    /// The numbers of a job that failed, in their order.
    async fn bulk_failures(&self, job: JobId) -> Result<Vec<BulkFailure>, StoreError>;

    /// Looks whether another process writes the database with a key that this one lacks, and if so reads the keys again
    /// where they came from. Says now and then which key this process uses.
    async fn review_keys(&self, now: UnixMillis) -> Result<KeyReview, StoreError>;

    /// Takes these keys from now on, the current one first; `None`: those that stand in the file that they came from.
    async fn renew_keys(
        &self,
        given: Option<Vec<MasterKey>>,
        now: UnixMillis,
    ) -> Result<KeyReview, StoreError>;

    /// Whether a write would be durable now: makes one and takes it back. An error, too, while a key is missing.
    async fn ready(&self) -> Result<(), StoreError>;
}
