//! Keeps the log short. What is committed is in the log, and durable; from there it is moved to the database file,
//! where it belongs. Once all of it is there, and no reader looks into the log, the next write begins the log anew.
//!
//! To move tens of MiB of pages that lie all over the file, and to flush them, takes the disk a while. So a thread of
//! its own does that while others write ([`mover`]), until few frames are left. The writer moves those between two
//! groups, when none can be added, and the next group begins the log anew.
//!
//! Invariants: a group waits for no move but that of the few last frames, as long as the disk can follow; and the log
//! grows beyond [`Bounds::longest`] only for as long as somebody reads what was there before it. It never begins anew
//! after the disk could not flush what was moved ([`disk`]).

mod disk;
mod frames;
mod mover;
#[cfg(test)]
mod stories;

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Duration,
};

pub(super) use disk::Disk;
pub(super) use frames::Frames;
use rusqlite::Connection;
use tokio::time::Instant;

use self::mover::Mover;
use super::open;
use crate::store::StoreObserver;

/// How long the log may be, in frames.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// From here on it is to begin anew. A page that was changed often by then is moved once. More would take long to
    /// read again after a crash.
    pub(super) restart_from: u32,
    /// The writer moves no more than that while others wait, or than a few groups, if these are longer.
    pub(super) rest: u32,
    /// From here on the writer waits for the disk.
    pub(super) longest: u32,
}

impl Bounds {
    /// 64 MiB, 1 MiB and 256 MiB.
    pub(super) const USUAL: Self = Self {
        restart_from: 16_384,
        rest: 256,
        longest: 65_536,
    };
}

/// How long those who write wait for readers, where the log is too long.
const FOR_READERS: Duration = Duration::from_millis(100);

/// Moves what is in the log at that moment.
type Pass = Box<dyn FnMut(&Connection) -> rusqlite::Result<Option<Frames>> + Send>;

/// Flushes what was moved.
type Flush = Box<dyn FnMut(&File) -> io::Result<()> + Send>;

/// How the thread moves.
struct Means {
    pass: Pass,
    flush: Flush,
}

impl Default for Means {
    fn default() -> Self {
        Self {
            pass: Box::new(frames::move_frames),
            flush: Box::new(File::sync_data),
        }
    }
}

/// Who moves the log.
enum Moving {
    /// Nobody had to so far.
    NotYet(Means),
    /// A thread of its own.
    Apart(Mover),
    /// The writer, for the thread could not be started.
    ByWriter,
}

/// How many frames the log must have for each step. A step that readers kept from its end is tried again some frames
/// later.
#[derive(Clone, Copy)]
struct Due {
    ask: u32,
    finish: u32,
    wait: u32,
}

impl Due {
    fn first(bounds: Bounds) -> Self {
        Self {
            ask: bounds.restart_from,
            finish: bounds.restart_from,
            wait: bounds.longest,
        }
    }
}

/// Moves a long log that a process left that died. Nobody waits for it yet. What fails is tried again once the log is
/// written to.
pub(super) fn move_found(connection: &Connection, path: &Path) {
    if Frames::of(connection).is_ok_and(|frames| frames.left() >= Bounds::USUAL.restart_from) {
        let _ = Disk::of(path.to_owned()).judge(frames::move_frames(connection));
    }
}

/// The log of a database, as its writer keeps it.
pub(super) struct Log {
    path: PathBuf,
    disk: Disk,
    bounds: Bounds,
    observer: Arc<dyn StoreObserver>,
    moving: Moving,
    due: Due,
    /// The length of the log after the group before, once there was one.
    before: Option<u32>,
    /// How many frames the last group added.
    group: u32,
}

impl Log {
    pub(super) fn of(path: PathBuf, observer: Arc<dyn StoreObserver>) -> Self {
        Self::with(path, observer, Bounds::USUAL, Means::default())
    }

    fn with(path: PathBuf, observer: Arc<dyn StoreObserver>, bounds: Bounds, means: Means) -> Self {
        Self {
            disk: Disk::of(path.clone()),
            path,
            bounds,
            observer,
            moving: Moving::NotYet(means),
            due: Due::first(bounds),
            before: None,
            group: 0,
        }
    }

