//! Where a backend may send requests: to the hosts that its manifest declares, over https, and to the one that
//! the operator named in its `base_url`, or in an option whose name ends so.
//!
//! Invariant: without the operator's word no request goes to a private address, whatever a name resolves to.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use reqwest::Url;

/// How long a name may take to resolve before the proxy is left to do it.
const LOOKUP_LIMIT: Duration = Duration::from_secs(1);

/// Which client makes a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Route {
    /// Names that resolve to private addresses are refused.
    Public,
    /// Any address.
    Trusted,
}

/// What one backend may reach.
#[derive(Clone, Debug)]
pub(crate) struct Egress {
    hosts: Vec<(String, u16)>,
    base_urls: Vec<Url>,
    allow_private: bool,
}

impl Egress {
    /// `hosts` are those of the manifest, `host` or `host:port`.
    pub(crate) fn new(hosts: &[String], base_urls: &[String], allow_private: bool) -> Self {
        let hosts = hosts
            .iter()
            .map(|entry| {
                let (host, port) = entry
                    .rsplit_once(':')
                    .and_then(|(host, port)| Some((host, port.parse().ok()?)))
                    .unwrap_or((entry, 443));
                (host.to_lowercase(), port)
            })
            .collect();
        Self {
            hosts,
            base_urls: base_urls.iter().filter_map(|url| Url::parse(url).ok()).collect(),
            allow_private,
        }
    }

    /// How a request to `url` may be made; the error says why it may not, without the path and query.
    pub(super) fn admit(&self, url: &Url) -> Result<Route, String> {
        let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
            return Err("the URL names no host".to_owned());
        };
        if !matches!(url.scheme(), "http" | "https") {
            return Err(format!("{}: is neither https nor http", url.scheme()));
        }
        let is_base = |base: &Url| {
            base.scheme() == url.scheme()
                && base.host_str() == Some(host)
                && base.port_or_known_default() == Some(port)
        };
        if self.base_urls.iter().any(is_base) {
            return Ok(Route::Trusted);
        }
        if !self
            .hosts
            .iter()
            .any(|(known, at)| known == host && (*at == port || self.allow_private))
        {
            return Err(format!(
                "{host}:{port} is not among the hosts that the backend declares, nor its base_url"
            ));
        }
        if self.allow_private {
            return Ok(Route::Trusted);
        }
        if url.scheme() != "https" {
            return Err(format!("{host} may be called over https only"));
        }
        let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
        if address.is_ok_and(|address| !is_public(address)) {
            return Err(format!("{host} is a private address"));
        }
        Ok(Route::Public)
    }
}

/// Judges a name that a proxy is to resolve, for whoever may reach public addresses alone. Networks with a proxy often
/// do not resolve the names of the internet; what does not resolve here must not be one of those that a network gives
/// to its own machines.
pub(super) async fn admit_by_proxy(host: &str) -> Result<(), String> {
    let addresses = tokio::time::timeout(LOOKUP_LIMIT, tokio::net::lookup_host((host, 443))).await;
    match addresses {
        Ok(Ok(mut addresses)) => {
            if addresses.all(|address| is_public(address.ip())) {
                Ok(())
            } else {
                Err(format!("{host} resolves to a private address"))
            }
        }
        _ if is_of_a_private_network(host) => Err(format!("{host} is a name of a private network")),
        _ => Ok(()),
    }
}

/// By IANA's registry of special-use domain names, and ICANN's reservation of `internal`.
fn is_of_a_private_network(host: &str) -> bool {
    let host = host.trim_end_matches('.');
    match host.rsplit_once('.') {
        None => true,
        Some((_, last)) => ["arpa", "internal", "local", "localhost", "onion"].contains(&last),
    }
}

/// Whether an address is one of the internet's, and not of this machine or network.
pub(super) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

