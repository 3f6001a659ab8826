//! The sockets that clients connect to, over TCP or at a path in the file system. They are bound before anything is
//! served, by this process or by a service manager that passes them.
//!
//! Invariant: either all places can be listened at, or every one that cannot is reported and none is listened at.

#[cfg(target_os = "linux")]
mod passed;
mod tcp;
#[cfg(unix)]
mod unix;

use std::{
    io,
    net::{IpAddr, SocketAddr},
    path::Path,
};

use tokio::net::{TcpListener, TcpStream};

#[cfg(target_os = "linux")]
pub use passed::Passed;

#[cfg(not(unix))]
use crate::model::NamedBy;
use crate::model::{Listen, Peer, Places};

/// A connection to a client.
#[cfg(unix)]
pub(super) type Stream = tokio_util::either::Either<TcpStream, tokio::net::UnixStream>;
/// A connection to a client.
#[cfg(not(unix))]
pub(super) type Stream = TcpStream;

/// A bound socket that clients can connect to.
pub struct Listener(Socket);

enum Socket {
    Tcp {
        listener: TcpListener,
        address: SocketAddr,
    },
    #[cfg(unix)]
    Unix(unix::Socket),
}

/// Why a place cannot be listened at.
#[derive(Clone, Debug)]
pub struct Unbound {
    /// Which place, what was found, and what to do.
    pub sentence: String,
    /// Whether it may work later, without a change by the operator.
    pub may_pass: bool,
    /// The address or path, if another process listens there.
    pub taken: Option<Listen>,
}

/// Sockets from a service manager: never any, since no supported service manager of this system passes them.
#[cfg(not(target_os = "linux"))]
#[derive(Default)]
pub struct Passed;

#[cfg(not(target_os = "linux"))]
impl Passed {
    /// Takes nothing.
    pub fn take() -> Self {
        Self
    }

    /// How many sockets were passed: none.
    pub fn len(&self) -> usize {
        0
    }

    /// Whether nothing was passed.
    pub fn is_empty(&self) -> bool {
        true
    }

    /// Returns no listener.
    pub fn listen(self) -> Result<Vec<Listener>, Vec<Unbound>> {
        Ok(Vec::new())
    }
}

/// Binds all places; `unix_mode` is the permissions of Unix sockets. The error says for each place that cannot be bound
/// why, and what to do. Must be called inside a tokio runtime.
pub async fn bind(places: Places<'_>, unix_mode: u32) -> Result<Vec<Listener>, Vec<Unbound>> {
    let (addresses, mut problems) = addresses(places).await;
    let (bound, unbound) = addresses.bind(places.named_by);
    problems.extend(unbound);
    let tcp = |(listener, address)| Listener(Socket::Tcp { listener, address });
    let mut listeners: Vec<Listener> = bound.into_iter().map(tcp).collect();
    for path in paths(places.all) {
        #[cfg(unix)]
        match unix::Socket::bind(path, unix_mode, places.named_by) {
            Ok(socket) => listeners.push(Listener(Socket::Unix(socket))),
            Err(problem) => problems.push(problem),
        }
        #[cfg(not(unix))]
        problems.push(no_unix_sockets(path, places.named_by));
    }
    #[cfg(not(unix))]
    let _ = (unix_mode, &mut listeners);
    if problems.is_empty() {
        Ok(listeners)
    } else {
        Err(problems)
    }
}

/// Finds out why [`bind`] would fail, for `phone-verify check`. Whatever is bound for this is released at once; no file
/// is made or removed. Must be called inside a tokio runtime.
pub async fn look(places: Places<'_>) -> Vec<Unbound> {
    let (addresses, mut problems) = addresses(places).await;
    problems.extend(addresses.bind(places.named_by).1);
    #[cfg(unix)]
    problems.extend(paths(places.all).filter_map(|path| unix::look(path, places.named_by).err()));
    #[cfg(not(unix))]
    problems.extend(paths(places.all).map(|path| no_unix_sockets(path, places.named_by)));
    problems
}

