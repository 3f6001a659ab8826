//! `[server]`: HTTP.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use ipnet::{IpNet, Ipv4Net};

use super::reader::{Reader, number, text, texts};

/// HTTP.
#[derive(Clone, Debug)]
pub struct Server {
    /// Where it listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// How long a request may take to arrive.
    pub read_timeout: Duration,
    /// How long shutting down waits for requests.
    pub shutdown_timeout: Duration,
}

impl Server {
    pub(super) fn read(reader: &mut Reader) -> Self {
        let mut section = reader.section("server", false);
        let listen = section.get("listen", |value| {
            text(value)?
                .parse()
                .map_err(|_| "must be an address and a port such as 127.0.0.1:8000".to_owned())
        });
        let trusted_proxies = section.get("trusted_proxies", |value| {
            texts(value)?.iter().map(|text| network(text)).collect()
        });
        let mut seconds = |key| Duration::from_secs(u64::from(section.get(key, number(1..=300))));
        let read_timeout = seconds("read_timeout_seconds");
        let shutdown_timeout = seconds("shutdown_timeout_seconds");
        section.finish();
        Self {
            listen,
            trusted_proxies,
            read_timeout,
            shutdown_timeout,
        }
    }
}

/// A network such as `10.0.0.0/8`, or a single address.
pub(super) fn network(text: &str) -> Result<IpNet, String> {
    let address = || text.parse::<IpAddr>().map(IpNet::from);
    text.parse()
        .or_else(|_| address())
        .map(as_clients_are)
        .map_err(|_| format!("must be a list of addresses and networks such as 10.0.0.0/8, not {text}"))
}

/// IPv4 as a socket of both families shows it, `::ffff:10.0.0.0/104`, is the same network: addresses of clients are
/// looked at as IPv4 then.
fn as_clients_are(network: IpNet) -> IpNet {
    let IpNet::V6(mapped) = network else {
        return network;
    };
    let shorter = mapped.prefix_len().checked_sub(96);
    let same = mapped.addr().to_ipv4_mapped().zip(shorter);
    let same = same.and_then(|(address, prefix)| Ipv4Net::new(address, prefix).ok());
    same.map_or(network, IpNet::V4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_read_in_every_spelling() {
        for (text, read) in [
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("10.0.0.1", "10.0.0.1/32"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("::ffff:10.0.0.1", "10.0.0.1/32"),
            ("2001:db8::/32", "2001:db8::/32"),
            ("::1", "::1/128"),
            ("::/0", "::/0"),
        ] {
            assert_eq!(network(text).unwrap().to_string(), read);
        }
        for nonsense in ["", "localhost", "10.0.0.0/33", "10.0.0", "fe80::1%eth0"] {
            assert!(network(nonsense).is_err(), "{nonsense}");
        }
    }
}
