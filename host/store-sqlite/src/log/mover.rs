//! A thread that moves the log to the database file, with a connection of its own, while others write and read.

use std::{
    fs::{File, OpenOptions},
    io,
    mem::ManuallyDrop,
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    thread,
};

use rusqlite::Connection;
use tokio::time::Instant;

use super::{
    super::{open, open_error::is_busy},
    Means,
    disk::Disk,
    frames::Frames,
};
use crate::store::StoreObserver;

/// How often what was written meanwhile is moved as well. Each time it is less, unless the disk cannot follow.
const MAX_PASSES: u32 = 8;

/// What the thread is at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    /// It waits to be asked.
    Rest,
    /// It was asked, or moves.
    Work,
    /// It is to end, or has ended.
    End,
}

struct Shared {
    at: Mutex<At>,
    changed: Condvar,
    /// It is enough when so few frames are left.
    rest: AtomicU32,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, At> {
        self.at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, at: At) {
        *self.lock() = at;
        self.changed.notify_all();
    }

    fn wait_while(&self, at: At) -> At {
        *self
            .changed
            .wait_while(self.lock(), |now| *now == at)
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// What was asked for is done. A wish that it ends stays.
    fn rests(&self) {
        let mut at = self.lock();
        if *at == At::Work {
            *at = At::Rest;
        }
        self.changed.notify_all();
    }
}

/// Tells that the thread is gone, also if it panicked: nobody waits for it then.
struct Ends(Arc<Shared>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.set(At::End);
    }
}

/// The way to the thread.
pub(super) struct Mover {
    shared: Arc<Shared>,
    thread: thread::JoinHandle<()>,
}

impl Mover {
    pub(super) fn start(
        path: PathBuf,
        disk: Disk,
        observer: Arc<dyn StoreObserver>,
        means: Means,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            at: Mutex::new(At::Rest),
            changed: Condvar::new(),
            rest: AtomicU32::new(0),
        });
        let ends = Ends(Arc::clone(&shared));
        let thread = thread::Builder::new()
            .name("store-log".into())
            .spawn(move || run(&path, &disk, &ends.0, &*observer, means))?;
        Ok(Self { shared, thread })
    }

    /// Whether it could be asked now. `None`: it has ended, for its connection could not be opened.
    pub(super) fn is_at_rest(&self) -> Option<bool> {
        match *self.shared.lock() {
            At::Rest => Some(true),
            At::Work => Some(false),
            At::End => None,
        }
    }

    /// Has it move the log. It is enough when so few frames are left as `rest`.
    pub(super) fn ask(&self, rest: u32) {
        self.shared.rest.store(rest, Ordering::Relaxed);
        let mut at = self.shared.lock();
        if *at == At::Rest {
            *at = At::Work;
            self.shared.changed.notify_all();
        }
    }

    /// Waits until it has done what it was asked for.
    pub(super) fn wait(&self) {
        self.shared.wait_while(At::Work);
    }

    /// Ends it, and closes its connection.
    pub(super) fn end(self) {
        self.shared.set(At::End);
        let _ = self.thread.join();
    }
}

fn run(path: &Path, disk: &Disk, shared: &Shared, observer: &dyn StoreObserver, mut means: Means) {
    let connection = match open::connect_to_existing(path) {
        Ok(connection) => connection,
        Err(error) => {
            tracing::warn!(
                "the log of the database {} is moved by those who write, who wait for it: no further connection can be \
                 opened: {error}",
                path.display()
            );
            return;
        }
    };
    // Some systems flush only what was opened for writing.
    // It is never closed, also if this panics: on Unix, to close a file is to give up all locks that the process has on
    // it, those of the other connections too.
    let file = OpenOptions::new()
        .write(true)
        .open(path)
        .ok()
        .map(ManuallyDrop::new);
    let mut has_failed = false;
    while shared.wait_while(At::Rest) == At::Work {
        let began = Instant::now();
        match move_all(&connection, file.as_deref(), disk, &mut means, shared) {
            Ok(has_moved) => {
                has_failed = false;
                if has_moved {
                    observer.log_moved(began.elapsed());
                }
            }
            Err(error) if !has_failed && !is_busy(&error) => {
                has_failed = true;
                tracing::warn!(
                    "the log of the database {} cannot be moved to it, and grows: {error}",
                    path.display()
                );
            }
            Err(_) => {}
        }
        shared.rests();
    }
}

/// Moves what there is, and what is written meanwhile, until little is left. Returns whether it moved anything.
fn move_all(
    connection: &Connection,
    file: Option<&File>,
    disk: &Disk,
    means: &mut Means,
    shared: &Shared,
) -> rusqlite::Result<bool> {
    let mut before = Frames::of(connection)?.moved;
    let mut has_moved = false;
    for _ in 0..MAX_PASSES {
        // Another process does it.
        let Some(Frames { moved, .. }) = disk.judge((means.pass)(connection))? else {
            return Ok(has_moved);
        };
        has_moved |= moved != before;
        // The engine flushes the file only once the log is in it to the last frame. Then little is to be left to flush.
        // What this flush could not write, that one may take for written.
        if let Some(file) = file {
            disk.judge_flush((means.flush)(file));
        }
        let left = Frames::of(connection).map_or(u32::MAX, Frames::left);
        // Readers need the file as it is, or it is enough.
        if moved == before || left <= shared.rest.load(Ordering::Relaxed) || *shared.lock() == At::End {
            return Ok(has_moved);
        }
        before = moved;
    }
    Ok(has_moved)
}
