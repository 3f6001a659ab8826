//! The address of a client, as limits count it.
//!
//! Invariant: the service believes nothing that a client can write itself. It believes a forwarding header only as far
//! as trusted proxies wrote it.

use std::{
    hash::{Hash, Hasher},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::IpNet;

use super::forwarded;

/// The other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Connected over TCP.
    Address(IpAddr),
    /// A process on this machine, connected through a Unix socket. It has no address.
    UnixSocket,
}

/// The proxies whose forwarding headers are believed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedProxies {
    /// The networks of proxies.
    pub networks: Vec<IpNet>,
    /// Whether every process that connects through a Unix socket counts as a proxy.
    pub unix_socket: bool,
}

impl TrustedProxies {
    /// Whether this peer is a trusted proxy.
    pub fn contain(&self, peer: Peer) -> bool {
        match peer {
            Peer::Address(address) => {
                let address = address.to_canonical();
                self.networks.iter().any(|network| network.contains(&address))
            }
            Peer::UnixSocket => self.unix_socket,
        }
    }
}

/// An address whose requests are counted together; two values are equal if they are.
///
/// An IPv6 host can use any address of its /64, so the /64 is counted. An IPv4 host that connects through a transition
/// mechanism is counted under its IPv4 address: otherwise it could use as many IPv6 networks as it likes.
#[derive(Clone, Copy, Debug)]
pub struct ClientAddress(Client);

#[derive(Clone, Copy, Debug)]
enum Client {
    /// `exact`: the source address of the packets. `own`: the network whose addresses one host can use. `counted`: what
    /// limits count.
    Network {
        exact: IpAddr,
        own: IpNet,
        counted: IpNet,
    },
    UnixSocket,
}

/// The origin of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Requester {
    /// The client.
    pub client: ClientAddress,
    /// Whether `Forwarded` and `X-Forwarded-For` named different clients, so that neither was believed.
    pub is_contradictory: bool,
}

/// The form in which the log shows client addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAddresses {
    /// A network large enough to hide the person: `203.0.113.0/24`, `2001:db8:7::/48`.
    Masked,
    /// The full address: `203.0.113.7`, `2001:db8:7:1::9`.
    Full,
    /// No address.
    None,
}

impl From<IpAddr> for ClientAddress {
    fn from(address: IpAddr) -> Self {
        let address = address.to_canonical();
        let own = IpNet::new_assert(address, if address.is_ipv4() { 32 } else { 64 }).trunc();
        let counted = match address {
            IpAddr::V6(v6) => counted(v6).unwrap_or(own),
            IpAddr::V4(_) => own,
        };
        Self(Client::Network {
            exact: address,
            own,
            counted,
        })
    }
}

impl From<Peer> for ClientAddress {
    fn from(peer: Peer) -> Self {
        match peer {
            Peer::Address(address) => address.into(),
            Peer::UnixSocket => Self(Client::UnixSocket),
        }
    }
}

impl ClientAddress {
    /// The address as the log shows it. When masked, it is the network around the counted address, because an IPv6
    /// address of a transition mechanism contains an IPv4 address.
    pub fn shown(self, how: ClientAddresses) -> Option<String> {
        let around = |net: IpNet, length| IpNet::new_assert(net.addr(), length).trunc().to_string();
        match (how, self.0) {
            (ClientAddresses::None, _) => None,
            (_, Client::UnixSocket) => Some(self.to_string()),
            (ClientAddresses::Full, Client::Network { exact, .. }) => Some(exact.to_string()),
            (ClientAddresses::Masked, Client::Network { counted, .. }) => {
                Some(around(counted, if counted.addr().is_ipv4() { 24 } else { 48 }))
            }
        }
    }

