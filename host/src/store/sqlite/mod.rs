//! The embedded engine. All writes go through one thread that commits in groups (`writer`); reads have
//! connections of their own beside it. Several processes may share the file.

mod attempt;
mod audit;
mod bulk;
mod counter;
mod guard;
mod lifecycle;
mod number;
mod open;
mod outbox;
mod person;
mod request;
mod retention;
mod verification;
mod writer;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
pub use open::OpenError;
use rusqlite::Connection;
use tokio::time::Instant;

use super::{
    Answer, Begun, BulkFailure, BulkLease, BulkProgress, CapLog, CheckRules, CounterKey, Deed, Found, JobId,
    Keyring, MessageBegun, NewVerification, OutboxMessage, Records, RunId, Store, StoreError,
};
use crate::{
    clock::UnixMillis,
    metrics::StoreMetrics,
    model::{
        Limit, Outcome, PhoneNumber, SecurityCode, Verdict, VerificationId,
        guard::{Conversion, Decision},
    },
};

/// Idle connections that are kept for reading.
const MAX_IDLE_READERS: usize = 4;

/// The embedded engine, open.
pub struct Sqlite {
    path: PathBuf,
    keyring: Arc<Keyring>,
    writer: writer::Writer,
    readers: Arc<Mutex<Vec<Connection>>>,
    /// How far the counters are looked through for those that ended.
    swept_to: Mutex<CounterKey>,
}

impl Sqlite {
    /// Opens the file, makes it where there is none, and brings its schema up to date.
    pub fn open(path: &Path, keyring: Arc<Keyring>) -> Result<Self, OpenError> {
        let connection = open::prepare(path, &keyring)?;
        Ok(Self {
            path: path.to_owned(),
            keyring,
            writer: writer::Writer::start(connection),
            readers: Arc::default(),
            swept_to: Mutex::new(retention::FIRST_COUNTER),
        })
    }

    /// Why [`Self::open`] would refuse the file, as far as it can be told without a change to it or beside it. That there is
    /// none is no reason.
    pub fn look(path: &Path, keyring: &Keyring) -> Result<(), OpenError> {
        open::look(path, keyring)
    }

    /// Runs a read on a thread that may block.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (path, readers) = (self.path.clone(), Arc::clone(&self.readers));
        let run = move || {
            let idle = readers.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let connection = idle.map_or_else(|| open::connect(&path), Ok)?;
            let value = read(&connection)?;
            let mut readers = readers.lock().unwrap_or_else(PoisonError::into_inner);
            if readers.len() < MAX_IDLE_READERS {
                readers.push(connection);
            }
            Ok(value)
        };
        tokio::task::spawn_blocking(run)
            .await
            .map_err(|_| StoreError::Unavailable("a read was broken off".into()))?
            .map_err(Fault::into_error)
    }

    async fn write<T: Send + 'static>(
        &self,
        write: impl Fn(&writer::Transaction<'_>) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.writer.run(write).await
    }
}

/// Why an operation failed, inside this engine.
#[derive(Debug)]
enum Fault {
    Driver(rusqlite::Error),
    Store(StoreError),
}

impl Fault {
    fn corrupt(what: &str) -> Self {
        Self::Store(StoreError::Corrupt(what.to_owned()))
    }

    fn into_error(self) -> StoreError {
        match self {
            Self::Driver(error) => StoreError::Unavailable(error.to_string()),
            Self::Store(error) => error,
        }
    }
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Driver(error)
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

fn millis(time: UnixMillis) -> i64 {
    i64::try_from(time.0).unwrap_or(i64::MAX)
}

fn time(millis: i64) -> UnixMillis {
    UnixMillis(u64::try_from(millis).unwrap_or(0))
}

#[async_trait]
impl Store for Sqlite {
    async fn begin_verification(&self, new: NewVerification) -> Result<Begun, StoreError> {
        let row = verification::NewRow::prepare(new, &self.keyring)?;
        let keyring = Arc::clone(&self.keyring);
        self.write(move |transaction| verification::begin(transaction, &keyring, &row))
            .await
    }

