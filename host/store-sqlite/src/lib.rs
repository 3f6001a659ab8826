//! The embedded engine of phone-verify: what [`Store`](phone_verify_domain::store::Store) promises, kept in a file of
//! `SQLite`. All writes go through one thread that commits in groups (`writer`); reads have connections of their own
//! beside it; a further one moves the log while others write (`log`). Several processes may share the file.
//!
//! Invariants: no rule of verification is here: what a row means for a number or a code is decided in
//! [`rules`], of what was loaded under the lock. No driver error leaves this crate, and no other
//! crate of the program names the driver. No unsafe code.
#![forbid(unsafe_code)]

mod announced;
mod at_rest;
mod attempt;
mod audit;
mod backend;
mod backup;
mod bulk;
#[cfg(test)]
mod contract;
mod counter;
mod event;
pub mod files;
mod guard;
mod key;
mod lifecycle;
mod log;
mod lookup;
mod message;
#[cfg(test)]
mod migration_stories;
mod open;
mod open_error;
mod operations;
mod person;
mod presence;
mod receipt;
mod request;
mod retention;
mod schema;
mod text;
mod timeline;
mod verification;
mod writer;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

pub use backup::{BackupError, Contents, Taken};
pub use open_error::OpenError;
use rusqlite::Connection;

#[cfg(test)]
use phone_verify_domain::entropy;
use phone_verify_domain::{clock, model, rules, store};

use self::{
    clock::{Clock, UnixMillis},
    files::Files,
    store::{CounterKey, KeyReview, Keyring, MasterKey, RequestKey, StoreError, StoreObserver},
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
    events: event::Recorder,
    /// How far the counters are looked through for those that ended.
    swept_to: Mutex<CounterKey>,
    announced: announced::Announced,
    processes: presence::Processes,
    /// This process among them, once it has messages. Made by one thread.
    presence: OnceLock<presence::Presence>,
    entering: Mutex<()>,
    /// Held while all rows are looked through, so that one thread at most does so.
    looking_through: tokio::sync::Mutex<()>,
}

impl Sqlite {
    /// Opens the file, makes it where there is none, and brings its schema up to date. `files` judges it first;
    /// `observer` is told what the writes cost.
    pub fn open(
        path: &Path,
        keyring: Arc<Keyring>,
        files: &dyn Files,
        observer: Arc<dyn StoreObserver>,
    ) -> Result<Self, OpenError> {
        let connection = open::prepare(path, &keyring, files)?;
        let events = event::Recorder::new(Arc::clone(&keyring));
        Ok(Self {
            path: path.to_owned(),
            keyring,
            writer: writer::Writer::start(
                connection,
                log::Log::of(path.to_owned(), observer),
                events.clone(),
            ),
            events,
            readers: Arc::default(),
            swept_to: Mutex::new(retention::FIRST_COUNTER),
            announced: announced::Announced::default(),
            processes: presence::Processes::of(path),
            presence: OnceLock::new(),
            entering: Mutex::default(),
            looking_through: tokio::sync::Mutex::default(),
        })
    }

    /// Has the clock of this process go on where those of the others on the database are. To be called before anything
    /// else is asked that depends on time.
    pub fn join_time(&self, clock: &Clock) -> Result<(), StoreError> {
        let join = || {
            let connection = open::connect(&self.path)?;
            if timeline::join(&connection, clock)? {
                // Where another process keeps the database locked, this can wait.
                match timeline::share(&connection, clock) {
                    Err(Fault::Driver(error)) if open_error::is_busy(&error) => {}
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
    #[cfg(any(test, feature = "testing"))]
    pub fn is_killed(&self) {
        if let Some(presence) = self.presence.get() {
            presence.is_killed();
        }
    }

    fn request(&self, request: Option<&RequestKey>) -> Option<request::Row> {
        request.map(|request| request::Row::prepare(request, &self.keyring))
    }

    /// Why [`Self::open`] would refuse the file, as far as it can be told without a change to it or beside it. That
    /// there is none is no reason.
    pub fn look(path: &Path, keyring: &Keyring, files: &dyn Files) -> Result<(), OpenError> {
        open::look(path, keyring, files)
    }

    /// Why [`Self::open`] would refuse the file by what can be seen of it from outside.
    pub fn judge(path: &Path, files: &dyn Files) -> Result<(), OpenError> {
        open::judge_files(path, files).map(drop)
    }

    /// Why [`Self::open`] could not write the file or beside it, tried in an empty folder there, which is left empty.
    pub fn rehearse(path: &Path, trial: &Path, files: &dyn Files) -> Result<(), OpenError> {
        open::rehearse(path, trial, files)
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
