//! Sockets that a service manager opened and passes to this process: systemd's socket activation, `sd_listen_fds(3)`.
//! While the daemon restarts, clients that connect wait in the socket's queue and are not refused.
//!
//! Invariants: the sockets are taken while the process has one thread, since taking them changes the environment. Each
//! must be a listening stream socket, or the daemon does not start. The file of a Unix socket is never removed: it
//! belongs to the service manager.

use std::{
    env, io,
    net::TcpListener as StdTcpListener,
    os::{fd::AsFd, unix::net::UnixListener as StdUnixListener},
};

use listenfd::ListenFd;
use tokio::net::TcpListener;

use super::{Listener, Socket, Unbound, unix};

/// The number of the first passed descriptor.
const FIRST: usize = 3;
/// The most sockets. A higher number is probably a mistake, and each socket costs an accept loop.
const MAX_PASSED: usize = 64;

/// The sockets that the service manager passed. Often none.
#[derive(Default)]
pub struct Passed {
    sockets: Vec<Taken>,
    /// What was passed but cannot be listened at.
    problems: Vec<String>,
}

enum Taken {
    Tcp(StdTcpListener),
    Unix(StdUnixListener),
}

impl Passed {
    /// Takes the sockets that were passed to this process. Must be called once, while the process has one thread.
    pub fn take() -> Self {
        let is_for_this = env::var("LISTEN_PID").is_ok_and(|id| id.parse() == Ok(std::process::id()));
        let Some(count) = env::var("LISTEN_FDS").ok().filter(|_| is_for_this) else {
            return Self::default();
        };
        if !count.parse().is_ok_and(|count: usize| count <= MAX_PASSED) {
            let problem = format!(
                "the service manager says that it passes {count:?} sockets (LISTEN_FDS); that must be a number up to \
                 {MAX_PASSED}"
            );
            return Self {
                problems: vec![problem],
                ..Self::default()
            };
        }
        let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':');
        let mut descriptors = ListenFd::from_env();
        let mut passed = Self::default();
        for index in 0..descriptors.len() {
            // Usually the name of the unit, such as phone-verify.socket.
            let name = names.next().filter(|name| !name.is_empty()).unwrap_or("unknown");
            match take(&mut descriptors, index) {
                Ok(socket) => passed.sockets.push(socket),
                Err(found) => passed.problems.push(format!(
                    "descriptor {}, which the service manager passes by the name {name}, {found}",
                    FIRST + index
                )),
            }
        }
        passed
    }

    /// How many usable sockets were passed.
    pub fn len(&self) -> usize {
        self.sockets.len()
    }

    /// Whether nothing was passed, usable or unusable.
    pub fn is_empty(&self) -> bool {
        self.sockets.is_empty() && self.problems.is_empty()
    }

    /// Makes listeners of the sockets, or says for each one why that is not possible. Must be called inside a tokio
    /// runtime.
    pub fn listen(self) -> Result<Vec<Listener>, Vec<Unbound>> {
        let mut problems = self.problems;
        let mut listeners = Vec::new();
        for socket in self.sockets {
            match socket.listen() {
                Ok(listener) => listeners.push(listener),
                Err(cause) => problems.push(format!(
                    "a socket that the service manager passes cannot be listened at: {cause}"
                )),
            }
        }
        if problems.is_empty() {
            return Ok(listeners);
        }
        let unbound = |sentence| Unbound {
            sentence,
            may_pass: false,
            taken: None,
        };
        Err(problems.into_iter().map(unbound).collect())
    }
}

/// Takes one of the descriptors. The error says what it is instead of a listening stream socket.
fn take(descriptors: &mut ListenFd, index: usize) -> Result<Taken, &'static str> {
    let tcp = descriptors.take_tcp_listener(index).ok().flatten();
    let taken = match tcp {
        Some(listener) => Some(Taken::Tcp(listener)),
        None => descriptors
            .take_unix_listener(index)
            .ok()
            .flatten()
            .map(Taken::Unix),
    };
    let taken = taken.ok_or(
        "is no stream socket, neither over TCP nor at a path: say ListenStream= in the socket unit, with an address or a path",
    )?;
    let listens = match &taken {
        Taken::Tcp(listener) => listens(listener),
        Taken::Unix(listener) => listens(listener),
    };
    if listens {
        Ok(taken)
    } else {
        Err("is one connection and no socket that listens: say Accept=no in the socket unit")
    }
}

/// Whether the socket accepts connections, rather than being one.
fn listens(socket: impl AsFd) -> bool {
    rustix::net::sockopt::socket_acceptconn(socket).unwrap_or(false)
}

impl Taken {
    fn listen(self) -> io::Result<Listener> {
        Ok(Listener(match self {
            Self::Tcp(listener) => {
                listener.set_nonblocking(true)?;
                Socket::Tcp {
                    address: listener.local_addr()?,
                    listener: TcpListener::from_std(listener)?,
                }
            }
            Self::Unix(listener) => Socket::Unix(unix::Socket::passed(listener)?),
        }))
    }
}