    /// What is said of the file.
    pub(super) fn disk(&self) -> Disk {
        self.disk.clone()
    }

    pub(super) fn observer(&self) -> Arc<dyn StoreObserver> {
        Arc::clone(&self.observer)
    }

    /// To be called between two groups, once the one before is answered. What fails is tried again after a later group:
    /// that a group is durable does not depend on it. `found_no_room`: the group before could not be made durable, so
    /// that what is moved makes room for the next.
    pub(super) fn keep_short(&mut self, connection: &mut Connection, found_no_room: bool) {
        let Ok(frames) = Frames::of(connection) else {
            return;
        };
        self.observer.log_is(frames.bytes());
        let began_anew = self.before.is_some_and(|before| frames.written < before);
        // Another process may have filled it meanwhile: what it has is no group.
        if let Some(before) = self.before.filter(|_| !began_anew) {
            self.group = frames.written - before;
        }
        self.before = Some(frames.written);
        if began_anew {
            self.due = Due::first(self.bounds);
        }
        let rest = self.bounds.rest.max(self.group.saturating_mul(2));
        if found_no_room && frames.left() > 0 {
            let _ = self.disk.judge(frames::move_frames(connection));
        } else if frames.written < self.bounds.restart_from {
            self.due = Due::first(self.bounds);
        } else if frames.written >= self.due.wait {
            self.due.wait = frames.written.saturating_mul(2);
            self.wait(connection);
        } else if frames.left() == 0 || self.is_moving() {
        } else if frames.left() <= rest.saturating_add(self.group) || matches!(self.moving, Moving::ByWriter)
        {
            if frames.written >= self.due.finish {
                self.due.finish = frames.written.saturating_add(rest / 4);
                let _ = self.disk.judge(frames::move_frames(connection));
            }
        } else if frames.written >= self.due.ask {
            self.due.ask = frames.written.saturating_add(rest.saturating_mul(4));
            self.ask(rest);
        }
    }

    /// Whether the thread is at it.
    fn is_moving(&mut self) -> bool {
        let Moving::Apart(mover) = &self.moving else {
            return false;
        };
        let is_at_rest = mover.is_at_rest();
        if is_at_rest.is_none() {
            self.moving = Moving::ByWriter;
        }
        is_at_rest == Some(false)
    }

    /// Has the thread move the log, but for so many frames; starts it, if this is the first time.
    fn ask(&mut self, rest: u32) {
        self.moving = match std::mem::replace(&mut self.moving, Moving::ByWriter) {
            Moving::NotYet(means) => {
                let started = Mover::start(
                    self.path.clone(),
                    self.disk.clone(),
                    Arc::clone(&self.observer),
                    means,
                );
                match started {
                    Ok(mover) => Moving::Apart(mover),
                    Err(error) => {
                        tracing::warn!(
                            "the log of the database {} is moved by those who write, who wait for it: no further thread can \
                             be started: {error}",
                            self.path.display()
                        );
                        Moving::ByWriter
                    }
                }
            }
            moving => moving,
        };
        if let Moving::Apart(mover) = &self.moving {
            mover.ask(rest);
        }
    }

    /// The disk does not follow, or readers follow each other without a gap: those who write wait, so that the log
    /// ends. A reader that takes long is not waited for. Then the log is as long as what is written meanwhile.
    fn wait(&self, connection: &mut Connection) {
        if let Moving::Apart(mover) = &self.moving {
            mover.wait();
        }
        let _ = connection.busy_timeout(FOR_READERS);
        for _ in 0..open::BUSY_LOOKS {
            let began = Instant::now();
            match self.disk.judge(frames::move_frames(connection)) {
                // Another process moves it.
                Ok(None) => thread::sleep(open::BUSY_PAUSE),
                Ok(Some(_)) => match self.disk.judge(frames::restart(connection)) {
                    Ok(false) if began.elapsed() < FOR_READERS => {}
                    _ => break,
                },
                Err(_) => break,
            }
        }
        let _ = open::wait_as_usual(connection);
    }

    /// Ends the thread.
    pub(super) fn end(self) {
        if let Moving::Apart(mover) = self.moving {
            mover.end();
        }
    }
}