/// The addresses of all places that are addresses or names, and a problem for each name that does not resolve.
async fn addresses(places: Places<'_>) -> (tcp::Addresses, Vec<Unbound>) {
    let (mut addresses, mut problems) = (tcp::Addresses::default(), Vec::new());
    for place in places.all {
        match place {
            Listen::Address(address) => addresses.add(place, *address),
            Listen::Name(name, port) => match tcp::resolve(name, *port).await {
                Ok(found) => found.into_iter().for_each(|address| addresses.add(place, address)),
                Err(cause) => problems.push(Unbound {
                    sentence: format!(
                        "cannot listen on {place}: the address of {name} cannot be found: {cause}; name another address {}",
                        places.named_by.elsewhere()
                    ),
                    // The name server may answer later.
                    may_pass: true,
                    taken: None,
                }),
            },
            Listen::Unix(_) => {}
        }
    }
    (addresses, problems)
}

fn paths(places: &[Listen]) -> impl Iterator<Item = &Path> {
    places.iter().filter_map(|place| match place {
        Listen::Unix(path) => Some(path.as_path()),
        Listen::Address(_) | Listen::Name(..) => None,
    })
}

#[cfg(not(unix))]
fn no_unix_sockets(path: &Path, named_by: NamedBy) -> Unbound {
    Unbound {
        sentence: format!(
            "cannot listen on unix:{}: this system has no Unix sockets here; name an address {}",
            path.display(),
            named_by.elsewhere()
        ),
        may_pass: false,
        taken: None,
    }
}

impl Listener {
    /// Whether only processes on this machine can connect: it listens on a loopback address, or at a path whose
    /// permissions exclude other users.
    pub fn is_local(&self) -> bool {
        match &self.0 {
            Socket::Tcp { address, .. } => address.ip().to_canonical().is_loopback(),
            #[cfg(unix)]
            Socket::Unix(socket) => !socket.is_open_to_all(),
        }
    }

    /// Whether the settings mean this socket with that place. For a host name, only the port is compared, since the
    /// name may resolve to other addresses.
    pub fn is_at(&self, place: &Listen) -> bool {
        match (&self.0, place) {
            (Socket::Tcp { address, .. }, Listen::Address(named)) => address == named,
            (Socket::Tcp { address, .. }, Listen::Name(_, port)) => address.port() == *port,
            #[cfg(unix)]
            (Socket::Unix(socket), Listen::Unix(path)) => socket.path() == path,
            _ => false,
        }
    }

    /// The URL to open in a browser; `None`: a browser cannot connect to this socket.
    pub fn page(&self) -> Option<String> {
        match &self.0 {
            Socket::Tcp { address, .. } => {
                let host = match address.ip() {
                    // It listens on all addresses of this machine, so this name works.
                    ip if ip.is_unspecified() => "localhost".to_owned(),
                    IpAddr::V4(ip) => ip.to_string(),
                    IpAddr::V6(ip) => format!("[{ip}]"),
                };
                Some(format!("http://{host}:{}/", address.port()))
            }
            #[cfg(unix)]
            Socket::Unix(_) => None,
        }
    }

    /// The arguments with which `curl` requests a path, such as `http://127.0.0.1:8000/healthz`.
    pub fn curl_target(&self, path: &str) -> String {
        match &self.0 {
            Socket::Tcp { address, .. } => format!("http://{address}{path}"),
            #[cfg(unix)]
            Socket::Unix(socket) => format!(
                "--unix-socket '{}' http://localhost{path}",
                socket.path().display()
            ),
        }
    }

    /// Waits for the next connection, and returns it with the client's address.
    pub(super) async fn accept(&self) -> io::Result<(Stream, Peer)> {
        match &self.0 {
            Socket::Tcp { listener, .. } => {
                let (stream, address) = listener.accept().await?;
                // An answer is written at once; waiting to combine small packets would only delay it.
                let _ = stream.set_nodelay(true);
                #[cfg(unix)]
                let stream = Stream::Left(stream);
                Ok((stream, Peer::Address(address.ip())))
            }
            #[cfg(unix)]
            Socket::Unix(socket) => Ok((Stream::Right(socket.accept().await?), Peer::UnixSocket)),
        }
    }
}

/// The address for a person: `http://127.0.0.1:8000` or `unix:/run/phone-verify/http.sock`.
impl std::fmt::Display for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Socket::Tcp { address, .. } => write!(f, "http://{address}"),
            #[cfg(unix)]
            Socket::Unix(socket) => socket.fmt(f),
        }
    }
}
