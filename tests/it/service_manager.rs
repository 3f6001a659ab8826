//! The daemon under a service manager: what it tells it, as systemd's `sd_notify(3)` has it, and the sockets that it
//! takes from it, as `sd_listen_fds(3)` has it.
#![cfg(target_os = "linux")]

use std::{
    collections::HashMap,
    fs,
    net::{SocketAddr, TcpListener, TcpStream},
    os::{
        fd::OwnedFd,
        linux::net::SocketAddrExt,
        unix::{
            fs::PermissionsExt,
            net::{SocketAddr as UnixAddress, UnixDatagram, UnixListener},
        },
    },
    process::{Command, Stdio},
    time::Duration,
};

use command_fds::{CommandFdExt, FdMapping};
use phone_verify_tests::{
    artifacts,
    connection::Connection,
    daemon::Daemon,
    site::{Site, ran},
};
use rustix::process::Signal;
use serde_json::json;

const NUMBER: &str = "+13478379634";
const HEALTH: &str = "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n";
const PATIENCE: Duration = Duration::from_secs(20);

fn site() -> Site {
    Site::with_backend("noop.FixedCodeBackend", &json!({}))
}

/// What the daemon tells, as a service manager hears it.
struct Manager(UnixDatagram);

/// A message: `READY=1`, `STATUS=…`.
type Told = HashMap<String, String>;

impl Manager {
    fn of(site: &Site) -> (Self, String) {
        let path = site.path("notify.sock");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        (Self(socket), path.display().to_string())
    }

    fn next(&self) -> Told {
        let mut bytes = [0; 4096];
        let length = self.0.recv(&mut bytes).expect("the daemon tells something");
        let text = String::from_utf8(bytes[..length].to_vec()).unwrap();
        let fields = text.lines().map(|line| line.split_once('=').unwrap());
        fields
            .map(|(field, value)| (field.to_owned(), value.to_owned()))
            .collect()
    }

    /// The next message with this field.
    fn next_with(&self, field: &str) -> Told {
        loop {
            let told = self.next();
            if told.contains_key(field) {
                return told;
            }
        }
    }
}

/// The daemon with these sockets, each with its name, as systemd starts it.
fn with_sockets(site: &Site, sockets: Vec<(&str, OwnedFd)>) -> Command {
    let names: Vec<&str> = sockets.iter().map(|(name, _)| *name).collect();
    let mut command = Command::new("sh");
    command
        .args(["-c", "LISTEN_PID=$$ exec \"$0\" serve \"$@\""])
        .arg(artifacts::program())
        .current_dir(site.folder())
        .stdin(Stdio::null())
        .env("LISTEN_FDS", names.len().to_string())
        .env("LISTEN_FDNAMES", names.join(":"));
    let mappings = (3..)
        .zip(sockets)
        .map(|(child_fd, (_, parent_fd))| FdMapping { parent_fd, child_fd });
    command.fd_mappings(mappings.collect()).unwrap();
    command
}

fn health(address: SocketAddr) -> u16 {
    Connection::to(address).write(HEALTH).answer().status()
}