    async fn check_code(
        &self,
        id: VerificationId,
        code: SecurityCode,
        rules: CheckRules,
    ) -> Result<Verdict, StoreError> {
        let keyring = Arc::clone(&self.keyring);
        self.write(move |transaction| attempt::check(transaction, &keyring, id, &code, rules))
            .await
    }

    async fn take_attempt(
        &self,
        id: VerificationId,
        rules: CheckRules,
    ) -> Result<Option<Verdict>, StoreError> {
        self.write(move |connection| Ok(attempt::take_attempt(connection, id, rules)?.err()))
            .await
    }

    async fn compare_code(
        &self,
        id: VerificationId,
        code: SecurityCode,
        rules: CheckRules,
    ) -> Result<Verdict, StoreError> {
        let keyring = Arc::clone(&self.keyring);
        self.read(move |connection| attempt::compare(connection, &keyring, id, &code, rules))
            .await
    }

    async fn settle_attempt(
        &self,
        id: VerificationId,
        verdict: Option<Verdict>,
        rules: CheckRules,
    ) -> Result<Option<Verdict>, StoreError> {
        self.write(move |transaction| attempt::settle_attempt(transaction, id, verdict, rules))
            .await
    }

    async fn find_verification(
        &self,
        id: VerificationId,
        rules: CheckRules,
        of_number: Arc<[Limit]>,
    ) -> Result<Option<Found>, StoreError> {
        let keyring = Arc::clone(&self.keyring);
        self.read(move |connection| lifecycle::find(connection, &keyring, id, rules, &of_number))
            .await
    }

    async fn keep_answer(&self, id: VerificationId, answer: Answer) -> Result<(), StoreError> {
        let sealed = self.keyring.seal(&answer.0, &id.0)?;
        self.write(move |connection| request::keep_answer(connection, id, &sealed))
            .await
    }

    async fn cancel_verification(&self, id: VerificationId) -> Result<(), StoreError> {
        self.write(move |connection| lifecycle::cancel(connection, id))
            .await
    }

    async fn begin_message(
        &self,
        message: OutboxMessage,
        code: Option<SecurityCode>,
        now: UnixMillis,
        lease: Duration,
    ) -> Result<MessageBegun, StoreError> {
        let keyring = Arc::clone(&self.keyring);
        let new = lifecycle::NewMessage::prepare(message, code, &keyring)?;
        self.write(move |transaction| lifecycle::begin_message(transaction, &keyring, &new, now, lease))
            .await
    }

    async fn settle_message(&self, message: &OutboxMessage, outcome: &Outcome) -> Result<(), StoreError> {
        let settled = outbox::Settled::of(message, outcome);
        let settle = move |transaction: &writer::Transaction<'_>| outbox::settle(transaction, &settled);
        if outcome.is_ok() {
            self.writer.run_unhurried(settle).await
        } else {
            self.write(settle).await
        }
    }

    async fn lease_lapsed_messages(
        &self,
        now: UnixMillis,
        lease: Duration,
        limit: u32,
    ) -> Result<Vec<OutboxMessage>, StoreError> {
        let keyring = Arc::clone(&self.keyring);
        self.write(move |transaction| outbox::lease_lapsed(transaction, &keyring, now, lease, limit))
            .await
    }

    async fn expire_codes(&self, now: UnixMillis) -> Result<u64, StoreError> {
        let swept_to = || self.swept_to.lock().unwrap_or_else(PoisonError::into_inner);
        let from = *swept_to();
        let (codes, next) = self
            .write(move |connection| {
                let codes = retention::expire_codes(connection, now)?;
                Ok((codes, retention::end_counters(connection, from, now)?))
            })
            .await?;
        *swept_to() = next;
        Ok(codes)
    }

    async fn decisions(&self, limit: u32) -> Result<Vec<Decision>, StoreError> {
        self.read(move |connection| guard::decisions(connection, limit))
            .await
    }

    fn metrics(&self) -> Arc<StoreMetrics> {
        self.writer.metrics()
    }

    async fn caps(&self) -> Result<Vec<CapLog>, StoreError> {
        self.read(counter::caps).await
    }

    async fn conversion(&self, from: UnixMillis, to: UnixMillis) -> Result<Conversion, StoreError> {
        self.read(move |connection| guard::conversion(connection, from, to))
            .await
    }

