//! What the log does while the disk fails or is full, and when the thread panics.

use std::sync::{Arc, mpsc};

use super::{
    super::{
        super::{
            Fault,
            writer::{Transaction, Writer},
        },
        Disk, Log, Means,
    },
    Desk, SHORT, passing, write_until, writing,
};

/// Why the process would have ended.
type Ended = mpsc::Receiver<String>;

/// Has the log say why the process is to end, instead of ending it.
fn that_tells_its_end(mut log: Log) -> (Log, Ended) {
    let (ends, ended) = mpsc::channel();
    let end = Arc::new(move |why: &str| {
        let _ = ends.send(why.to_owned());
    });
    log.disk = Disk::with(log.path.clone(), end);
    (log, ended)
}

/// What the engine says when the system could not flush the file.
fn not_flushed() -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_IOERR_FSYNC), None)
}

/// A process whose log is long enough for the thread to be asked, and why it would have ended.
async fn asked(desk: &Desk, means: Means) -> (Writer, Ended) {
    let (log, ended) = that_tells_its_end(Log::with(desk.database(), Arc::new(()), SHORT, means));
    let process = writing(&desk.database(), log);
    write_until(desk, &process, |frames| frames.written >= SHORT.restart_from).await;
    (process, ended)
}

#[tokio::test]
async fn a_process_whose_disk_could_not_write_what_was_moved_ends_and_says_so() {
    let by_the_thread = Means {
        flush: Box::new(|_| Err(std::io::Error::other("the disk is gone"))),
        ..Means::default()
    };
    let by_the_engine = passing(|_| Err(not_flushed()));
    for (means, cause) in [
        (by_the_thread, "the disk is gone"),
        (by_the_engine, "Error code 1034: disk I/O error"),
    ] {
        let desk = Desk::new();
        let (_process, ended) = asked(&desk, means).await;
        let why = ended.recv().unwrap();
        let file = desk.database();
        let found = format!(
            "the disk could not write the database {}: {cause}",
            file.display()
        );
        assert!(why.starts_with(&found), "{why}");
        assert!(why.ends_with("; the next start reads it from the log"), "{why}");
    }
}

#[tokio::test]
async fn a_move_that_failed_otherwise_ends_no_process() {
    let (begins, begun) = mpsc::channel();
    let begins_too = begins.clone();
    let no_room = passing(move |_| {
        let _ = begins.send(());
        let full = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_FULL);
        Err(rusqlite::Error::SqliteFailure(full, None))
    });
    let knows_no_flush = Means {
        flush: Box::new(move |_| {
            let _ = begins_too.send(());
            Err(std::io::ErrorKind::Unsupported.into())
        }),
        ..Means::default()
    };
    for means in [no_room, knows_no_flush] {
        let desk = Desk::new();
        let (process, ended) = asked(&desk, means).await;
        begun.recv().unwrap();
        drop(process);
        assert!(ended.try_recv().is_err());
    }
}

#[test]
fn no_move_of_any_thread_goes_on_after_a_flush_that_failed() {
    let desk = Desk::new();
    let (log, ended) = that_tells_its_end(desk.log());
    let _ = log.disk().judge::<()>(Err(not_flushed()));
    assert!(ended.try_recv().is_ok());
    assert!(log.disk().judge(Ok(())).is_ok());
    assert!(ended.try_recv().is_err());
}

#[tokio::test]
async fn a_group_that_finds_no_room_has_the_log_moved_so_that_its_room_can_be_used_again() {
    let desk = Desk::new();
    let process = desk.process();
    write_until(&desk, &process, |frames| frames.written >= SHORT.restart_from / 2).await;
    assert_eq!(desk.frames().moved, 0);
    let too_much = |connection: &Transaction<'_>| {
        // As on a full disk.
        connection.query_row("PRAGMA max_page_count = 1", [], |_| Ok(()))?;
        connection.execute("INSERT INTO number (filling) VALUES (randomblob(160000))", [])?;
        Ok::<_, Fault>(())
    };
    process.run(too_much).await.unwrap_err();
    // What is asked for now runs after what that group caused.
    process.run(|_| Ok(())).await.unwrap();
    let frames = desk.frames();
    assert_eq!(frames.left(), 0, "{frames:?}");
}

/// To close it would give up the locks of all connections of this process.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_file_that_the_thread_flushes_is_never_closed_even_if_it_panics() {
    let desk = Desk::new();
    let (begins, begun) = mpsc::channel::<()>();
    let panics = passing(move |_| {
        let _ = &begins;
        panic!("a fault of ours")
    });
    let log = Log::with(desk.database(), Arc::new(()), SHORT, panics);
    let process = writing(&desk.database(), log);
    write_until(&desk, &process, |frames| frames.written >= SHORT.restart_from).await;
    // It is gone.
    begun.recv().unwrap_err();
    let database = desk.database().canonicalize().unwrap();
    let Desk { folder, watcher } = desk;
    drop((process, watcher));
    let open = std::fs::read_dir("/proc/self/fd").unwrap();
    let open = open.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok());
    assert_eq!(open.filter(|file| *file == database).count(), 1);
    drop(folder);
}
