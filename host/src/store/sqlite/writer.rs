//! One thread writes. It takes every operation that waits, runs each in a savepoint of one transaction,
//! commits once, and answers all: one flush to disk for all that waited.
//!
//! Invariants: nothing is answered before it is durable; an operation that fails leaves nothing behind and
//! harms none of the others in its group.

use std::thread;

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::Fault;
use crate::store::StoreError;

/// Operations that wait for the writer; more wait at the door.
const QUEUE_LENGTH: usize = 4096;
/// Operations in one transaction: bounds how long the first of them waits.
const MAX_GROUP: usize = 512;

/// An operation that has run, and what to do when its group is durable, or is not.
struct Ran {
    succeeded: bool,
    answer: Box<dyn FnOnce(Result<(), StoreError>) + Send>,
}

type Operation = Box<dyn FnOnce(&Connection) -> Ran + Send>;

/// The way to the writing thread. The thread ends, and the database is closed, when this is dropped.
pub(super) struct Writer {
    operations: Option<mpsc::Sender<Operation>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Writer {
    pub(super) fn start(connection: Connection) -> Self {
        let (operations, waiting) = mpsc::channel(QUEUE_LENGTH);
        let thread = thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || write(&connection, waiting))
            .expect("a thread can be started while the program starts");
        Self {
            operations: Some(operations),
            thread: Some(thread),
        }
    }

    /// Runs an operation; returns when it is durable.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        operation: impl FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (answer, answered) = oneshot::channel();
        let operation: Operation = Box::new(move |connection| {
            let outcome = operation(connection);
            Ran {
                succeeded: outcome.is_ok(),
                answer: Box::new(move |committed| {
                    let outcome = outcome.map_err(Fault::into_error);
                    // Nobody waits any more if the request was given up; the write stands all the same.
                    let _ = answer.send(outcome.and_then(|value| committed.map(|()| value)));
                }),
            }
        });
        let closed = || StoreError::Unavailable("the writer has stopped".into());
        let operations = self.operations.as_ref().ok_or_else(closed)?;
        operations.send(operation).await.map_err(|_| closed())?;
        answered.await.map_err(|_| closed())?
    }
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

fn write(connection: &Connection, mut waiting: mpsc::Receiver<Operation>) {
    let mut group = Vec::with_capacity(MAX_GROUP);
    while waiting.blocking_recv_many(&mut group, MAX_GROUP) > 0 {
        let mut ran = Vec::with_capacity(group.len());
        let committed = commit(connection, group.drain(..), &mut ran);
        if committed.is_err() && !connection.is_autocommit() {
            let _ = connection.execute_batch("ROLLBACK");
        }
        let committed = committed.map_err(|error| StoreError::Unavailable(error.to_string()));
        for ran in ran {
            (ran.answer)(committed.clone());
        }
    }
    // Leaves one file behind instead of three.
    let _ = connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)");
}

/// Runs a group. An operation that was not reached because the transaction is lost is dropped, which tells
/// its caller that the writer gave it up.
fn commit(
    connection: &Connection,
    group: impl Iterator<Item = Operation>,
    ran: &mut Vec<Ran>,
) -> rusqlite::Result<()> {
    let run = |sql| connection.prepare_cached(sql)?.execute([]).map(|_| ());
    run("BEGIN IMMEDIATE")?;
    for operation in group {
        run("SAVEPOINT operation")?;
        let outcome = operation(connection);
        let succeeded = outcome.succeeded;
        ran.push(outcome);
        if !succeeded {
            run("ROLLBACK TO operation")?;
        }
        run("RELEASE operation")?;
    }
    run("COMMIT")
}