    /// Determines the client of a request: the peer, unless the peer is a trusted proxy. Then the headers are read from
    /// their end, as long as the reported addresses are trusted proxies. `x_forwarded_for` and `forwarded` are all
    /// values of these headers, in order.
    ///
    /// Most proxies write one of the two headers and pass the other one on as the client wrote it. So if both exist and
    /// name different clients, neither is believed and the proxy counts as the client.
    pub fn of_request(
        peer: Peer,
        x_forwarded_for: &[&str],
        forwarded: &[&str],
        trusted: &TrustedProxies,
    ) -> Requester {
        let certain = |client| Requester {
            client,
            is_contradictory: false,
        };
        let one = || follow(peer, forwarded::by_x_forwarded_for(x_forwarded_for), trusted);
        let other = || follow(peer, forwarded::by_forwarded(forwarded), trusted);
        match (x_forwarded_for.is_empty(), forwarded.is_empty()) {
            _ if !trusted.contain(peer) => certain(peer.into()),
            (true, true) => certain(peer.into()),
            (false, true) => certain(one()),
            (true, false) => certain(other()),
            (false, false) if one() == other() => certain(one()),
            (false, false) => Requester {
                client: peer.into(),
                is_contradictory: true,
            },
        }
    }

    /// Whether the client's whole network is within one of these.
    pub fn is_within(self, networks: &[IpNet]) -> bool {
        match self.0 {
            // Uses `own` and not the IPv4 address that a transition mechanism claims: an exempt network must be the
            // real origin of the packets.
            Client::Network { own, .. } => networks.iter().any(|network| network.contains(&own)),
            Client::UnixSocket => false,
        }
    }

    fn counted(&self) -> Option<IpNet> {
        match self.0 {
            Client::Network { counted, .. } => Some(counted),
            Client::UnixSocket => None,
        }
    }
}

impl PartialEq for ClientAddress {
    fn eq(&self, other: &Self) -> bool {
        self.counted() == other.counted()
    }
}

impl Eq for ClientAddress {}

impl Hash for ClientAddress {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.counted().hash(state);
    }
}

impl std::fmt::Display for ClientAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.counted() {
            Some(network) => network.fmt(f),
            None => f.write_str("unix"),
        }
    }
}

/// Goes back from the peer, one hop for each trusted proxy.
fn follow(peer: Peer, hops: impl Iterator<Item = Option<IpAddr>>, trusted: &TrustedProxies) -> ClientAddress {
    let mut client = peer;
    for hop in hops {
        if !trusted.contain(client) {
            break;
        }
        // A trusted proxy that reports something other than an address hides its client, so the proxy counts as the
        // client.
        let Some(address) = hop else { break };
        client = Peer::Address(address);
    }
    client.into()
}

