//! The addresses that a server listens on, as they are written: `127.0.0.1:8000`, `localhost:8000`,
//! `unix:/run/phone-verify/http.sock`.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    str::FromStr,
};

/// One address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// An IP address and a port. Port 0 takes a free one.
    Address(SocketAddr),
    /// A host name and a port: all addresses of the name.
    Name(String, u16),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

/// All addresses to listen on, and the source that names them.
#[derive(Clone, Copy, Debug)]
pub struct Places<'a> {
    /// At least one.
    pub all: &'a [Listen],
    /// The source, for error messages about an address that is not available.
    pub named_by: NamedBy,
}

/// The source of the addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamedBy {
    /// The settings, or their defaults.
    Settings,
    /// Command-line arguments, which replace the settings.
    Arguments,
}

impl NamedBy {
    /// Where the operator can name another address: `in [server] listen` or `with --listen`.
    pub fn elsewhere(self) -> &'static str {
        match self {
            Self::Settings => "in [server] listen",
            Self::Arguments => "with --listen",
        }
    }
}

/// What an address must be, for error messages.
pub const NEEDED: &str = "must be an address and a port such as 127.0.0.1:8000, a name and a port such as \
                          localhost:8000, or the path of a Unix socket such as unix:/run/phone-verify/http.sock";

impl Listen {
    /// The same address, with a relative path of a Unix socket resolved against this folder.
    #[must_use]
    pub fn within(self, folder: &Path) -> Self {
        match self {
            Self::Unix(path) => Self::Unix(folder.join(path)),
            other => other,
        }
    }
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return match path {
                _ if cfg!(not(unix)) => {
                    Err("must be an address and a port: this system has no Unix sockets here".into())
                }
                "" => Err(NEEDED.to_owned()),
                path if path.contains('\0') => Err("must not have a null character in a path".to_owned()),
                path => Ok(Self::Unix(path.into())),
            };
        }
        if let Ok(address) = text.parse() {
            return Ok(Self::Address(address));
        }
        let named = text.rsplit_once(':').filter(|(name, _)| is_name(name));
        named
            .and_then(|(name, port)| Some(Self::Name(name.to_owned(), port.parse().ok()?)))
            .ok_or_else(|| NEEDED.to_owned())
    }
}

/// Whether this is a host name (RFC 1123, section 2.1). A name whose last label is a number is a mistyped IP address.
fn is_name(name: &str) -> bool {
    let is_label = |label: &str| {
        let is_inside = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        !label.is_empty() && label.len() <= 63 && label.bytes().all(is_inside)
    };
    let labels = name.strip_suffix('.').unwrap_or(name);
    let last = labels.rsplit('.').next().unwrap_or_default();
    name.len() <= 253 && labels.split('.').all(is_label) && !last.bytes().all(|byte| byte.is_ascii_digit())
}

impl std::fmt::Display for Listen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Name(name, port) => write!(f, "{name}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_as_people_write_them() {
        for text in [
            "127.0.0.1:8000",
            "0.0.0.0:0",
            "[::1]:8000",
            "localhost:8000",
            "verify.example:80",
            "host_1.internal.:80",
        ] {
            let listen: Listen = text.parse().unwrap();
            assert_eq!(listen.to_string(), text);
        }
        for nonsense in [
            "",
            "8000",
            ":8000",
            "localhost",
            "localhost:",
            "localhost:http",
            "localhost:65536",
            "127.0.0.1",
            "256.0.0.1:80",
            "127.0.0.1.1:80",
            "::1:8000",
            "[::1]",
            "http://localhost:8000",
            "a b:80",
            "unix:",
        ] {
            assert!(nonsense.parse::<Listen>().is_err(), "{nonsense}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_path_is_taken_from_a_folder() {
        let relative: Listen = "unix:http.sock".parse().unwrap();
        assert_eq!(
            relative.within(Path::new("/run/x")).to_string(),
            "unix:/run/x/http.sock"
        );
        let absolute: Listen = "unix:/run/http.sock".parse().unwrap();
        assert_eq!(
            absolute.within(Path::new("/etc")).to_string(),
            "unix:/run/http.sock"
        );
    }
}
