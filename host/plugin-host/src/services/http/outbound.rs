//! What backends' requests go through on their way out: a proxy, and the certificates that this server shows of itself.
//!
//! Invariant: the credentials in a proxy's address and the keys of certificates never print. What a backend may reach
//! is the same with a proxy as without one (`egress`).

use std::{fmt, net::IpAddr};

use http::Uri;
use hyper_util::client::proxy::matcher::Matcher;
use reqwest::{Identity, Url};
use zeroize::Zeroizing;

/// The schemes of proxies that are spoken.
const PROXY_SCHEMES: [&str; 4] = ["http", "https", "socks5", "socks5h"];

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outbound {
    /// For requests over http and https.
    pub proxies: Proxies,
    /// For single hosts.
    pub certificates: Vec<ClientCertificate>,
}

impl Outbound {
    /// A line for each thing that a request may go through.
    pub fn shown(&self) -> Vec<String> {
        let certificate =
            |certificate: &ClientCertificate| format!("client certificate for {}", certificate.host());
        let certificates = self.certificates.iter().map(certificate);
        self.proxies.shown().into_iter().chain(certificates).collect()
    }
}

/// By the scheme of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxies {
    /// For requests over http.
    pub http: Option<Proxy>,
    /// For requests over https.
    pub https: Option<Proxy>,
    /// Hosts, domains, addresses and networks that are reached without one, as in `NO_PROXY`.
    pub exceptions: String,
}

/// One proxy.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    url: Url,
    /// What named it: `[http] proxy`, or a variable of the environment.
    origin: String,
}

/// What this server shows of itself to one host.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    host: String,
    port: Option<u16>,
    /// The certificates and the key.
    pem: Zeroizing<Vec<u8>>,
}

impl Proxy {
    /// Reads `http://proxy.example:3128`; without a scheme it is http's. The error is what was needed, and repeats
    /// nothing of it.
    pub fn parse(text: &str, origin: &str) -> Result<Self, String> {
        let needed = || {
            format!(
                "must be the address of a proxy, such as http://proxy.example:3128, of scheme {}",
                PROXY_SCHEMES.join(", ")
            )
        };
        let text = text.trim();
        let whole = if text.contains("://") {
            text.to_owned()
        } else {
            format!("http://{text}")
        };
        let url = Url::parse(&whole).map_err(|_| needed())?;
        let fits =
            PROXY_SCHEMES.contains(&url.scheme()) && url.host_str().is_some_and(|host| !host.is_empty());
        fits.then(|| Self {
            url,
            origin: origin.to_owned(),
        })
        .ok_or_else(needed)
    }

    pub(super) fn url(&self) -> &Url {
        &self.url
    }

    /// `proxy.example:3128`.
    pub(super) fn place(&self) -> String {
        let port = self.url.port_or_known_default();
        let port = port.or_else(|| self.url.scheme().starts_with("socks").then_some(1080));
        let host = self.url.host_str().unwrap_or_default();
        port.map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }
}

/// Without its credentials.
impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let has_credentials = !self.url.username().is_empty() || self.url.password().is_some();
        let credentials = if has_credentials { "***@" } else { "" };
        write!(
            f,
            "{}://{credentials}{} ({})",
            self.url.scheme(),
            self.place(),
            self.origin
        )
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Proxies {
    /// The proxy on the way to a URL. As in other programs, this machine is reached without one.
    pub(super) fn on_the_way_to(&self, url: &Url) -> Option<&Proxy> {
        let proxy = match url.scheme() {
            "http" => self.http.as_ref(),
            _ => self.https.as_ref(),
        }?;
        let host = url.host_str()?;
        (!is_this_machine(host) && !self.excepts(host)).then_some(proxy)
    }

    /// By the rules of curl, which hyper's matcher keeps.
    fn excepts(&self, host: &str) -> bool {
        let Ok(uri) = format!("http://{host}/").parse::<Uri>() else {
            return false;
        };
        let any = Matcher::builder()
            .all("http://any.invalid")
            .no(self.exceptions.as_str())
            .build();
        any.intercept(&uri).is_none()
    }

    fn shown(&self) -> Vec<String> {
        let shown = |scheme: &str, proxy: &Option<Proxy>| {
            proxy.as_ref().map(|proxy| format!("{scheme} through {proxy}"))
        };
        let mut lines: Vec<String> = shown("https", &self.https)
            .into_iter()
            .chain(shown("http", &self.http))
            .collect();
        if !lines.is_empty() && !self.exceptions.is_empty() {
            lines.push(format!("without one: {}", self.exceptions));
        }
        lines
    }
}

