//! The address that a request came from, as far as limits go.
//!
//! Invariant: what a client can write by itself is believed only as far as a trusted proxy vouches for it.

use std::net::IpAddr;

use ipnet::IpNet;

/// An address whose requests are counted together. An IPv6 host has a whole /64 to choose from, so that is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientAddress(IpNet);

/// How the log shows who made a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAddresses {
    /// The network around the address, with too many in it to know who it was: `203.0.113.0/24`, `2001:db8:7::/48`.
    Masked,
    /// As precise as limits know it: `203.0.113.7`, `2001:db8:7:1::/64`.
    Full,
    /// Not at all.
    None,
}

impl From<IpAddr> for ClientAddress {
    fn from(address: IpAddr) -> Self {
        let address = address.to_canonical();
        let prefix = if address.is_ipv4() { 32 } else { 64 };
        Self(IpNet::new_assert(address, prefix).trunc())
    }
}

impl ClientAddress {
    /// Who asks: the other end of the connection, unless that is a trusted proxy. Then `forwarded`, all values of
    /// `X-Forwarded-For` in their order, is read from its end: each trusted proxy names who came to it.
    pub fn of_request<'a>(
        peer: IpAddr,
        forwarded: impl DoubleEndedIterator<Item = &'a str>,
        trusted: &[IpNet],
    ) -> Self {
        let is_trusted = |address: IpAddr| {
            let address = address.to_canonical();
            trusted.iter().any(|net| net.contains(&address))
        };
        let mut client = peer;
        for hop in forwarded.rev().flat_map(|value| value.rsplit(',')) {
            if !is_trusted(client) {
                break;
            }
            // What a trusted proxy did not write as an address hides whoever came to it; the proxy stands for them.
            let Some(address) = parse(hop.trim()) else { break };
            client = address;
        }
        client.into()
    }
}

impl ClientAddress {
    /// As the log shows it.
    pub fn shown(self, how: ClientAddresses) -> Option<String> {
        let around = |length| IpNet::new_assert(self.0.addr(), length).trunc().to_string();
        match (how, self.0) {
            (ClientAddresses::Masked, IpNet::V4(_)) => Some(around(24)),
            (ClientAddresses::Masked, IpNet::V6(_)) => Some(around(48)),
            (ClientAddresses::Full, IpNet::V4(net)) => Some(net.addr().to_string()),
            (ClientAddresses::Full, IpNet::V6(net)) => Some(net.to_string()),
            (ClientAddresses::None, _) => None,
        }
    }

    /// Whether it is all within one of these networks.
    pub fn is_within(self, networks: &[IpNet]) -> bool {
        networks.iter().any(|network| network.contains(&self.0))
    }
}

impl std::fmt::Display for ClientAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// An address, in brackets or not, with a port or not: proxies write all of these.
fn parse(hop: &str) -> Option<IpAddr> {
    if let Ok(address) = hop.parse() {
        return Some(address);
    }
    if let Ok(socket) = hop.parse::<std::net::SocketAddr>() {
        return Some(socket.ip());
    }
    hop.strip_prefix('[')?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn client(peer: &str, forwarded: &[&str]) -> String {
        let trusted: Vec<IpNet> = ["10.0.0.0/8", "2001:db8:ffff::/48"]
            .iter()
            .map(|net| net.parse().unwrap())
            .collect();
        ClientAddress::of_request(peer.parse().unwrap(), forwarded.iter().copied(), &trusted).to_string()
    }

    #[test]
    fn forwarded_addresses_are_read_from_the_right_as_far_as_they_are_vouched_for() {
        for (peer, forwarded, expected) in [
            ("192.0.2.1", &[][..], "192.0.2.1/32"),
            // Not a proxy of ours: what it says is its own invention.
            ("192.0.2.1", &["198.51.100.7"], "192.0.2.1/32"),
            ("10.0.0.1", &[], "10.0.0.1/32"),
            ("10.0.0.1", &["198.51.100.7"], "198.51.100.7/32"),
            // The client wrote the first one.
            ("10.0.0.1", &["203.0.113.9, 198.51.100.7"], "198.51.100.7/32"),
            ("10.0.0.1", &["203.0.113.9", "198.51.100.7"], "198.51.100.7/32"),
            // Two proxies of ours.
            (
                "10.0.0.1",
                &["203.0.113.9, 198.51.100.7, 10.0.0.2"],
                "198.51.100.7/32",
            ),
            (
                "10.0.0.1",
                &["203.0.113.9,198.51.100.7 ", " 10.0.0.2"],
                "198.51.100.7/32",
            ),
            ("10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3/32"),
            ("10.0.0.1", &["198.51.100.7, unknown"], "10.0.0.1/32"),
            ("10.0.0.1", &["198.51.100.7, unknown, 10.0.0.2"], "10.0.0.2/32"),
            ("10.0.0.1", &[""], "10.0.0.1/32"),
            ("10.0.0.1", &["198.51.100.7:4711"], "198.51.100.7/32"),
            ("10.0.0.1", &["[2001:db8::7]:4711"], "2001:db8::/64"),
            ("10.0.0.1", &["[2001:db8::7]"], "2001:db8::/64"),
            ("2001:db8:ffff::1", &["2001:db8:1:2:3:4:5:6"], "2001:db8:1:2::/64"),
            // IPv4 as a socket of both families shows it.
            ("::ffff:10.0.0.1", &["::ffff:198.51.100.7"], "198.51.100.7/32"),
            ("::ffff:192.0.2.1", &["198.51.100.7"], "192.0.2.1/32"),
        ] {
            assert_eq!(client(peer, forwarded), expected, "{peer} {forwarded:?}");
        }
    }

    proptest! {
        /// What a client writes by itself stands before what the proxies wrote, and changes nothing.
        #[test]
        fn nobody_invents_an_address(invented in "\\PC{0,40}|([0-9a-f.:]{1,20}[, ]{0,2}){0,5}", lines in any::<bool>()) {
            for honest in ["198.51.100.7", "198.51.100.7, 10.0.0.2", "2001:db8::7, 10.1.2.3, 10.0.0.2"] {
                let joined = format!("{invented}, {honest}");
                let forwarded = if lines { vec![invented.as_str(), honest] } else { vec![joined.as_str()] };
                prop_assert_eq!(client("10.0.0.1", &forwarded), client("10.0.0.1", &[honest]));
                prop_assert_eq!(client("192.0.2.1", &forwarded), "192.0.2.1/32");
            }
        }
    }

    #[test]
    fn an_address_is_shown_in_full_or_as_the_network_around_it() {
        for (address, full, masked) in [
            ("203.0.113.7", "203.0.113.7", "203.0.113.0/24"),
            ("::ffff:203.0.113.7", "203.0.113.7", "203.0.113.0/24"),
            ("2001:db8:7:1::9", "2001:db8:7:1::/64", "2001:db8:7::/48"),
        ] {
            let address = ClientAddress::from(address.parse::<IpAddr>().unwrap());
            assert_eq!(address.shown(ClientAddresses::Full).unwrap(), full);
            assert_eq!(address.shown(ClientAddresses::Masked).unwrap(), masked);
            assert_eq!(address.shown(ClientAddresses::None), None);
        }
    }

    #[test]
    fn a_host_cannot_choose_another_address_in_its_network() {
        let [one, other, third] = ["2001:db8:1:2::1", "2001:db8:1:2:ffff::9", "2001:db8:1:3::1"]
            .map(|address| ClientAddress::from(address.parse::<IpAddr>().unwrap()));
        assert_eq!(one, other);
        assert_ne!(one, third);
    }
}