/// By IANA's registry of special-purpose addresses.
fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    !(a == 0
        || a >= 240
        || address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_documentation()
        || (a == 100 && b & 0xc0 == 64)
        || (a, b, c) == (192, 0, 0)
        || (a == 198 && b & 0xfe == 18))
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    let embedded = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match segments {
        // IPv4-mapped and IPv4-compatible, which covers :: and ::1; NAT64; 6to4.
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x2002, high, low, ..] => embedded(high, low),
        // Protocols of the IETF, with Teredo among them, and documentation.
        [0x2001, 0..0x200 | 0xdb8, ..] | [0x3fff, 0..0x1000, ..] => false,
        // What is left of 2000::/3 is the internet; all else is local, multicast or not handed out.
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admit(egress: &Egress, url: &str) -> Result<Route, String> {
        egress.admit(&Url::parse(url).unwrap())
    }

    #[test]
    fn a_declared_host_is_reached_over_https_only() {
        let egress = Egress::new(
            &["rest.nexmo.com".to_owned(), "Odd.Example:8443".to_owned()],
            &[],
            false,
        );
        assert_eq!(
            admit(&egress, "https://rest.nexmo.com/sms/json?key=1"),
            Ok(Route::Public)
        );
        assert_eq!(admit(&egress, "https://REST.nexmo.com"), Ok(Route::Public));
        assert_eq!(admit(&egress, "https://odd.example:8443/"), Ok(Route::Public));
        for (url, why) in [
            (
                "http://rest.nexmo.com:443/",
                "rest.nexmo.com may be called over https only",
            ),
            ("https://rest.nexmo.com:8443/", "rest.nexmo.com:8443 is not among"),
            ("https://evil.example/", "evil.example:443 is not among"),
            ("https://x.rest.nexmo.com/", "x.rest.nexmo.com:443 is not among"),
            (
                "https://rest.nexmo.com@evil.example/",
                "evil.example:443 is not among",
            ),
            ("ftp://rest.nexmo.com/", "ftp: is neither https nor http"),
            ("file:///etc/passwd", "the URL names no host"),
        ] {
            let denied = admit(&egress, url).unwrap_err();
            assert!(denied.starts_with(why), "{url}: {denied}");
        }
    }

    #[test]
    fn the_operators_base_url_may_be_anything() {
        let egress = Egress::new(&[], &["http://127.0.0.1:8080/proxy".to_owned()], false);
        assert_eq!(admit(&egress, "http://127.0.0.1:8080/other"), Ok(Route::Trusted));
        assert!(admit(&egress, "http://127.0.0.1:8081/").is_err());
        assert!(admit(&egress, "https://127.0.0.1:8080/").is_err());
    }

    #[test]
    fn a_private_address_needs_the_operators_word() {
        let hosts = ["127.0.0.1".to_owned(), "[::1]".to_owned()];
        let egress = Egress::new(&hosts, &[], false);
        assert_eq!(
            admit(&egress, "https://127.0.0.1/"),
            Err("127.0.0.1 is a private address".to_owned())
        );
        let egress = Egress::new(&hosts, &[], true);
        assert_eq!(admit(&egress, "http://127.0.0.1:9/"), Ok(Route::Trusted));
    }

    #[test]
    fn an_address_in_a_url_is_judged_however_it_is_written() {
        for (host, url) in [
            ("127.0.0.1", "https://0x7f.1/"),
            ("127.0.0.1", "https://2130706433/"),
            ("169.254.169.254", "https://169.254.169.254/latest/meta-data/"),
            ("[::ffff:7f00:1]", "https://[::ffff:127.0.0.1]/"),
            ("[::ffff:a9fe:a9fe]", "https://[::ffff:169.254.169.254]/"),
            ("[64:ff9b::a00:1]", "https://[64:ff9b::10.0.0.1]/"),
        ] {
            let egress = Egress::new(&[host.to_owned()], &[], false);
            assert_eq!(admit(&egress, url), Err(format!("{host} is a private address")));
        }
    }

    #[tokio::test]
    async fn a_proxy_is_no_way_to_a_private_network() {
        for (host, why) in [
            ("localhost", "localhost resolves to a private address"),
            ("printer", "printer is a name of a private network"),
            (
                "metadata.google.internal.",
                "metadata.google.internal. is a name of a private network",
            ),
            (
                "nas.nowhere.local",
                "nas.nowhere.local is a name of a private network",
            ),
            (
                "1.0.0.127.in-addr.arpa",
                "1.0.0.127.in-addr.arpa is a name of a private network",
            ),
            ("10.0.0.1", "10.0.0.1 resolves to a private address"),
        ] {
            assert_eq!(admit_by_proxy(host).await, Err(why.to_owned()));
        }
        for host in ["api.nowhere.invalid", "93.184.216.34"] {
            assert_eq!(admit_by_proxy(host).await, Ok(()), "{host}");
        }
    }

    #[test]
    fn private_addresses_are_known_in_all_their_disguises() {
        for private in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "255.255.255.255",
            "198.18.0.1",
            "224.0.0.1",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::10.0.0.1",
            "2002:7f00:1::",
            "fe80::1",
            "fc00::1",
            "fd12::1",
            "ff02::1",
            "2001:db8::1",
            "2001:0:4136:e378:8000:63bf:3fff:fdd2",
            "2001:10::1",
            "3fff:fff::1",
            "64:ff9b:1::93.184.216.34",
        ] {
            assert!(!is_public(private.parse().unwrap()), "{private}");
        }
        for public in [
            "93.184.216.34",
            "2606:2800:220:1::1",
            "2001:4860:4860::8888",
            "64:ff9b::93.184.216.34",
        ] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
    }
}
