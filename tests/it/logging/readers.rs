//! Whoever reads the log, or does not: the daemon starts, serves, and ends when it is asked to.

use std::{
    fs::{File, OpenOptions},
    io::{BufRead, BufReader, ErrorKind, Write},
    os::{fd::OwnedFd, unix::net::UnixStream},
    process::{Command, Stdio},
};

use phone_verify_tests::{daemon::Daemon, site::Site};

const NUMBER: &str = "+13478379634";
/// More requests than their lines found room for in a pipe.
const MANY: usize = 700;

/// A standard error that takes nothing; what must be kept for it to stay so.
fn hostile(kind: &str) -> (Stdio, Option<UnixStream>) {
    match kind {
        "reader that has gone" => (stream().1.into(), None),
        "full device" => (
            OpenOptions::new().write(true).open("/dev/full").unwrap().into(),
            None,
        ),
        "reader that has stopped" => {
            let (full, reader) = full();
            full.set_nonblocking(false).unwrap();
            (OwnedFd::from(full).into(), Some(reader))
        }
        "reader that has stopped, of a stream that does not wait" => {
            let (full, reader) = full();
            (OwnedFd::from(full).into(), Some(reader))
        }
        other => panic!("{other}"),
    }
}

/// A reader, and what it reads from.
fn stream() -> (UnixStream, OwnedFd) {
    let (reader, writer) = UnixStream::pair().unwrap();
    (reader, writer.into())
}

/// A stream that takes nothing more, and its other end.
fn full() -> (UnixStream, UnixStream) {
    let (mut full, reader) = UnixStream::pair().unwrap();
    full.set_nonblocking(true).unwrap();
    loop {
        match full.write(&[b'.'; 1024]) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return (full, reader),
            Err(error) => panic!("{error}"),
        }
    }
}

const HOSTILE: [&str; 4] = [
    "reader that has gone",
    "full device",
    "reader that has stopped",
    "reader that has stopped, of a stream that does not wait",
];

fn site(format: &str) -> Site {
    let mut site = Site::new();
    site.set("log", "format", format);
    site
}