#[tokio::test(flavor = "multi_thread")]
async fn it_tells_when_it_serves_reloads_and_ends() {
    let mut site = site();
    let (manager, socket) = Manager::of(&site);
    let daemon = Daemon::start(site.command(&["serve"]).env("NOTIFY_SOCKET", socket));
    let ready = manager.next();
    assert_eq!(ready["READY"], "1");
    assert!(
        ready["STATUS"].starts_with("Serving with noop.FixedCodeBackend "),
        "{ready:?}"
    );
    assert_eq!(health(daemon.address()), 200);

    // systemd takes a reload for begun only if it began after it had asked for it, by this clock.
    let asked_at = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let asked_at = Duration::try_from(asked_at).unwrap().as_micros();
    daemon.signal(Signal::HUP);
    let reloading = manager.next();
    assert_eq!(reloading["RELOADING"], "1");
    assert!(
        reloading["MONOTONIC_USEC"].parse::<u128>().unwrap() >= asked_at,
        "{reloading:?}"
    );
    let ready = manager.next_with("READY");
    assert!(ready["STATUS"].starts_with("Serving with noop."), "{ready:?}");

    site.set("phone_verification", "TOKEN_LENGTH", "six");
    daemon.signal(Signal::HUP);
    manager.next_with("RELOADING");
    let ready = manager.next_with("READY");
    assert!(
        ready["STATUS"].contains("the settings file cannot be used"),
        "{ready:?}"
    );

    daemon.signal(Signal::TERM);
    let stopping = manager.next_with("STOPPING");
    // What is under way may take longer than the manager waits by itself: 30 and 20 seconds by default, and a margin.
    let extended: u64 = stopping["EXTEND_TIMEOUT_USEC"].parse().unwrap();
    assert!(extended > 50_000_000, "{stopping:?}");
    assert!(daemon.wait().0.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_is_told_as_begun_before_it_is_told_as_done_however_often_it_is_asked_for() {
    let site = site();
    let (manager, socket) = Manager::of(&site);
    let daemon = Daemon::start(site.command(&["serve"]).env("NOTIFY_SOCKET", socket));
    manager.next_with("READY");
    for _ in 0..3 {
        daemon.signal(Signal::HUP);
        manager.next_with("RELOADING");
        manager.next_with("READY");
    }
    assert_eq!(daemon.register(NUMBER).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manager_at_an_abstract_address_is_told_and_one_that_is_gone_harms_nothing() {
    let site = site();
    let name = format!("phone-verify-test-{}", std::process::id());
    let address = UnixAddress::from_abstract_name(&name).unwrap();
    let manager = Manager(UnixDatagram::bind_addr(&address).unwrap());
    manager.0.set_read_timeout(Some(PATIENCE)).unwrap();
    let notify = format!("@{name}");
    let daemon = Daemon::start(site.command(&["serve"]).env("NOTIFY_SOCKET", &notify));
    assert_eq!(manager.next()["READY"], "1");
    drop(manager);
    daemon.signal(Signal::HUP);
    daemon.wait_for_log("the service manager cannot be told");
    daemon.wait_for_log("the settings are reloaded");
    assert_eq!(daemon.register(NUMBER).await.status, 200);
    assert!(daemon.stop().0.success());
}

/// Stands before the system's C library: while the file is there that `HANG` names, nothing becomes durable.
const HANGING_DISK: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>
static void hang(void) { const char *file = getenv("HANG"); while (file && !access(file, F_OK)) usleep(1000); }
int fsync(int fd) { hang(); return ((int (*)(int))dlsym(RTLD_NEXT, "fsync"))(fd); }
int fdatasync(int fd) { hang(); return ((int (*)(int))dlsym(RTLD_NEXT, "fdatasync"))(fd); }
"#;

#[tokio::test(flavor = "multi_thread")]
async fn the_watchdog_hears_of_a_daemon_whose_store_answers_and_of_no_other() {
    let site = site();
    let shim = site.path("shim.so");
    let compiled = Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .arg(&shim)
        .arg(site.write("shim.c", HANGING_DISK))
        .arg("-ldl")
        .status()
        .expect("a C compiler is installed");
    assert!(compiled.success());
    let (manager, socket) = Manager::of(&site);
    let hang = site.path("hang");
    let daemon = Daemon::start(
        site.command(&["serve"])
            .env("NOTIFY_SOCKET", socket)
            .env("WATCHDOG_USEC", "400000")
            .env("LD_PRELOAD", shim)
            .env("HANG", &hang),
    );
    // It is watched from before it serves.
    manager.next_with("READY");
    for _ in 0..3 {
        manager.next_with("WATCHDOG");
    }
    fs::write(&hang, "").unwrap();
    // What was told before the disk hung may still be on its way.
    assert_eq!(manager.next_with("STATUS")["STATUS"], "The store does not answer");
    daemon.wait_for_log("the store does not answer");
    fs::remove_file(&hang).unwrap();
    assert_eq!(manager.next()["STATUS"], "The store answers again");
    manager.next_with("WATCHDOG");
    assert_eq!(daemon.register(NUMBER).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watchdog_of_another_process_hears_nothing() {
    let site = site();
    let (manager, socket) = Manager::of(&site);
    let daemon = Daemon::start(
        site.command(&["serve"])
            .env("NOTIFY_SOCKET", socket)
            .env("WATCHDOG_USEC", "1000")
            .env("WATCHDOG_PID", "1"),
    );
    manager.next_with("READY");
    assert_eq!(daemon.register(NUMBER).await.status, 200);
    daemon.signal(Signal::TERM);
    assert!(manager.next().contains_key("STOPPING"));
}

#[tokio::test(flavor = "multi_thread")]
async fn it_serves_at_the_sockets_that_it_is_passed_and_leaves_them_where_they_are() {
    let mut site = site();
    site.set("server", "listen", "127.0.0.1:1");
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = tcp.local_addr().unwrap();
    let path = site.path("passed.sock");
    let unix = UnixListener::bind(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o660)).unwrap();
    let sockets = || {
        vec![
            ("phone-verify.socket", tcp.try_clone().unwrap().into()),
            ("local", unix.try_clone().unwrap().into()),
        ]
    };
    let daemon = Daemon::start(&mut with_sockets(&site, sockets()));
    daemon.wait_for_print("unix:");
    assert_eq!(daemon.address(), address);
    daemon.wait_for_log("[server] listen, 127.0.0.1:1, is not used");
    assert_eq!(health(address), 200);
    assert_eq!(Connection::to_unix(&path).write(HEALTH).answer().status(), 200);
    // A library's process inherits none of them, and works.
    let registered = daemon.register(NUMBER).await;
    assert_eq!(registered.status, 200, "{registered:?}");
    assert!(daemon.stop().0.success());
    assert!(path.exists(), "it is the manager's");

    // Whoever comes between two daemons waits for the next.
    let mut waiting = Connection::to(address);
    waiting.write(HEALTH);
    let daemon = Daemon::start(&mut with_sockets(&site, sockets()));
    assert_eq!(waiting.answer().status(), 200);
    let checked = daemon.verify(NUMBER, registered.session_token(), "123456").await;
    assert_eq!(checked.status, 200, "{checked:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sockets_that_are_those_of_the_settings_are_no_matter_for_a_warning() {
    let mut site = site();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    site.set("server", "listen", tcp.local_addr().unwrap().to_string());
    let daemon = Daemon::start(&mut with_sockets(&site, vec![("http", tcp.into())]));
    assert_eq!(daemon.register(NUMBER).await.status, 200);
    let (_, log) = daemon.stop();
    assert!(!log.contains("is not used"), "{log}");
}

#[test]
fn what_is_passed_and_cannot_be_listened_at_is_told_by_its_name() {
    let site = site();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let connection = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let refused = ran(&mut with_sockets(
        &site,
        vec![
            ("datagrams", UnixDatagram::unbound().unwrap().into()),
            ("file", fs::File::open(site.folder()).unwrap().into()),
            ("connection", connection.into()),
            ("good", listener.into()),
        ],
    ));
    assert_eq!(refused.code, Some(2), "{refused:#?}");
    for told in [
        "descriptor 3, which the service manager passes by the name datagrams, is no stream socket",
        "descriptor 4, which the service manager passes by the name file, is no stream socket",
        "descriptor 5, which the service manager passes by the name connection, is one connection",
        "ListenStream=",
        "Accept=no",
    ] {
        assert!(refused.stderr.contains(told), "{told}: {refused:#?}");
    }
    assert!(!refused.stderr.contains("good"), "{refused:#?}");
    assert!(
        !site.path("phone-verify.db").exists(),
        "nothing was begun: {refused:#?}"
    );

    let nonsense = ran(with_sockets(&site, Vec::new()).env("LISTEN_FDS", "many"));
    assert_eq!(nonsense.code, Some(2), "{nonsense:#?}");
    assert!(
        nonsense.stderr.contains("passes \"many\" sockets"),
        "{nonsense:#?}"
    );
}

#[test]
fn sockets_and_places_on_the_command_line_are_not_mixed() {
    let site = site();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut command = with_sockets(&site, vec![("http", tcp.into())]);
    let refused = ran(command.args(["--listen", "127.0.0.1:0"]));
    assert_eq!(refused.code, Some(2), "{refused:#?}");
    assert!(refused.stderr.contains("--listen names others"), "{refused:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sockets_of_another_process_are_left_alone() {
    let site = site();
    let daemon = Daemon::start(
        site.command(&["serve"])
            .env("LISTEN_PID", "1")
            .env("LISTEN_FDS", "1"),
    );
    assert_eq!(health(daemon.address()), 200);
}
