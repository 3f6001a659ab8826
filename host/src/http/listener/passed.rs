//! Sockets that the service manager opened before this process began, and passed to it: systemd's socket activation,
//! `sd_listen_fds(3)`. A client that connects while the daemon is restarted waits, and is not refused.
//!
//! Invariants: they are taken before there is another thread, for that changes the environment; each is a stream socket
//! that listens, or the daemon does not start; and the file of a Unix socket is never removed, for it is the manager's.

use std::{
    env, io,
    net::TcpListener as StdTcpListener,
    os::{fd::AsFd, unix::net::UnixListener as StdUnixListener},
};

use listenfd::ListenFd;
use tokio::net::TcpListener;

use super::{Listener, Socket, Unbound, unix};

/// The number of the first descriptor that is passed.
const FIRST: usize = 3;
/// More are taken for a mistake: each takes an accept loop.
const MAX_PASSED: usize = 64;

/// What the service manager passed, perhaps nothing.
#[derive(Default)]
pub struct Passed {
    sockets: Vec<Taken>,
    /// What was passed and cannot be listened at.
    problems: Vec<String>,
}

enum Taken {
    Tcp(StdTcpListener),
    Unix(StdUnixListener),
}

impl Passed {
    /// Takes what was passed to this very process. Called once, while it has one thread.
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

    /// How many sockets were passed that can be listened at.
    pub fn len(&self) -> usize {
        self.sockets.len()
    }

    /// Whether nothing was passed, be it usable or not.
    pub fn is_empty(&self) -> bool {
        self.sockets.is_empty() && self.problems.is_empty()
    }

    /// Listens at them, or says of each one why that cannot be. Call it inside a tokio runtime.
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

/// One of the descriptors; the error says what it is instead.
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
