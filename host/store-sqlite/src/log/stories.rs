//! What the log does while others write, read, die and are slow, with bounds that are reached soon.

mod faults;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
};

use rusqlite::Connection;

use super::{
    super::{Fault, event::Recorder, open, open_error::is_busy, writer::Writer},
    Bounds, Frames, Log, Means, Moving, frames,
};
use crate::{entropy::Entropy, store::Keyring};

const SHORT: Bounds = Bounds {
    restart_from: 100,
    rest: 16,
    longest: 400,
};

/// The frames of one write here, and more.
const WRITE: u32 = 8;

/// A database, and somebody who looks at it.
struct Desk {
    folder: tempfile::TempDir,
    watcher: Connection,
}

impl Desk {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let watcher = open::connect(&folder.path().join("test.db")).unwrap();
        watcher.pragma_update(None, "journal_mode", "WAL").unwrap();
        watcher
            .execute_batch("CREATE TABLE number (n INTEGER PRIMARY KEY, filling BLOB)")
            .unwrap();
        Self { folder, watcher }
    }

    fn database(&self) -> PathBuf {
        self.folder.path().join("test.db")
    }

    fn log(&self) -> Log {
        log(&self.database())
    }

    fn process(&self) -> Writer {
        writing(&self.database(), self.log())
    }

    fn frames(&self) -> Frames {
        loop {
            match Frames::of(&self.watcher) {
                // Somebody is changing it at this moment.
                Err(error) if is_busy(&error) => {}
                frames => return frames.unwrap(),
            }
        }
    }

    fn count(&self) -> u32 {
        let count = "SELECT count(*) FROM number";
        self.watcher.query_row(count, [], |row| row.get(0)).unwrap()
    }

    /// Ends all processes, and says which files are left.
    fn left(self, processes: impl IntoIterator<Item = Writer>) -> Vec<String> {
        drop(self.watcher);
        processes.into_iter().for_each(drop);
        let files = self.folder.path().read_dir().unwrap();
        files
            .map(|file| file.unwrap().file_name().into_string().unwrap())
            .collect()
    }
}

fn log(database: &Path) -> Log {
    Log::with(database.to_owned(), Arc::new(()), SHORT, Means::default())
}

/// A thread that moves the log like this.
fn passing(pass: impl FnMut(&Connection) -> rusqlite::Result<Option<Frames>> + Send + 'static) -> Means {
    Means {
        pass: Box::new(pass),
        ..Means::default()
    }
}

fn writing(database: &Path, log: Log) -> Writer {
    let keyring = Keyring::ephemeral(Entropy::seeded(1)).unwrap();
    let events = Recorder::new(Arc::new(keyring));
    Writer::start(open::connect(database).unwrap(), log, events)
}

async fn write(process: &Writer) {
    let insert = |connection: &super::super::writer::Transaction<'_>| {
        connection.execute("INSERT INTO number (filling) VALUES (randomblob(2000))", [])?;
        Ok::<_, Fault>(())
    };
    process.run(insert).await.unwrap();
}

/// Writes until the log has so many frames, or, to begin with, has begun anew.
async fn write_until(desk: &Desk, process: &Writer, is_there: impl Fn(Frames) -> bool) {
    while !is_there(desk.frames()) {
        write(process).await;
    }
}

#[tokio::test]
async fn the_log_begins_anew_again_and_again_while_it_is_written_to() {
    let desk = Desk::new();
    let process = desk.process();
    let (mut longest, mut began_anew, mut before) = (0, 0, 0);
    for _ in 0..2000 {
        write(&process).await;
        let written = desk.frames().written;
        began_anew += u32::from(written < before);
        longest = longest.max(written);
        before = written;
    }
    assert!(began_anew > 1, "{began_anew}");
    assert!(longest < SHORT.longest + WRITE, "{longest}");
    assert_eq!(desk.count(), 2000);
    assert_eq!(desk.left([process]), ["test.db"]);
}