fn is_this_machine(host: &str) -> bool {
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    address.map_or_else(
        |_| host == "localhost" || host.ends_with(".localhost"),
        |address| address.is_loopback(),
    )
}

impl ClientCertificate {
    /// For `api.bank.example`, or for one port of it, `api.bank.example:8443`; `pem` holds the certificates and the
    /// key. The error is what was needed.
    pub fn new(host: &str, pem: Zeroizing<Vec<u8>>) -> Result<Self, String> {
        let needed = || format!("must be a host such as api.bank.example, or one with its port, not {host}");
        let url = Url::parse(&format!("https://{host}/")).map_err(|_| needed())?;
        let name = url
            .host_str()
            .filter(|_| url.path() == "/" && url.username().is_empty());
        let name = name.ok_or_else(needed)?.to_owned();
        // 443 is what a URL leaves away.
        let port = host.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        let read = Self {
            host: name,
            port,
            pem,
        };
        read.identity().map_err(|_| {
            "must hold certificates and their private key in PEM, the server's own first; a key in a file of its own is \
             named by key_file"
                .to_owned()
        })?;
        Ok(read)
    }

    pub(super) fn is_for(&self, url: &Url) -> bool {
        url.scheme() == "https"
            && url.host_str() == Some(&self.host)
            && self
                .port
                .is_none_or(|port| url.port_or_known_default() == Some(port))
    }

    pub(super) fn identity(&self) -> Result<Identity, reqwest::Error> {
        Identity::from_pem(&self.pem)
    }

    /// The host that sees it.
    pub fn host(&self) -> String {
        self.port
            .map_or_else(|| self.host.clone(), |port| format!("{}:{port}", self.host))
    }
}

/// The host alone.
impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ClientCertificate").field(&self.host()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(exceptions: &str) -> Proxies {
        let proxy = |text| Proxy::parse(text, "[http] proxy").ok();
        Proxies {
            http: proxy("proxy.example:3128"),
            https: proxy("http://user:hunter2@proxy.example:3128"),
            exceptions: exceptions.to_owned(),
        }
    }

    #[test]
    fn a_request_goes_through_a_proxy_unless_its_host_is_an_exception() {
        let proxies = proxies("bank.example, .corp.example,10.0.0.0/8,::2");
        let through = |url: &str| proxies.on_the_way_to(&Url::parse(url).unwrap()).is_some();
        for url in [
            "https://rest.nexmo.com/",
            "http://rest.nexmo.com/",
            "https://otherbank.example/",
            "https://192.168.0.1/",
        ] {
            assert!(through(url), "{url}");
        }
        for url in [
            "https://bank.example/",
            "https://BANK.example/",
            "https://api.bank.example:8443/",
            "https://a.corp.example/",
            "https://10.1.2.3/",
            "https://[::2]/",
            "http://127.0.0.1:8080/",
            "http://[::1]/",
            "http://localhost/",
        ] {
            assert!(!through(url), "{url}");
        }
        let none = Proxies {
            exceptions: "*".into(),
            ..proxies.clone()
        };
        assert!(
            none.on_the_way_to(&Url::parse("https://rest.nexmo.com/").unwrap())
                .is_none()
        );
    }

    #[test]
    fn credentials_of_a_proxy_never_print() {
        let proxies = proxies("bank.example");
        assert_eq!(
            proxies.shown(),
            [
                "https through http://***@proxy.example:3128 ([http] proxy)",
                "http through http://proxy.example:3128 ([http] proxy)",
                "without one: bank.example",
            ]
        );
        assert!(!format!("{proxies:?}").contains("hunter2"));
        for nonsense in [
            "",
            "ftp://hunter2@proxy.example",
            "http://",
            "socks4://a",
            "http://hunter2@",
        ] {
            let needed = Proxy::parse(nonsense, "HTTPS_PROXY").unwrap_err();
            assert!(!needed.contains("hunter2"), "{needed}");
        }
        assert_eq!(Proxy::parse("socks5h://a", "x").unwrap().place(), "a:1080");
    }
}
