//! The embedded engine. All writes go through one thread that commits in groups (`writer`); reads have
//! connections of their own beside it. Several processes may share the file.

mod announced;
mod attempt;
mod audit;
mod backend;
mod backup;
mod bulk;
mod counter;
mod guard;
mod key;
mod lifecycle;
mod open;
mod outbox;
mod person;
mod presence;
mod request;
mod retention;
mod timeline;
mod verification;
mod writer;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
pub use backup::{BackupError, Contents, Taken};
pub use open::OpenError;
use rusqlite::Connection;
use tokio::time::Instant;

use super::{
    Answer, AuditEntry, Begun, BulkFailure, BulkLease, BulkProgress, CapLog, CheckRules, CounterKey, Found,
    JobId, KeyReview, Keyring, MasterKey, MessageBegun, NewVerification, OutboxMessage, Records, RequestKey,
    RunId, Seen, Store, StoreError, Tried, key_file,
};
use crate::{
    clock::{Clock, UnixMillis},
    metrics::StoreMetrics,
    model::{
        Delivery, Limit, Outcome, PhoneNumber, SecurityCode, Verdict, VerificationId,
        guard::{Conversion, Decision},
    },
    rules::{attempt::TakenAttempt, number},
};

/// Idle connections that are kept for reading.
const MAX_IDLE_READERS: usize = 4;