    async fn delete_before(&self, before: UnixMillis, dry_run: bool) -> Result<u64, StoreError> {
        if dry_run {
            return self
                .read(move |connection| retention::count_before(connection, before))
                .await;
        }
        let mut deleted = 0;
        // In steps, so that registrations get in between; and most of the time is theirs.
        loop {
            let began = Instant::now();
            let step = self
                .write(move |connection| retention::delete_before(connection, before))
                .await?;
            deleted += step.deleted;
            if step.all_done {
                return Ok(deleted);
            }
            tokio::time::sleep(began.elapsed() * retention::REST).await;
        }
    }

    async fn records_of(&self, number: &PhoneNumber, rules: CheckRules) -> Result<Records, StoreError> {
        let (keyring, number) = (Arc::clone(&self.keyring), number.clone());
        self.read(move |connection| {
            let digests = keyring.number_digests(&number);
            let places = person::places(connection, &keyring, &number, &digests)?;
            person::records(connection, &keyring, &places, rules)
        })
        .await
    }

    async fn forget(&self, number: &PhoneNumber, dry_run: bool) -> Result<u64, StoreError> {
        let key = self.keyring.counter_keys(number, None).number();
        let (keyring, number) = (Arc::clone(&self.keyring), number.clone());
        let places = self
            .read(move |connection| {
                let digests = keyring.number_digests(&number);
                person::places(connection, &keyring, &number, &digests)
            })
            .await?;
        let count = places.len();
        if !dry_run {
            self.write(move |transaction| number::forget(transaction, key))
                .await?;
            for step in places.steps() {
                self.write(move |connection| person::delete(connection, &step))
                    .await?;
            }
        }
        Ok(count)
    }

    async fn record_deed(&self, deed: Deed) -> Result<(), StoreError> {
        self.write(move |connection| audit::record(connection, &deed))
            .await
    }

    async fn latest_deeds(&self, limit: u32) -> Result<Vec<Deed>, StoreError> {
        self.read(move |connection| audit::latest(connection, limit))
            .await
    }

    async fn begin_bulk(
        &self,
        job: JobId,
        numbers: Vec<PhoneNumber>,
        message: String,
        now: UnixMillis,
    ) -> Result<bool, StoreError> {
        let rows = bulk::Rows::prepare(job, &numbers, &message, &self.keyring)?;
        self.write(move |connection| bulk::begin(connection, &rows, now))
            .await
    }

    async fn lease_bulk(
        &self,
        job: JobId,
        run: RunId,
        now: UnixMillis,
        lease: Duration,
        limit: u32,
    ) -> Result<BulkLease, StoreError> {
        let keyring = Arc::clone(&self.keyring);
        self.write(move |connection| bulk::lease(connection, &keyring, job, run, now, lease, limit))
            .await
    }

    async fn renew_bulk(&self, job: JobId, run: RunId, until: UnixMillis) -> Result<bool, StoreError> {
        self.write(move |connection| bulk::renew(connection, job, run, until))
            .await
    }

    async fn settle_bulk(&self, job: JobId, outcomes: Vec<(u64, Option<Outcome>)>) -> Result<(), StoreError> {
        self.write(move |connection| bulk::settle(connection, job, &outcomes))
            .await
    }

    async fn end_bulk_run(&self, job: JobId, run: RunId) -> Result<(), StoreError> {
        self.write(move |connection| bulk::end_run(connection, job, run))
            .await
    }

    async fn bulk_progress(&self, job: JobId) -> Result<BulkProgress, StoreError> {
        self.read(move |connection| bulk::progress(connection, job)).await
    }

    async fn bulk_failures(&self, job: JobId) -> Result<Vec<BulkFailure>, StoreError> {
        let keyring = Arc::clone(&self.keyring);
        self.read(move |connection| bulk::failures(connection, &keyring, job))
            .await
    }

    async fn ready(&self) -> Result<(), StoreError> {
        self.write(|connection| {
            let now = verification::PROBE;
            connection.execute("INSERT INTO pending VALUES (?1, ?1, 0)", [now])?;
            connection.execute("DELETE FROM pending WHERE number = ?1", [now])?;
            Ok(())
        })
        .await
    }
}