#[tokio::test]
async fn those_who_write_do_not_wait_for_a_move() {
    let desk = Desk::new();
    let (begins, begun) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let slow = move |connection: &Connection| {
        let _ = begins.send(());
        // The disk takes its time.
        let _ = released.recv();
        frames::move_frames(connection)
    };
    let log = Log::with(desk.database(), Arc::new(()), SHORT, passing(slow));
    let process = writing(&desk.database(), log);
    write_until(&desk, &process, |frames| frames.written >= SHORT.restart_from).await;
    begun.recv().unwrap();
    let rows = desk.count();
    write_until(&desk, &process, |frames| {
        frames.written > SHORT.longest - 4 * WRITE
    })
    .await;
    assert!(desk.count() > rows);
    assert_eq!(desk.frames().moved, 0, "it is still at its first move");
    // From now on the disk is fast.
    drop(release);
    write_until(&desk, &process, |frames| frames.written < SHORT.restart_from).await;
}

#[tokio::test]
async fn what_a_reader_looks_at_stays_and_the_log_ends_once_it_has_read() {
    let desk = Desk::new();
    let process = desk.process();
    write(&process).await;
    let reader = open::connect(&desk.database()).unwrap();
    reader
        .execute_batch("BEGIN; SELECT count(*) FROM number")
        .unwrap();
    // Its transaction keeps what it saw, and keeps nobody from writing.
    write_until(&desk, &process, |frames| frames.written > 2 * SHORT.longest).await;
    let seen: u32 = reader
        .query_row("SELECT count(*) FROM number", [], |row| row.get(0))
        .unwrap();
    assert_eq!(seen, 1);
    reader.execute_batch("COMMIT").unwrap();
    write_until(&desk, &process, |frames| frames.written < SHORT.restart_from).await;
    drop(reader);
    assert_eq!(desk.left([process]), ["test.db"]);
}

#[tokio::test]
async fn several_processes_keep_one_log_short() {
    let desk = Desk::new();
    let processes = [desk.process(), desk.process(), desk.process()];
    let mut longest = 0;
    for _ in 0..500 {
        let [one, two, three] = &processes;
        tokio::join!(write(one), write(two), write(three));
        longest = longest.max(desk.frames().written);
    }
    assert!(longest < SHORT.longest + 3 * WRITE, "{longest}");
    assert_eq!(desk.count(), 1500);
    assert_eq!(desk.left(processes), ["test.db"]);
}

#[tokio::test]
async fn the_log_of_a_process_that_died_is_moved_by_the_next() {
    let desk = Desk::new();
    let log = Log::with(desk.database(), Arc::new(()), SHORT, passing(|_| Ok(None)));
    let died = writing(&desk.database(), log);
    write_until(&desk, &died, |frames| frames.written >= SHORT.restart_from).await;
    let rows = desk.count();
    // Its files as they are then.
    let folder = tempfile::tempdir().unwrap();
    for file in ["test.db", "test.db-wal"] {
        std::fs::copy(desk.folder.path().join(file), folder.path().join(file)).unwrap();
    }
    let database = folder.path().join("test.db");
    let watcher = open::connect(&database).unwrap();
    let next = Desk { folder, watcher };
    let process = next.process();
    assert_eq!(next.count(), rows);
    write_until(&next, &process, |frames| frames.written < SHORT.restart_from).await;
    assert_eq!(next.left([process]), ["test.db"]);
}

#[tokio::test]
async fn without_a_thread_the_writer_moves_the_log() {
    let desk = Desk::new();
    let mut log = desk.log();
    log.moving = Moving::ByWriter;
    let process = writing(&desk.database(), log);
    for _ in 0..500 {
        write(&process).await;
        let written = desk.frames().written;
        assert!(written < SHORT.restart_from + 2 * WRITE, "{written}");
    }
}

/// Writes more frames in one group than the writer moves at once.
async fn write_much(process: &Writer) {
    let insert = |connection: &super::super::writer::Transaction<'_>| {
        connection.execute("INSERT INTO number (filling) VALUES (randomblob(160000))", [])?;
        Ok::<_, Fault>(())
    };
    process.run(insert).await.unwrap();
}

