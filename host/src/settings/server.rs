//! `[server]`: HTTP.

use std::{net::SocketAddr, time::Duration};

use super::reader::{Reader, number, text};

/// HTTP.
#[derive(Clone, Copy, Debug)]
pub struct Server {
    /// Where it listens; port 0 takes a free one.
    pub listen: SocketAddr,
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
        let mut seconds = |key| Duration::from_secs(u64::from(section.get(key, number(1..=300))));
        let read_timeout = seconds("read_timeout_seconds");
        let shutdown_timeout = seconds("shutdown_timeout_seconds");
        section.finish();
        Self {
            listen,
            read_timeout,
            shutdown_timeout,
        }
    }
}
