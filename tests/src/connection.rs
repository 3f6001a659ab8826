//! A raw connection to the daemon, for requests that no HTTP client would send.

use std::{
    io::{ErrorKind, Read, Write},
    net::{IpAddr, Shutdown, SocketAddr, TcpStream},
    path::Path,
    time::Duration,
};

/// How long a test waits for an answer before it fails.
const PATIENCE: Duration = Duration::from_secs(30);

trait Stream: Read + Write + Send {
    fn end_writing(&self);
    fn set_patience(&self, patience: Duration);
}

/// A raw connection.
pub struct Connection {
    stream: Box<dyn Stream>,
    /// Bytes received after the last answer.
    read: Vec<u8>,
}

impl Stream for TcpStream {
    fn end_writing(&self) {
        let _ = self.shutdown(Shutdown::Write);
    }

    fn set_patience(&self, patience: Duration) {
        let _ = self.set_read_timeout(Some(patience));
    }
}

#[cfg(unix)]
impl Stream for std::os::unix::net::UnixStream {
    fn end_writing(&self) {
        let _ = self.shutdown(Shutdown::Write);
    }

    fn set_patience(&self, patience: Duration) {
        let _ = self.set_read_timeout(Some(patience));
    }
}

impl Connection {
    /// Connects over TCP.
    ///
    /// # Panics
    /// When no server listens.
    pub fn to(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).expect("the daemon listens"))
    }

    /// Connects from this source address. On Linux, all of 127.0.0.0/8 belongs to the machine.
    ///
    /// # Panics
    /// When no server listens, or the source address does not belong to this machine.
    pub async fn from(source: IpAddr, address: SocketAddr) -> Self {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket
            .bind(SocketAddr::new(source, 0))
            .expect("an address of this machine");
        let stream = socket.connect(address).await.expect("the daemon listens");
        let stream = stream.into_std().expect("a socket");
        stream.set_nonblocking(false).expect("a socket");
        Self::over(stream)
    }

    /// Connects to a Unix socket.
    ///
    /// # Panics
    /// When no server listens.
    #[cfg(unix)]
    pub fn to_unix(path: &Path) -> Self {
        Self::over(std::os::unix::net::UnixStream::connect(path).expect("the daemon listens"))
    }

    fn over(stream: impl Stream + 'static) -> Self {
        stream.set_patience(PATIENCE);
        Self {
            stream: Box::new(stream),
            read: Vec::new(),
        }
    }

    /// Writes bytes. Ignores errors, as the daemon may have closed the connection.
    pub fn write(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        let _ = self.stream.write_all(bytes.as_ref());
        self
    }

    /// Closes the sending side of the connection.
    pub fn end_writing(&mut self) -> &mut Self {
        self.stream.end_writing();
        self
    }

    /// The next answer, with its body.
    ///
    /// # Panics
    /// When there is none.
    pub fn answer(&mut self) -> Reply {
        let head_end = loop {
            let end = self.read.windows(4).position(|window| window == b"\r\n\r\n");
            match end {
                Some(end) => break end + 4,
                None => assert!(self.read_more(), "no answer after {:?}", self.text()),
            }
        };
        let head = String::from_utf8_lossy(&self.read[..head_end]).into_owned();
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length")
                .then_some(value.trim())
        });
        let length: usize = length.map_or(0, |length| length.parse().expect("a length"));
        while self.read.len() < head_end + length {
            assert!(self.read_more(), "only a part of an answer: {:?}", self.text());
        }
        let rest = self.read.split_off(head_end + length);
        let body = String::from_utf8_lossy(&self.read[head_end..]).into_owned();
        self.read = rest;
        Reply { head, body }
    }

    /// Waits until the daemon closes the connection.
    ///
    /// # Panics
    /// When it sends anything, or keeps the connection open.
    pub fn wait_for_end(&mut self) {
        assert!(!self.read_more() && self.read.is_empty(), "{:?}", self.text());
    }

    /// Whether the daemon sends anything or closes the connection within this time.
    pub fn hears_within(&mut self, patience: Duration) -> bool {
        self.stream.set_patience(patience);
        let mut byte = [0];
        let heard = match self.stream.read(&mut byte) {
            Ok(length) => {
                self.read.extend_from_slice(&byte[..length]);
                true
            }
            Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        };
        self.stream.set_patience(PATIENCE);
        heard
    }

    fn read_more(&mut self) -> bool {
        let mut buffer = [0; 16 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(length) => {
                self.read.extend_from_slice(&buffer[..length]);
                length > 0
            }
            Err(error) => {
                let is_patience = matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
                assert!(!is_patience, "the daemon keeps still after {:?}", self.text());
                false
            }
        }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.read).into_owned()
    }
}

/// A raw answer.
#[derive(Debug)]
pub struct Reply {
    /// Status line and header fields.
    pub head: String,
    /// The body.
    pub body: String,
}

impl Reply {
    /// The status.
    ///
    /// # Panics
    /// When there is none.
    pub fn status(&self) -> u16 {
        let status = self.head.split(' ').nth(1).and_then(|status| status.parse().ok());
        status.unwrap_or_else(|| panic!("{self:?}"))
    }

    /// The machine code of an error. Empty: there is none.
    pub fn code(&self) -> String {
        let body: serde_json::Value = serde_json::from_str(&self.body).unwrap_or_default();
        body["code"].as_str().unwrap_or_default().to_owned()
    }

    /// Whether the head contains this line, ignoring case.
    pub fn has(&self, line: &str) -> bool {
        self.head.lines().any(|other| other.eq_ignore_ascii_case(line))
    }
}
