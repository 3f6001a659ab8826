//! Listens at IP addresses, and at all addresses of a host name.

use std::{
    io::{self, ErrorKind},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use phone_verify_plugin_host::files::may_pass;
use tokio::net::{TcpListener, TcpSocket, lookup_host};

use super::Unbound;
use crate::model::{Listen, NamedBy};

/// How many connections the system may hold until they are accepted. The system may hold fewer.
const BACKLOG: u32 = 1024;

/// The addresses of a name. `localhost` is always this machine, whatever a resolver answers (RFC 6761, section 6.3).
pub(super) async fn resolve(name: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    if name.eq_ignore_ascii_case("localhost") {
        let both: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        return Ok(both.map(|address| SocketAddr::new(address, port)).into());
    }
    Ok(lookup_host((name, port)).await?.collect())
}

/// The addresses to listen at, each once.
#[derive(Default)]
pub(super) struct Addresses(Vec<Wanted>);

struct Wanted {
    address: SocketAddr,
    /// The place as it was written, for messages.
    place: String,
    /// Whether the address is one of several that a name has.
    is_of_name: bool,
}

impl Addresses {
    /// Adds an address, unless it is already there. Port 0 may be added again, since each gets another free port.
    pub(super) fn add(&mut self, place: &Listen, address: SocketAddr) {
        let is_there = self.0.iter().any(|wanted| wanted.address == address);
        if !is_there || address.port() == 0 {
            self.0.push(Wanted {
                address,
                place: place.to_string(),
                is_of_name: matches!(place, Listen::Name(..)),
            });
        }
    }

    /// Binds the addresses. Returns the listeners, and a problem for each address that could not be bound. Of a name's
    /// addresses, those that this machine does not have are ignored as long as another one works: where IPv6 is
    /// disabled, `localhost` still has its IPv4 address.
    pub(super) fn bind(self, named_by: NamedBy) -> (Vec<(TcpListener, SocketAddr)>, Vec<Unbound>) {
        let (mut bound, mut problems, mut missing) = (Vec::new(), Vec::new(), Vec::new());
        let mut reached: Vec<&str> = Vec::new();
        for wanted in &self.0 {
            match listen(wanted.address, self.has_ipv4_of(wanted.address)) {
                Ok(listening) => {
                    bound.push(listening);
                    reached.push(&wanted.place);
                }
                Err(cause) if wanted.is_of_name && is_not_here(&cause) => missing.push((wanted, cause)),
                Err(cause) => problems.push(explain(wanted, &cause, named_by)),
            }
        }
        let unreached = missing
            .iter()
            .filter(|(wanted, _)| !reached.contains(&wanted.place.as_str()));
        problems.extend(unreached.map(|(wanted, cause)| explain(wanted, cause, named_by)));
        (bound, problems)
    }

    /// Whether IPv4 gets a listener of its own with the same port. A socket for all IPv6 addresses must then not take
    /// IPv4 too, or one of the two could not be bound.
    fn has_ipv4_of(&self, address: SocketAddr) -> bool {
        let is_it = |other: &Wanted| other.address.is_ipv4() && other.address.port() == address.port();
        address.ip().is_unspecified() && address.port() != 0 && self.0.iter().any(is_it)
    }
}

/// Binds one address. Returns it as it was bound, since port 0 becomes a real one.
fn listen(address: SocketAddr, only_ipv6: bool) -> io::Result<(TcpListener, SocketAddr)> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()
    } else {
        TcpSocket::new_v6()
    }?;
    #[cfg(unix)]
    {
        // Without this, connections of a daemon that has just ended would block the port for its successor.
        socket.set_reuseaddr(true)?;
        if address.is_ipv6() && only_ipv6 {
            rustix::net::sockopt::set_ipv6_v6only(&socket, true)?;
        }
    }
    #[cfg(not(unix))]
    let _ = only_ipv6;
    socket.bind(address)?;
    let listener = socket.listen(BACKLOG)?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

/// Whether this machine has no such address, or does not support its family.
fn is_not_here(cause: &io::Error) -> bool {
    #[cfg(unix)]
    if cause.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error()) {
        return true;
    }
    cause.kind() == ErrorKind::AddrNotAvailable
}

/// The problem for an error of the system, with what to do about it.
fn explain(wanted: &Wanted, cause: &io::Error, named_by: NamedBy) -> Unbound {
    let Wanted { address, place, .. } = wanted;
    let what = if wanted.is_of_name {
        format!("{place} ({address})")
    } else {
        place.clone()
    };
    let is_taken = cause.kind() == ErrorKind::AddrInUse;
    let before = match cause.kind() {
        ErrorKind::AddrInUse => "end the other process, or ",
        ErrorKind::PermissionDenied if address.port() < 1024 => {
            "ports below 1024 are for root; let systemd give the right, with AmbientCapabilities=CAP_NET_BIND_SERVICE, or "
        }
        ErrorKind::AddrNotAvailable => "this machine has no such address: ",
        _ => "",
    };
    let elsewhere = named_by.elsewhere();
    Unbound {
        sentence: format!("cannot listen on {what}: {cause}; {before}name another address {elsewhere}"),
        may_pass: may_pass(cause),
        taken: is_taken.then_some(Listen::Address(*address)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(places: &[&str]) -> Addresses {
        let mut addresses = Addresses::default();
        for place in places {
            addresses.add(&place.parse().unwrap(), place.parse().unwrap());
        }
        addresses
    }

    #[tokio::test]
    async fn an_address_is_listened_at_once() {
        let localhost = resolve("LocalHost", 8000).await.unwrap();
        let mut wanted = addresses(&["127.0.0.1:8000"]);
        for address in localhost {
            wanted.add(&"localhost:8000".parse().unwrap(), address);
        }
        let all: Vec<String> = wanted.0.iter().map(|wanted| wanted.address.to_string()).collect();
        assert_eq!(all, ["127.0.0.1:8000", "[::1]:8000"]);
    }

    #[tokio::test]
    async fn all_of_ipv6_leaves_ipv4_to_who_has_it() {
        let (taken, port) = {
            let (bound, problems) = addresses(&["0.0.0.0:0"]).bind(NamedBy::Settings);
            assert!(problems.is_empty(), "{problems:?}");
            let port = bound[0].1.port();
            (bound, port)
        };
        drop(taken);
        let both = [format!("[::]:{port}"), format!("0.0.0.0:{port}")];
        let (bound, problems) = addresses(&[&both[0], &both[1]]).bind(NamedBy::Settings);
        let has_ipv6 = TcpSocket::new_v6().is_ok();
        assert!(bound.len() == 2 || !has_ipv6, "{problems:?}");
    }

    #[tokio::test]
    async fn what_cannot_be_listened_at_is_named() {
        let (bound, _) = addresses(&["127.0.0.1:0"]).bind(NamedBy::Settings);
        let taken = bound[0].1.to_string();
        let (_, problems) = addresses(&[&taken, "192.0.2.1:0"]).bind(NamedBy::Settings);
        let told: Vec<&str> = problems.iter().map(|problem| problem.sentence.as_str()).collect();
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(
            told[0].starts_with(&format!("cannot listen on {taken}: ")),
            "{told:?}"
        );
        assert_eq!(problems[0].taken.as_ref().unwrap().to_string(), taken);
        assert!(
            told[1].contains("192.0.2.1:0: ") && told[1].contains("no such address"),
            "{told:?}"
        );
    }
}