#[tokio::test]
async fn the_log_begins_anew_also_if_each_group_is_longer_than_the_rest_that_is_left_to_the_writer() {
    let desk = Desk::new();
    let (writes, written) = mpsc::channel();
    let during_a_group = passing(move |connection| {
        let moved = frames::move_frames(connection)?;
        // There is always something new by the time a move is done.
        let is_new =
            |moved: Frames| Ok::<_, rusqlite::Error>(Frames::of(connection)?.written != moved.written);
        while let Some(moved) = moved
            && !is_new(moved)?
            && written.recv().is_ok()
        {}
        Ok(moved)
    });
    let never_too_long = Bounds {
        longest: u32::MAX,
        ..SHORT
    };
    let log = Log::with(desk.database(), Arc::new(()), never_too_long, during_a_group);
    let process = writing(&desk.database(), log);
    let (mut before, mut now) = (0, 0);
    while now >= before && now < 100 * SHORT.restart_from {
        write_much(&process).await;
        let _ = writes.send(());
        (before, now) = (now, desk.frames().written);
    }
    drop(writes);
    assert!(now < before, "{now}");
}

#[test]
fn another_process_that_began_the_log_anew_and_filled_it_puts_no_step_off() {
    let mut desk = Desk::new();
    let mut log = desk.log();
    let database = desk.database();
    let other = open::connect(&database).unwrap();
    let write_until = |is_there: fn(u32) -> bool| {
        while !is_there(Frames::of(&other).unwrap().written) {
            other
                .execute("INSERT INTO number (filling) VALUES (randomblob(2000))", [])
                .unwrap();
        }
    };
    // Somebody reads what was there before the log.
    let reader = open::connect(&database).unwrap();
    reader
        .execute_batch("BEGIN; SELECT count(*) FROM number")
        .unwrap();
    write_until(|written| written >= SHORT.longest);
    log.keep_short(&mut desk.watcher, false);
    assert!(log.due.wait > SHORT.longest);
    reader.execute_batch("COMMIT").unwrap();
    frames::restart(&other).unwrap();
    write_until(|written| written < SHORT.restart_from);
    write_until(|written| written >= SHORT.restart_from);
    log.keep_short(&mut desk.watcher, false);
    assert_eq!(log.due.wait, SHORT.longest);
    log.end();
}

#[tokio::test]
async fn to_look_at_the_log_moves_nothing() {
    let desk = Desk::new();
    let process = desk.process();
    write(&process).await;
    let before = std::fs::read(desk.database()).unwrap();
    let frames = [desk.frames(), desk.frames()];
    assert!(frames[0].written > 0);
    assert_eq!(frames.map(|frames| frames.moved), [0, 0]);
    assert_eq!(std::fs::read(desk.database()).unwrap(), before);
}

/// Counts moves.
#[derive(Default)]
struct Moves(std::sync::atomic::AtomicU32);

impl crate::store::StoreObserver for Moves {
    fn log_moved(&self, _: std::time::Duration) {
        self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    }
}

#[tokio::test]
async fn what_another_process_moves_is_not_counted_as_moved_by_this_one() {
    let desk = Desk::new();
    let (begins, begun) = mpsc::channel();
    let by_another = passing(move |_| {
        let _ = begins.send(());
        Ok(None)
    });
    let moves = Arc::new(Moves::default());
    let log = Log::with(desk.database(), moves.clone(), SHORT, by_another);
    let process = writing(&desk.database(), log);
    write_until(&desk, &process, |frames| frames.written >= SHORT.restart_from).await;
    begun.recv().unwrap();
    drop(process);
    assert_eq!(moves.0.load(std::sync::atomic::Ordering::SeqCst), 0);
}

#[test]
fn a_database_that_was_deleted_is_not_made_again_to_move_its_log() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("test.db");
    open::connect_to_existing(&missing).unwrap_err();
    assert!(!missing.exists());
}
