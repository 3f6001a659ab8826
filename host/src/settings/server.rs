//! `[server]`: the HTTP server: where it listens, whom it trusts, and the bounds on connections.

use std::{net::IpAddr, path::Path, time::Duration};

use ipnet::{IpNet, Ipv4Net};

use super::{
    document::Value,
    reader::{Reader, number, text, texts},
};
use crate::model::{DropIn, Listen, PageOrigin, PublicUrl, TrustedProxies};

/// The settings of the HTTP server.
#[derive(Clone, Debug)]
pub struct Server {
    /// The addresses and Unix sockets to listen at. At least one, without duplicates.
    pub listen: Vec<Listen>,
    /// Whether the file sets `listen`, or the default is used.
    pub names_listen: bool,
    /// The permissions of the files of Unix sockets, which decide who may connect.
    pub unix_socket_mode: u32,
    /// The proxies whose `X-Forwarded-For` and `Forwarded` headers are trusted. From others the headers are ignored,
    /// since a client can write anything into them.
    pub trusted_proxies: TrustedProxies,
    /// How many connections may be open at once. The system's limit of open files may allow fewer.
    pub max_connections: usize,
    /// How many connections one client address may have open at once.
    pub max_connections_per_address: usize,
    /// How long a request may take to arrive, and how long the client may take to read the answer.
    pub read_timeout: Duration,
    /// How long a connection may wait for its next request.
    pub idle_timeout: Duration,
    /// How long a shutdown waits for requests that are being answered.
    pub shutdown_timeout: Duration,
    /// The origins of web pages that may call the service from a browser.
    pub allowed_origins: Vec<PageOrigin>,
    /// The URL under which providers and browsers reach this server, if it is known.
    pub public_url: Option<PublicUrl>,
    /// Whether the drop-in endpoints `/api/phone/*` are open, need an API key, or are closed.
    pub drop_in_endpoints: DropIn,
    /// Whether the file sets `drop_in_endpoints`, or the default is used.
    pub(super) names_drop_in_endpoints: bool,
}

impl Server {
    pub(super) fn read(reader: &mut Reader) -> Self {
        let mut section = reader.section("server", false);
        let folder = section.folder();
        let names_listen = section.has("listen");
        let listen = section.get("listen", |value| places(value, &folder));
        let unix_socket_mode = section.get("unix_socket_mode", |value| mode(&text(value)?));
        let trusted_proxies = section.get("trusted_proxies", |value| proxies(&texts(value)?));
        let mut count = |key| {
            let count = section.get(key, number(1..=1_000_000));
            usize::try_from(count).unwrap_or(usize::MAX)
        };
        let max_connections = count("max_connections");
        let max_connections_per_address = count("max_connections_per_address");
        let mut seconds = |key, max| Duration::from_secs(u64::from(section.get(key, number(1..=max))));
        let read_timeout = seconds("read_timeout_seconds", 300);
        let idle_timeout = seconds("idle_timeout_seconds", 3600);
        let shutdown_timeout = seconds("shutdown_timeout_seconds", 300);
        let allowed_origins = section.get("allowed_origins", |value| {
            texts(value)?.iter().map(|text| origin(text)).collect()
        });
        let public_url = section.get("public_url", public_url);
        let names_drop_in_endpoints = section.has("drop_in_endpoints");
        let drop_in_endpoints = section.get("drop_in_endpoints", drop_in);
        section.finish();
        Self {
            listen,
            names_listen,
            unix_socket_mode,
            trusted_proxies,
            max_connections,
            max_connections_per_address,
            read_timeout,
            idle_timeout,
            shutdown_timeout,
            allowed_origins,
            public_url,
            drop_in_endpoints,
            names_drop_in_endpoints,
        }
    }
}

fn drop_in(value: &Value) -> Result<DropIn, String> {
    let needed = |found: &str| format!("must be true, false or \"key\", not {found}");
    match value {
        Value::Flag(true) => Ok(DropIn::Open),
        Value::Flag(false) => Ok(DropIn::Closed),
        Value::Text { text, .. } if text == "key" => Ok(DropIn::Key),
        Value::Text { text, .. } => Err(needed(&format!("{text:?}"))),
        other => Err(needed(other.kind())),
    }
}

fn origin(text: &str) -> Result<PageOrigin, String> {
    PageOrigin::parse(text).ok_or_else(|| {
        format!("must be a list of origins such as https://app.example, each by its name and without a path, not {text}")
    })
}

fn public_url(value: &Value) -> Result<Option<PublicUrl>, String> {
    let text = text(value)?;
    if text.is_empty() {
        return Ok(None);
    }
    PublicUrl::parse(&text)
        .map(Some)
        .ok_or_else(|| format!("must be a URL such as https://verify.example, not {text}"))
}

