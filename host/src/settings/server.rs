//! `[server]`: HTTP.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use ipnet::IpNet;

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
        .map_err(|_| format!("must be a list of addresses and networks such as 10.0.0.0/8, not {text}"))
}