/// The embedded engine, open.
pub struct Sqlite {
    path: PathBuf,
    keyring: Arc<Keyring>,
    /// Before the writer, which is the last to close the file.
    readers: Arc<Mutex<Vec<Connection>>>,
    writer: writer::Writer,
    /// How far the counters are looked through for those that ended.
    swept_to: Mutex<CounterKey>,
    announced: announced::Announced,
    processes: presence::Processes,
    /// This process among them, once it has messages. Made by one thread.
    presence: OnceLock<presence::Presence>,
    entering: Mutex<()>,
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
            announced: announced::Announced::default(),
            processes: presence::Processes::of(path),
            presence: OnceLock::new(),
            entering: Mutex::default(),
        })
    }

    /// Has the clock of this process go on where those of the others on the database are. To be called before anything else
    /// is asked that depends on time.
    pub fn join_time(&self, clock: &Clock) -> Result<(), StoreError> {
        let join = || {
            let connection = open::connect(&self.path)?;
            if timeline::join(&connection, clock)? {
                // Where another process keeps the database locked, this can wait.
                match timeline::share(&connection, clock) {
                    Err(Fault::Driver(error)) if open::is_busy(&error) => {}
                    shared => shared?,
                }
            }
            Ok(())
        };
        join().map_err(Fault::into_error)
    }

    /// This process, as others know it.
    fn own_process(&self) -> Result<presence::ProcessId, StoreError> {
        if let Some(presence) = self.presence.get() {
            return Ok(presence.id);
        }
        let _one_at_a_time = self.entering.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(presence) = self.presence.get() {
            return Ok(presence.id);
        }
        let presence = self.processes.enter(&self.keyring)?;
        Ok(self.presence.get_or_init(|| presence).id)
    }

    /// What others see when this process is killed.
    #[cfg(test)]
    pub(crate) fn is_killed(&self) {
        if let Some(presence) = self.presence.get() {
            presence.is_killed();
        }
    }

    fn request(&self, request: Option<&RequestKey>) -> Option<request::Row> {
        request.map(|request| request::Row::prepare(request, &self.keyring))
    }

    /// Why [`Self::open`] would refuse the file, as far as it can be told without a change to it or beside it. That there is
    /// none is no reason.
    pub fn look(path: &Path, keyring: &Keyring) -> Result<(), OpenError> {
        open::look(path, keyring)
    }

    /// Why [`Self::open`] would refuse the file by what can be seen of it from outside.
    pub fn judge(path: &Path) -> Result<(), OpenError> {
        open::judge_files(path).map(drop)
    }

    /// Why [`Self::open`] could not write the file or beside it, tried in an empty folder there, which is left empty.
    pub fn rehearse(path: &Path, trial: &Path) -> Result<(), OpenError> {
        open::rehearse(path, trial)
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

    /// Whether another process uses a key that this one lacks.
    async fn look_at_keys(&self, now: UnixMillis) -> Result<bool, StoreError> {
        let held = self.keyring.ids();
        let current = self.keyring.current_key_id();
        let known = self
            .read(move |connection| key::review(connection, &held, now))
            .await?;
        if known.is_stale {
            self.write(move |transaction| key::note(transaction, current, now))
                .await?;
        }
        if let Some(oldest) = known.oldest {
            self.keyring.count_under(oldest);
        }
        self.keyring.set_lacking(known.lacks);
        Ok(known.lacks)
    }

    /// Takes other keys, if any of them is the database's, once the database says that the first one is used.
    async fn take_keys(
        &self,
        offered: &[MasterKey],
        now: UnixMillis,
        review: &mut KeyReview,
    ) -> Result<(), StoreError> {
        let Some(next) = self.keyring.with_keys(offered) else {
            return Ok(());
        };
        if next.ids() == self.keyring.ids() {
            return Ok(());
        }
        let current = next.current_key_id();
        if !self
            .read(move |connection| key::knows_any(connection, &next))
            .await?
        {
            review.problem = Some("none of the keys is one that the database was written with".to_owned());
            return Ok(());
        }
        self.write(move |transaction| key::note(transaction, current, now))
            .await?;
        self.keyring.exchange(offered);
        review.changed = true;
        Ok(())
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
        let row = verification::NewRow::prepare(new, &self.keyring, self.own_process()?)?;
        let keyring = Arc::clone(&self.keyring);
        self.write(move |transaction| verification::begin(transaction, &keyring, &row))
            .await
    }

    async fn check_code(
        &self,
        id: VerificationId,
        code: SecurityCode,
        rules: CheckRules,
        request: Option<&RequestKey>,
    ) -> Result<Verdict, StoreError> {
        let (keyring, request) = (Arc::clone(&self.keyring), self.request(request));
        self.write(move |transaction| {
            attempt::check(transaction, &keyring, id, &code, rules, request.as_ref())
        })
        .await
    }

    async fn take_attempt(
        &self,
        id: VerificationId,
        rules: CheckRules,
        request: Option<&RequestKey>,
    ) -> Result<Result<TakenAttempt, Verdict>, StoreError> {
        let request = self.request(request);
        self.write(move |connection| attempt::take_attempt(connection, id, rules, request.as_ref()))
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
        taken: TakenAttempt,
        verdict: Option<Verdict>,
        rules: CheckRules,
        request: Option<&RequestKey>,
    ) -> Result<Option<Verdict>, StoreError> {
        let request = self.request(request);
        self.write(move |transaction| {
            attempt::settle_attempt(transaction, id, taken, verdict, rules, request.as_ref())
        })
        .await
    }

    async fn seen(&self, request: &RequestKey, now: UnixMillis) -> Result<Seen, StoreError> {
        let (keyring, row) = (
            Arc::clone(&self.keyring),
            request::Row::prepare(request, &self.keyring),
        );
        self.read(move |connection| request::seen(connection, &keyring, &row, now))
            .await
    }

    async fn find_verification(
        &self,
        id: VerificationId,
        rules: CheckRules,
        of_number: Arc<[Limit]>,
    ) -> Result<Option<Found>, StoreError> {
        let find = async || {
            let announced = self.announced.of(id);
            let (keyring, of_number) = (Arc::clone(&self.keyring), Arc::clone(&of_number));
            let own = self.presence.get().map(|presence| presence.id);
            let found = self
                .read(move |connection| {
                    let found = lifecycle::find(connection, &keyring, id, rules, &of_number)?;
                    let is_pending = found
                        .as_ref()
                        .is_some_and(|found| found.verification.delivery == Delivery::Pending);
                    let is_elsewhere = is_pending && outbox::is_elsewhere(connection, id, own)?;
                    Ok(found.map(|found| (found, is_elsewhere)))
                })
                .await?;
            Ok::<_, StoreError>(found.map(|(mut found, is_elsewhere)| {
                if let Some(announced) = announced {
                    announced.show(&mut found);
                }
                (found, is_elsewhere)
            }))
        };
        match find().await? {
            // The process that has the message may have told that it was sent, and be about to record it.
            Some((_, true)) => {
                tokio::time::sleep(writer::PATIENCE * 2).await;
                Ok(find().await?.map(|(found, _)| found))
            }
            found => Ok(found.map(|(found, _)| found)),
        }
    }

    async fn keep_answer(&self, request: &RequestKey, answer: &Answer) -> Result<(), StoreError> {
        let row = request::Row::prepare(request, &self.keyring);
        let sealed = row.seal(answer, &self.keyring)?;
        self.write(move |connection| request::keep_answer(connection, &row, &sealed))
            .await
    }

    async fn cancel_verification(
        &self,
        id: VerificationId,
        entry: AuditEntry,
        request: Option<&RequestKey>,
    ) -> Result<bool, StoreError> {
        let request = self.request(request);
        self.write(move |connection| lifecycle::cancel(connection, id, &entry, request.as_ref()))
            .await
    }

    async fn begin_message(
        &self,
        message: OutboxMessage,
        code: Option<SecurityCode>,
        now: UnixMillis,
        request: Option<&RequestKey>,
    ) -> Result<MessageBegun, StoreError> {
        let keyring = Arc::clone(&self.keyring);
        let verification = message.verification;
        let new = lifecycle::NewMessage::prepare(message, code, request, &keyring, self.own_process()?)?;
        let begun = self
            .write(move |transaction| lifecycle::begin_message(transaction, &keyring, &new, now))
            .await;
        if matches!(begun, Ok(MessageBegun::Yes(_))) {
            self.announced.is_past(verification);
        }
        begun
    }

    async fn settle_message(&self, message: &OutboxMessage, tried: &Tried) -> Result<(), StoreError> {
        let settled = outbox::Settled::of(message, tried);
        let settle = move |transaction: &writer::Transaction<'_>| outbox::settle(transaction, &settled);
        let recorded = if tried.outcome.is_ok() {
            self.writer.run_unhurried(settle).await
        } else {
            self.write(settle).await
        };
        if recorded.is_ok() {
            self.announced.is_recorded(message);
        }
        recorded
    }

    fn announce(&self, message: &OutboxMessage, tried: &Tried) {
        self.announced.tell(message, tried);
    }

    async fn take_over_messages(
        &self,
        now: UnixMillis,
        limit: u32,
    ) -> Result<Vec<OutboxMessage>, StoreError> {
        let (own, processes) = (self.own_process()?, self.processes.clone());
        let dead: Vec<Option<presence::ProcessId>> = self
            .read(move |connection| {
                let mut dead = outbox::holders(connection, &own, now)?;
                dead.retain(|holder| holder.is_none_or(|holder| !processes.lives(&holder)));
                Ok(dead)
            })
            .await?;
        let mut taken = Vec::new();
        for dead in dead {
            let keyring = Arc::clone(&self.keyring);
            let left = limit.saturating_sub(u32::try_from(taken.len()).unwrap_or(u32::MAX));
            taken.extend(
                self.write(move |transaction| {
                    outbox::take_over(transaction, &keyring, dead, &own, now, left)
                })
                .await?,
            );
        }
        Ok(taken)
    }

    async fn share_time(&self, clock: &Clock) -> Result<(), StoreError> {
        let (reading, writing) = (clock.clone(), clock.clone());
        if self
            .read(move |connection| timeline::has_news(connection, &reading))
            .await?
        {
            self.write(move |connection| timeline::share(connection, &writing))
                .await?;
        }
        Ok(())
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

    async fn forget(&self, number: &PhoneNumber, entry: Option<AuditEntry>) -> Result<u64, StoreError> {
        let key = self.keyring.counter_keys(number, None).number();
        let (keyring, number) = (Arc::clone(&self.keyring), number.clone());
        let places = self
            .read(move |connection| {
                let digests = keyring.number_digests(&number);
                person::places(connection, &keyring, &number, &digests)
            })
            .await?;
        let count = places.len();
        if let Some(entry) = entry {
            self.write(move |transaction| {
                if number::forget(transaction, key)? || count > 0 {
                    audit::record(transaction, &entry)?;
                }
                Ok(())
            })
            .await?;
            for step in places.steps() {
                self.write(move |connection| person::delete(connection, &step))
                    .await?;
            }
        }
        Ok(count)
    }

    async fn record_audit_entry(&self, entry: AuditEntry) -> Result<(), StoreError> {
        self.write(move |connection| audit::record(connection, &entry))
            .await
    }

    async fn delete_audit_entries_before(&self, before: UnixMillis) -> Result<u64, StoreError> {
        if self
            .read(move |connection| audit::count_before(connection, before))
            .await?
            == 0
        {
            return Ok(0);
        }
        let mut deleted = 0;
        loop {
            let step = self
                .write(move |connection| audit::delete_before(connection, before))
                .await?;
            if step == 0 {
                return Ok(deleted);
            }
            deleted += step;
        }
    }

    async fn latest_audit_entries(&self, limit: u32) -> Result<Vec<AuditEntry>, StoreError> {
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

    async fn review_keys(&self, now: UnixMillis) -> Result<KeyReview, StoreError> {
        if !self.look_at_keys(now).await? {
            return Ok(KeyReview::default());
        }
        // Perhaps they hold it by now.
        self.renew_keys(None, now).await
    }

    async fn renew_keys(
        &self,
        given: Option<Vec<MasterKey>>,
        now: UnixMillis,
    ) -> Result<KeyReview, StoreError> {
        let offered = match (given, self.keyring.origin()) {
            (Some(given), _) => Ok(given),
            (None, Some(file)) => {
                let file = file.to_owned();
                let read = tokio::task::spawn_blocking(move || key_file::read(&file));
                let read = read
                    .await
                    .map_err(|_| StoreError::Unavailable("a read was broken off".into()))?;
                read.map_err(|error| error.to_string())
            }
            (None, None) => Err(String::new()),
        };
        let mut review = KeyReview::default();
        match offered {
            Ok(offered) => self.take_keys(&offered, now, &mut review).await?,
            Err(problem) if problem.is_empty() => {}
            Err(problem) => review.problem = Some(problem),
        }
        review.lacks = self.look_at_keys(now).await?;
        Ok(review)
    }

    async fn ready(&self) -> Result<(), StoreError> {
        if self.keyring.lacks_a_key() {
            return Err(StoreError::KeyMissing);
        }
        self.write(|connection| {
            let now = verification::PROBE;
            connection.execute("INSERT INTO pending VALUES (?1, ?1, 0)", [now])?;
            connection.execute("DELETE FROM pending WHERE number = ?1", [now])?;
            Ok(())
        })
        .await
    }
}