async fn it_serves_and_ends(daemon: Daemon, requests: usize, situation: &str) {
    for _ in 0..requests {
        assert_eq!(daemon.get("/healthz").await.status, 200, "{situation}");
    }
    let registered = daemon.register(NUMBER).await;
    assert_eq!(registered.status, 200, "{situation}: {registered:?}");
    let (status, _) = daemon.stop();
    assert_eq!(status.code(), Some(0), "{situation}");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_nobody_to_read_its_log_from_the_start_the_daemon_serves_and_ends() {
    for format in ["text", "json"] {
        let site = site(format);
        for kind in HOSTILE {
            let (stderr, _kept) = hostile(kind);
            let daemon = Daemon::start_unread(&mut site.command(&["serve"]), Stdio::null(), stderr);
            it_serves_and_ends(daemon, 20, &format!("{format}, a {kind}")).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_both_streams_dead_the_daemon_serves_and_ends() {
    let site = site("text");
    for kind in HOSTILE {
        let ((stdout, _also_kept), (stderr, _kept)) = (hostile(kind), hostile(kind));
        let daemon = Daemon::start_unread(&mut site.command(&["serve"]), stdout, stderr);
        it_serves_and_ends(daemon, 20, kind).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_closed_streams_the_daemon_serves_and_ends() {
    let site = site("text");
    let program = site.command(&[]);
    let mut shell = Command::new("sh");
    shell
        .current_dir(site.folder())
        .args(["-c", "exec \"$0\" serve \"$@\" >&- 2>&-"])
        .arg(program.get_program());
    let daemon = Daemon::start_unread(&mut shell, Stdio::null(), Stdio::null());
    it_serves_and_ends(daemon, 20, "closed streams").await;
}

/// Starts a daemon whose log is read until it listens.
fn read_until_it_listens(site: &Site) -> (Daemon, BufReader<UnixStream>) {
    let (reader, stderr) = stream();
    let daemon = Daemon::start_unread(&mut site.command(&["serve"]), Stdio::null(), stderr);
    let mut reader = BufReader::new(reader);
    let mut line = String::new();
    while !line.contains("listening") {
        line.clear();
        assert_ne!(reader.read_line(&mut line).unwrap(), 0);
    }
    (daemon, reader)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_goes_takes_no_request_with_it() {
    for format in ["text", "json"] {
        let site = site(format);
        let (daemon, reader) = read_until_it_listens(&site);
        drop(reader);
        it_serves_and_ends(daemon, 50, format).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_stops_holds_nothing_up_and_misses_nothing_when_it_reads_on() {
    let site = site("text");
    let (daemon, reader) = read_until_it_listens(&site);
    for _ in 0..MANY {
        assert_eq!(daemon.get("/healthz").await.status, 200);
    }
    let lines = reader.lines().map_while(Result::ok);
    let requests = lines.filter(|line| line.contains("route=\"/healthz\""));
    assert_eq!(requests.take(MANY).count(), MANY);
    let (status, _) = daemon.stop();
    assert_eq!(status.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_stops_for_good_keeps_no_daemon_from_ending() {
    for format in ["text", "json"] {
        let site = site(format);
        let (daemon, _reader) = read_until_it_listens(&site);
        it_serves_and_ends(daemon, MANY, format).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_reader_is_told_how_many_lines_are_lost() {
    let site = site("json");
    let fifo = site.path("log");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    // Opened for both, so that no open waits for the other end.
    let open = || OpenOptions::new().read(true).write(true).open(&fifo).unwrap();
    let first = open();
    let stderr = OpenOptions::new().write(true).open(&fifo).unwrap();
    let daemon = Daemon::start_unread(&mut site.command(&["serve"]), Stdio::null(), stderr);
    let mut lines = BufReader::new(first).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("listening")));
    drop(lines);
    for _ in 0..3 {
        daemon.get("/healthz").await;
    }
    let second = open();
    // The lines of the three are written before this one's.
    assert_eq!(daemon.get("/readyz").await.status, 200);
    let mut lines = BufReader::new(second).lines().map_while(Result::ok);
    let lost = lines.find(|line| line.contains("\"lost\":")).unwrap();
    assert!(lost.contains("lines of the log are lost"), "{lost}");
    daemon.stop();
}

#[test]
fn a_start_that_is_refused_ends_although_nobody_hears_why() {
    for format in ["text", "json"] {
        let mut site = site(format);
        site.set("phone_verification", "TOKEN_LENGTH", "six");
        for kind in HOSTILE {
            let (stderr, _kept) = hostile(kind);
            let status = site
                .command(&["serve"])
                .stdout(Stdio::null())
                .stderr(stderr)
                .status();
            assert_eq!(status.unwrap().code(), Some(2), "{format}, a {kind}");
        }
    }
}

#[test]
fn a_command_whose_reader_has_seen_enough_ends_quietly() {
    let site = Site::new();
    for arguments in [
        &["settings", "--defaults"][..],
        &["settings", "--print"],
        &["check"],
        &["check", "--json"],
        &["backends"],
        &["--help"],
    ] {
        let (reader, stdout) = stream();
        drop(reader);
        let ended = site
            .command(arguments)
            .stdout(stdout)
            .stderr(Stdio::piped())
            .output();
        let stderr = String::from_utf8(ended.unwrap().stderr).unwrap();
        assert!(!stderr.contains("panicked"), "{arguments:?}: {stderr}");
    }
}

#[test]
fn a_result_that_cannot_be_printed_is_no_success() {
    let site = Site::new();
    let full = File::options().write(true).open("/dev/full").unwrap();
    let ended = site
        .command(&["settings", "--defaults"])
        .stdout(full)
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    let stderr = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(1), "{stderr}");
    assert!(
        stderr.starts_with("error: the result cannot be printed:"),
        "{stderr}"
    );
}