/// What an IPv6 address is counted under. `None`: its /64.
fn counted(address: Ipv6Addr) -> Option<IpNet> {
    let segments = address.segments();
    let ipv4 = |high: u16, low: u16| {
        let address = Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
        Some(IpNet::from(IpAddr::V4(address)))
    };
    match segments {
        // 6to4 (RFC 3056) gives each IPv4 host a whole /48. NAT64 (RFC 6052) and IPv4-translated addresses (RFC 2765)
        // put all of IPv4 into one /64.
        [0x2002, high, low, ..]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low] => ipv4(high, low),
        // Teredo (RFC 4380) has the client's address, inverted, at the end. The client can choose the bits before it.
        [0x2001, 0, .., high, low] => ipv4(!high, !low),
        // NAT64 within a site (RFC 8215): only the site knows the position of the IPv4 address, so each IPv6 address is
        // one host.
        [0x64, 0xff9b, 1, ..] => Some(IpNet::from(IpAddr::V6(address))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn trusted() -> TrustedProxies {
        let networks = ["10.0.0.0/8", "2001:db8:ffff::/48"];
        TrustedProxies {
            networks: networks.iter().map(|net| net.parse().unwrap()).collect(),
            unix_socket: true,
        }
    }

    fn origin(peer: &str, x_forwarded_for: &[&str], forwarded: &[&str]) -> Requester {
        let peer = match peer {
            "unix" => Peer::UnixSocket,
            address => Peer::Address(address.parse().unwrap()),
        };
        ClientAddress::of_request(peer, x_forwarded_for, forwarded, &trusted())
    }

    fn client(peer: &str, x_forwarded_for: &[&str]) -> String {
        origin(peer, x_forwarded_for, &[]).client.to_string()
    }

    #[test]
    fn forwarded_addresses_are_read_from_the_right_as_far_as_they_are_vouched_for() {
        for (peer, forwarded, expected) in [
            ("192.0.2.1", &[][..], "192.0.2.1/32"),
            // Not a trusted proxy, so its header is ignored.
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
            // An IPv4-mapped address, as dual-stack sockets report it.
            ("::ffff:10.0.0.1", &["::ffff:198.51.100.7"], "198.51.100.7/32"),
            ("::ffff:192.0.2.1", &["198.51.100.7"], "192.0.2.1/32"),
            // A proxy on this machine.
            ("unix", &["198.51.100.7, 10.0.0.2"], "198.51.100.7/32"),
            ("unix", &[], "unix"),
        ] {
            assert_eq!(client(peer, forwarded), expected, "{peer} {forwarded:?}");
        }
    }

    #[test]
    fn the_standard_field_is_read_as_the_older_one_is() {
        for (peer, forwarded, expected) in [
            ("192.0.2.1", &["for=198.51.100.7"][..], "192.0.2.1/32"),
            ("10.0.0.1", &["for=198.51.100.7"], "198.51.100.7/32"),
            ("unix", &["for=198.51.100.7"], "198.51.100.7/32"),
            (
                "10.0.0.1",
                &["FOR=\"198.51.100.7:4711\";proto=https"],
                "198.51.100.7/32",
            ),
            (
                "10.0.0.1",
                &["proto=https ; For=\"[2001:db8::7]:_port\" ;by=_us"],
                "2001:db8::/64",
            ),
            (
                "10.0.0.1",
                &["for=203.0.113.9, for=198.51.100.7"],
                "198.51.100.7/32",
            ),
            (
                "10.0.0.1",
                &["for=203.0.113.9", "for=198.51.100.7"],
                "198.51.100.7/32",
            ),
            (
                "10.0.0.1",
                &["for=203.0.113.9, for=198.51.100.7;host=\"a,b\", for=10.0.0.2"],
                "198.51.100.7/32",
            ),
            ("10.0.0.1", &["for=198.51.100.7, for=unknown"], "10.0.0.1/32"),
            ("10.0.0.1", &["for=_hidden, for=10.0.0.2"], "10.0.0.2/32"),
            ("10.0.0.1", &["for=198.51.100.7, proto=https"], "10.0.0.1/32"),
            // A proxy writes what the client sent as Host.
            (
                "10.0.0.1",
                &["for=203.0.113.9, for=198.51.100.7;host=\"x\\\", for=192.0.2.9\""],
                "198.51.100.7/32",
            ),
            // It is unknown which of the two is meant.
            ("10.0.0.1", &["for=198.51.100.7;for=203.0.113.9"], "10.0.0.1/32"),
            ("10.0.0.1", &[""], "10.0.0.1/32"),
        ] {
            let found = origin(peer, &[], forwarded).client.to_string();
            assert_eq!(found, expected, "{peer} {forwarded:?}");
        }
    }

    #[test]
    fn two_fields_that_contradict_each_other_are_not_believed() {
        let agreed = origin("10.0.0.1", &["198.51.100.7"], &["for=198.51.100.7"]);
        assert_eq!(
            (agreed.client.to_string().as_str(), agreed.is_contradictory),
            ("198.51.100.7/32", false)
        );
        let contradictory = origin("10.0.0.1", &["198.51.100.7"], &["for=203.0.113.9"]);
        assert_eq!(
            (
                contradictory.client.to_string().as_str(),
                contradictory.is_contradictory
            ),
            ("10.0.0.1/32", true)
        );
        // The headers of a peer that is not a trusted proxy are ignored, so they cannot contradict each other.
        assert!(!origin("192.0.2.1", &["198.51.100.7"], &["for=203.0.113.9"]).is_contradictory);
    }

    proptest! {
        /// A client's own entries come before those of the proxies, and change nothing.
        #[test]
        fn nobody_invents_an_address(invented in "\\PC{0,40}|([0-9a-f.:]{1,20}[, ]{0,2}){0,5}", lines in any::<bool>()) {
            for honest in ["198.51.100.7", "198.51.100.7, 10.0.0.2", "2001:db8::7, 10.1.2.3, 10.0.0.2"] {
                let joined = format!("{invented}, {honest}");
                let forwarded = if lines { vec![invented.as_str(), honest] } else { vec![joined.as_str()] };
                prop_assert_eq!(client("10.0.0.1", &forwarded), client("10.0.0.1", &[honest]));
                prop_assert_eq!(client("192.0.2.1", &forwarded), "192.0.2.1/32");
            }
        }

        #[test]
        fn nobody_invents_an_address_in_the_standard_field(
            invented in "\\PC{0,40}|((for|by)=[\"\\\\0-9a-f.:;,\\[\\]]{0,20}[,; ]{0,2}){0,5}",
            lines in any::<bool>(),
        ) {
            for honest in ["for=198.51.100.7", "for=198.51.100.7, for=10.0.0.2", "for=\"[2001:db8::7]\", for=10.0.0.2"] {
                let joined = format!("{invented}, {honest}");
                let forwarded = if lines { vec![invented.as_str(), honest] } else { vec![joined.as_str()] };
                let found = origin("10.0.0.1", &[], &forwarded).client;
                prop_assert_eq!(found, origin("10.0.0.1", &[], &[honest]).client);
            }
        }

        /// A client that adds the header which its proxy does not write cannot choose its address that way.
        #[test]
        fn the_field_that_the_proxy_does_not_write_gains_nothing(invented in "[0-9]{1,3}(\\.[0-9]{1,3}){3}") {
            let standard = format!("for={invented}");
            for origin in [
                origin("10.0.0.1", &["198.51.100.7"], &[&standard]),
                origin("10.0.0.1", &[&invented], &["for=198.51.100.7"]),
            ] {
                prop_assert!(["198.51.100.7/32", "10.0.0.1/32"].contains(&origin.client.to_string().as_str()));
            }
        }
    }

    #[test]
    fn an_address_is_shown_in_full_or_as_the_network_around_it() {
        for (address, full, masked) in [
            ("203.0.113.7", "203.0.113.7", "203.0.113.0/24"),
            ("::ffff:203.0.113.7", "203.0.113.7", "203.0.113.0/24"),
            ("2001:db8:7:1::9", "2001:db8:7:1::9", "2001:db8:7::/48"),
            // By 6to4, that of 192.0.2.1.
            ("2002:c000:201::9", "2002:c000:201::9", "192.0.2.0/24"),
        ] {
            let address = ClientAddress::from(address.parse::<IpAddr>().unwrap());
            assert_eq!(address.shown(ClientAddresses::Full).unwrap(), full);
            assert_eq!(address.shown(ClientAddresses::Masked).unwrap(), masked);
            assert_eq!(address.shown(ClientAddresses::None), None);
        }
    }

    #[test]
    fn a_host_cannot_choose_another_address_in_its_network() {
        for (one, other, are_one) in [
            ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", true),
            ("2001:db8:1:2::1", "2001:db8:1:3::1", false),
            // 6to4, Teredo, NAT64, IPv4-translated, IPv4-mapped: the IPv4 host that it is.
            ("2002:c000:201:1::1", "2002:c000:201:ffff::9", true),
            ("2002:c000:201::1", "192.0.2.1", true),
            ("2002:c000:201::1", "2002:c000:202::1", false),
            (
                "2001:0:4136:e378:8000:63bf:3fff:fdfe",
                "2001:0:1:2:3:4:3fff:fdfe",
                true,
            ),
            ("2001:0:4136:e378:8000:63bf:3fff:fdfe", "192.0.2.1", true),
            ("64:ff9b::192.0.2.1", "192.0.2.1", true),
            ("64:ff9b::192.0.2.1", "64:ff9b::192.0.2.2", false),
            ("64:ff9b:1::192.0.2.1", "64:ff9b:1::192.0.2.2", false),
            ("::ffff:0:192.0.2.1", "192.0.2.1", true),
            ("::ffff:192.0.2.1", "192.0.2.1", true),
        ] {
            let [this, that] =
                [one, other].map(|address| ClientAddress::from(address.parse::<IpAddr>().unwrap()));
            assert_eq!(this == that, are_one, "{one} {other}");
            assert_eq!(this.to_string() == that.to_string(), are_one, "{one} {other}");
        }
    }

    #[test]
    fn nobody_is_within_a_network_by_a_claim() {
        let within = |address: &str, network: &str| {
            let address = ClientAddress::from(address.parse::<IpAddr>().unwrap());
            address.is_within(&[network.parse().unwrap()])
        };
        assert!(within("192.0.2.1", "192.0.2.0/24"));
        assert!(within("2001:db8:1:2::1", "2001:db8::/32"));
        assert!(!within("2002:c000:201::1", "192.0.2.0/24"));
        assert!(within("2002:c000:201::1", "2002:c000:201::/48"));
    }
}
