//! One thread writes. It takes every operation that waits, runs all of them in one transaction, commits once,
//! and answers all: one flush to disk for all that waited. An operation that nobody is in a hurry for waits a
//! little for a group to join, so that it costs no flush of its own.
//!
//! Invariants: nothing is answered before it is durable; an operation that fails leaves nothing behind and
//! harms none of the others in its group.

use std::{
    cell::RefCell,
    ops::Deref,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use rusqlite::Connection;
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use super::{Fault, counter::write_changes, event::Recorder, log::Log, open, open_error::is_busy};
use crate::{
    rules::cache::CounterCache,
    store::{StoreError, StoreObserver},
};

/// Operations that wait for the writer; more wait at the door.
const QUEUE_LENGTH: usize = 4096;
/// Operations in one transaction: bounds how long the first of them waits.
const MAX_GROUP: usize = 512;

/// How long an operation waits at most for a group to join.
pub(super) const PATIENCE: Duration = Duration::from_millis(25);

/// An operation and who waits for it.
trait Operation: Send {
    /// Runs it, perhaps again after it was rolled back. Returns whether it succeeded.
    fn run(&mut self, transaction: &Transaction<'_>) -> bool;

    /// Tells who waits, when its group is durable, or is not.
    fn answer(self: Box<Self>, committed: Result<(), StoreError>);
}

struct Waiting<F, T> {
    operation: F,
    outcome: Option<Result<T, Fault>>,
    answer: oneshot::Sender<Result<T, StoreError>>,
}

impl<F, T> Operation for Waiting<F, T>
where
    F: Fn(&Transaction<'_>) -> Result<T, Fault> + Send,
    T: Send,
{
    fn run(&mut self, transaction: &Transaction<'_>) -> bool {
        self.outcome.insert((self.operation)(transaction)).is_ok()
    }

    fn answer(self: Box<Self>, committed: Result<(), StoreError>) {
        let outcome = match (self.outcome, committed) {
            (Some(outcome), Ok(())) => outcome.map_err(Fault::into_error),
            (_, Err(error)) => Err(error),
            (None, Ok(())) => Err(StoreError::Unavailable("the operation was not reached".into())),
        };
        // Nobody waits any more if the request was given up; the write stands all the same.
        let _ = self.answer.send(outcome);
    }
}

/// The code of a reason, and whether a message was refused for it.
type Decided = (&'static str, bool);

/// What an operation runs in: the connection, and the counters that its group has in hand.
pub(super) struct Transaction<'a> {
    connection: &'a Connection,
    pub(super) counters: CounterCache,
    /// What the guard decided, by reason, and whether the message was refused: counted once it is durable.
    pub(super) decisions: RefCell<Vec<Decided>>,
    /// Whether what happens is recorded.
    pub(super) events: &'a Recorder,
}

impl<'a> Transaction<'a> {
    fn begin(connection: &'a Connection, events: &'a Recorder) -> rusqlite::Result<Self> {
        run(connection, "BEGIN IMMEDIATE")?;
        Ok(Self {
            connection,
            counters: CounterCache::default(),
            decisions: RefCell::default(),
            events,
        })
    }
}

impl Deref for Transaction<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.connection
    }
}

type Group = Vec<Box<dyn Operation>>;

/// The way to the writing thread. The thread ends, and the database is closed, when this is dropped.
pub(super) struct Writer {
    operations: Option<mpsc::Sender<Box<dyn Operation>>>,
    unhurried: Arc<Mutex<Group>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Writer {
    pub(super) fn start(connection: Connection, log: Log, events: Recorder) -> Self {
        let (operations, waiting) = mpsc::channel(QUEUE_LENGTH);
        let unhurried = Arc::<Mutex<Group>>::default();
        let joining = Arc::clone(&unhurried);
        let thread = thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || write(connection, log, waiting, &joining, &events))
            .expect("a thread can be started while the program starts");
        Self {
            operations: Some(operations),
            unhurried,
            thread: Some(thread),
        }
    }

    /// Runs an operation; returns when it is durable.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        operation: impl Fn(&Transaction<'_>) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (operation, answered) = waiting(operation);
        let operations = self.operations.as_ref().ok_or_else(stopped)?;
        operations.send(operation).await.map_err(|_| stopped())?;
        answered.await.map_err(|_| stopped())?
    }

    /// Runs an operation with the next group, or after a while; returns when it is durable. It runs before
    /// all that is asked for later.
    pub(super) async fn run_unhurried<T: Send + 'static>(
        &self,
        operation: impl Fn(&Transaction<'_>) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (operation, mut answered) = waiting(operation);
        let joining = || self.unhurried.lock().unwrap_or_else(PoisonError::into_inner);
        joining().push(operation);
        if let Ok(answer) = tokio::time::timeout(PATIENCE, &mut answered).await {
            return answer.map_err(|_| stopped())?;
        }
        // No group came by, or it is about to be durable: one more operation makes sure of it.
        self.run(|_| Ok(())).await?;
        answered.await.map_err(|_| stopped())?
    }
}