/// Reads where to listen: one text, or a list of them. Port 0 may be repeated, since each gets another free port.
fn places(value: &Value, folder: &Path) -> Result<Vec<Listen>, String> {
    let written = match value {
        Value::List(_) => texts(value)?,
        Value::Text { .. } => vec![text(value)?],
        other => return Err(format!("must be a text or a list of texts, not {}", other.kind())),
    };
    let mut places: Vec<Listen> = Vec::new();
    for text in &written {
        let place = text.parse::<Listen>()?.within(folder);
        let has_free_port = matches!(&place, Listen::Address(address) if address.port() == 0);
        if places.contains(&place) && !has_free_port {
            return Err(format!("has {text} twice; keep one"));
        }
        places.push(place);
    }
    if places.is_empty() {
        return Err("must have at least one place to listen at".to_owned());
    }
    Ok(places)
}

/// Parses the permissions of a socket's file, in octal as chmod takes them. The owner must keep access, and execution
/// is not a permission of sockets.
fn mode(text: &str) -> Result<u32, String> {
    let is_octal = text.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
    let mode = u32::from_str_radix(text, 8).ok().filter(|_| is_octal);
    mode.filter(|mode| mode & !0o666 == 0 && mode & 0o600 == 0o600)
        .ok_or_else(|| {
            "must be permissions as chmod takes them: \"0600\" for the daemon's user alone, \"0660\" for its group too, \
             or \"0666\" for everybody"
                .to_owned()
        })
}

/// Parses addresses, networks, and the word `unix` for all clients of a Unix socket.
fn proxies(texts: &[String]) -> Result<TrustedProxies, String> {
    let (unix, networks): (Vec<&String>, Vec<&String>) = texts.iter().partition(|text| *text == "unix");
    Ok(TrustedProxies {
        networks: networks
            .into_iter()
            .map(|text| network(text))
            .collect::<Result<_, _>>()?,
        unix_socket: !unix.is_empty(),
    })
}

/// Parses a network such as `10.0.0.0/8`, or a single address.
pub(super) fn network(text: &str) -> Result<IpNet, String> {
    let address = || text.parse::<IpAddr>().map(IpNet::from);
    text.parse()
        .or_else(|_| address())
        .map(as_clients_are)
        .map_err(|_| format!("must be a list of addresses and networks such as 10.0.0.0/8, not {text}"))
}

/// Turns an IPv4 network that is written as IPv6, such as `::ffff:10.0.0.0/104`, into IPv4. Client addresses are
/// compared in that form, so the network would never match otherwise.
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
    use crate::settings::tests::{REQUIRED, parse, problems};

    #[test]
    fn what_pages_may_do_is_read_and_what_cannot_be_is_told() {
        let with = |line: &str| format!("{REQUIRED}\n[server]\n{line}\n");
        let server = parse(&with(
            "allowed_origins = [\"https://App.example/\"]\npublic_url = \"https://verify.example\"\ndrop_in_endpoints = false",
        ))
        .unwrap()
        .server;
        assert_eq!(server.allowed_origins[0].as_str(), "https://app.example");
        assert_eq!(server.public_url.unwrap().host(), "verify.example");
        assert_eq!(server.drop_in_endpoints, DropIn::Closed);
        for (line, told) in [
            (
                "allowed_origins = [\"*\"]",
                "must be a list of origins such as https://app.example",
            ),
            ("allowed_origins = [\"null\"]", "must be a list of origins"),
            (
                "allowed_origins = \"https://app.example\"",
                "must be a list of texts",
            ),
            (
                "public_url = \"verify.example\"",
                "must be a URL such as https://verify.example",
            ),
            (
                "drop_in_endpoints = \"no\"",
                "must be true, false or \"key\", not \"no\"",
            ),
            (
                "drop_in_endpoints = 1",
                "must be true, false or \"key\", not a whole number",
            ),
            (
                "drop_in_endpoints = \"key\"",
                "none of the keys has the scope verify",
            ),
        ] {
            let found = problems(&with(line)).join("\n");
            assert!(found.contains(told), "{told} in {found}");
        }
    }

    #[test]
    fn the_permissions_of_a_socket_let_its_owner_in_and_run_nothing() {
        assert_eq!(
            ["0600", "660", "0666", "0620"].map(|text| mode(text).ok()),
            [0o600, 0o660, 0o666, 0o620].map(Some)
        );
        for nonsense in ["", "0", "0060", "0700", "0888", "rw", "-600", "+600", "01600"] {
            assert!(mode(nonsense).is_err(), "{nonsense}");
        }
    }

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