fn stopped() -> StoreError {
    StoreError::Unavailable("the writer has stopped".into())
}

type Answered<T> = oneshot::Receiver<Result<T, StoreError>>;

fn waiting<T: Send + 'static>(
    operation: impl Fn(&Transaction<'_>) -> Result<T, Fault> + Send + 'static,
) -> (Box<dyn Operation>, Answered<T>) {
    let (answer, answered) = oneshot::channel();
    let operation = Box::new(Waiting {
        operation,
        outcome: None,
        answer,
    });
    (operation, answered)
}

/// Waits for what was accepted to be durable.
impl Drop for Writer {
    fn drop(&mut self) {
        self.operations = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn write(
    mut connection: Connection,
    mut log: Log,
    mut waiting: mpsc::Receiver<Box<dyn Operation>>,
    unhurried: &Mutex<Group>,
    events: &Recorder,
) {
    let observer = log.observer();
    let observer = &*observer;
    let join = |group: &mut Group| {
        let mut unhurried = unhurried.lock().unwrap_or_else(PoisonError::into_inner);
        group.append(&mut unhurried);
    };
    let (mut group, mut asked) = (Group::new(), Group::with_capacity(MAX_GROUP));
    while waiting.blocking_recv_many(&mut asked, MAX_GROUP) > 0 {
        // Those first, since they were asked for first.
        join(&mut group);
        group.append(&mut asked);
        let found_no_room = finish((&connection, events), &mut group, observer, |group| {
            while group.len() < MAX_GROUP
                && let Ok(operation) = waiting.try_recv()
            {
                group.push(operation);
            }
        });
        log.keep_short(&mut connection, found_no_room);
    }
    join(&mut group);
    if !group.is_empty() {
        finish((&connection, events), &mut group, observer, |_| {});
    }
    let disk = log.disk();
    log.end();
    // Leaves one file behind instead of three; and one that says that it is whole, if nobody else has it open.
    let _ = disk.judge(connection.execute_batch(open::CLOSE));
}

/// Runs a group, and what `join` adds to it meanwhile. Where another process keeps the database locked, what came while
/// that was waited for fails too: nobody waits twice. Returns whether it failed for another reason, such as a full
/// disk.
fn finish(
    (connection, events): (&Connection, &Recorder),
    group: &mut Group,
    observer: &dyn StoreObserver,
    mut join: impl FnMut(&mut Group),
) -> bool {
    let began = Instant::now();
    let committed = commit((connection, events), group, &mut join);
    observer.committed(group.len(), began.elapsed(), committed.is_ok());
    let found_no_room = committed.as_ref().is_err_and(|error| !is_busy(error));
    let committed = committed.map_err(|error| {
        roll_back(connection);
        if is_busy(&error) {
            join(group);
        }
        StoreError::Unavailable(error.to_string())
    });
    let committed = committed.map(|decisions| {
        for (reason, is_blocked) in decisions {
            observer.decided(reason, is_blocked);
        }
    });
    for operation in group.drain(..) {
        operation.answer(committed.clone());
    }
    found_no_room
}

fn commit(
    (connection, events): (&Connection, &Recorder),
    group: &mut Group,
    mut join: impl FnMut(&mut Group),
) -> rusqlite::Result<Vec<Decided>> {
    let transaction = Transaction::begin(connection, events)?;
    let mut succeeded = 0;
    while succeeded < group.len() && group[succeeded].run(&transaction) {
        succeeded += 1;
        // A group is as long as what is asked for while it runs, so that fewer flushes do.
        if succeeded == group.len() {
            join(group);
        }
    }
    if succeeded == group.len() {
        write_changes(connection, &transaction.counters)?;
        run(connection, "COMMIT")?;
        return Ok(transaction.decisions.take());
    }
    // One failed, which is rare. All run again, each where it can be undone alone.
    roll_back(connection);
    let transaction = Transaction::begin(connection, events)?;
    for operation in group {
        run(connection, "SAVEPOINT operation")?;
        let decided = transaction.decisions.borrow().len();
        if operation.run(&transaction) {
            write_changes(connection, &transaction.counters)?;
        } else {
            transaction.counters.clear();
            transaction.decisions.borrow_mut().truncate(decided);
            run(connection, "ROLLBACK TO operation")?;
        }
        run(connection, "RELEASE operation")?;
    }
    run(connection, "COMMIT")?;
    Ok(transaction.decisions.take())
}

/// Some failures, such as a full disk, roll back by themselves.
fn roll_back(connection: &Connection) {
    if !connection.is_autocommit() {
        let _ = run(connection, "ROLLBACK");
    }
}

fn run(connection: &Connection, sql: &str) -> rusqlite::Result<()> {
    connection.prepare_cached(sql)?.execute([]).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{entropy::Entropy, store::Keyring};

    fn writer() -> (Writer, Connection, tempfile::TempDir) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("test.db");
        let connection = Connection::open(&path).unwrap();
        connection.pragma_update(None, "journal_mode", "WAL").unwrap();
        connection.busy_timeout(Duration::ZERO).unwrap();
        connection
            .execute_batch("CREATE TABLE number (n INTEGER PRIMARY KEY)")
            .unwrap();
        let reader = Connection::open(&path).unwrap();
        let log = Log::of(path, Arc::new(()));
        let keyring = Keyring::ephemeral(Entropy::seeded(1)).unwrap();
        let events = Recorder::new(Arc::new(keyring));
        (Writer::start(connection, log, events), reader, directory)
    }

    fn insert(connection: &Connection, n: i64) -> Result<(), Fault> {
        connection.execute("INSERT INTO number VALUES (?1)", [n])?;
        Ok(())
    }

    fn count(reader: &Connection) -> i64 {
        reader
            .query_row("SELECT count(*) FROM number", [], |row| row.get(0))
            .unwrap()
    }

    #[tokio::test]
    async fn one_that_fails_leaves_nothing_behind_and_harms_no_other() {
        let (writer, reader, _directory) = writer();
        let all = (0..100).map(|n| {
            writer.run(move |connection| {
                insert(connection, n)?;
                // Every tenth fails after it has written.
                if n % 10 == 0 {
                    insert(connection, n)
                } else {
                    Ok(())
                }
            })
        });
        let outcomes = futures_util::future::join_all(all).await;
        for (n, outcome) in outcomes.iter().enumerate() {
            assert_eq!(outcome.is_err(), n % 10 == 0, "{n}: {outcome:?}");
        }
        assert_eq!(count(&reader), 90);
    }

    #[tokio::test]
    async fn what_is_answered_is_there_for_others() {
        let (writer, reader, _directory) = writer();
        for n in 0..20 {
            writer.run(move |connection| insert(connection, n)).await.unwrap();
            assert_eq!(count(&reader), n + 1);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_nobody_is_in_a_hurry_for_runs_before_what_is_asked_for_later() {
        let (writer, reader, _directory) = writer();
        let unhurried = writer.run_unhurried(|connection| insert(connection, 1));
        let later = writer.run(|connection| {
            connection.execute("UPDATE number SET n = 2 WHERE n = 1", [])?;
            Ok(())
        });
        let (unhurried, later) = tokio::join!(unhurried, later);
        assert!(unhurried.is_ok() && later.is_ok());
        let n: i64 = reader
            .query_row("SELECT n FROM number", [], |row| row.get(0))
            .unwrap();
        assert_eq!(n, 2);
        // With no other about, it does not wait for ever.
        writer
            .run_unhurried(|connection| insert(connection, 3))
            .await
            .unwrap();
        assert_eq!(count(&reader), 2);
    }

    #[tokio::test]
    async fn a_write_that_nobody_waits_for_stands() {
        let (writer, reader, _directory) = writer();
        tokio::select! {
            biased;
            _ = writer.run(|connection| insert(connection, 1)) => {}
            () = tokio::task::yield_now() => {}
        }
        tokio::select! {
            biased;
            _ = writer.run_unhurried(|connection| insert(connection, 2)) => {}
            () = tokio::task::yield_now() => {}
        }
        drop(writer);
        assert_eq!(count(&reader), 2);
    }

    #[tokio::test]
    async fn a_group_that_cannot_begin_says_why() {
        let (writer, reader, _directory) = writer();
        reader.execute_batch("BEGIN IMMEDIATE").unwrap();
        let error = writer.run(|connection| insert(connection, 1)).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "the database cannot be used: database is locked"
        );
        reader.execute_batch("ROLLBACK").unwrap();
        writer.run(|connection| insert(connection, 1)).await.unwrap();
    }
}
