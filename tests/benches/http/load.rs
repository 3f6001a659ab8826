//! The client side: connections that each register a number and verify it, again and again. Written
//! straight on the socket, so that what is measured is the server and not the client.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::numbers::Numbers;

/// Pairs of register and verify per second over `connections` connections in `duration`.
pub(crate) async fn pairs_per_second(
    server: SocketAddr,
    connections: u64,
    duration: Duration,
    numbers: &Numbers,
) -> f64 {
    let end = Instant::now() + duration;
    let begin = Instant::now();
    let clients: Vec<_> = (0..connections)
        .map(|_| {
            let numbers = numbers.clone();
            tokio::spawn(async move {
                let mut client = Client::connect(server).await;
                let mut pairs = 0_u64;
                while Instant::now() < end {
                    client.pair(numbers.next()).await;
                    pairs += 1;
                }
                pairs
            })
        })
        .collect();
    let mut pairs = 0;
    for client in clients {
        pairs += client.await.expect("every pair succeeds");
    }
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52 pairs")]
    let pairs = pairs as f64;
    pairs / begin.elapsed().as_secs_f64()
}

pub(crate) struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    pub(crate) async fn connect(server: SocketAddr) -> Self {
        let stream = TcpStream::connect(server).await.expect("the server listens");
        stream.set_nodelay(true).expect("a TCP socket");
        Self {
            stream,
            buffer: Vec::with_capacity(4096),
        }
    }

    async fn pair(&mut self, number: &str) {
        let token = self.register(number).await;
        self.verify(number, &token).await;
    }

    /// Returns the session token.
    pub(crate) async fn register(&mut self, number: &str) -> String {
        let body = format!(r#"{{"phone_number":"{number}"}}"#);
        let answer = self.post("/api/phone/register", &body).await;
        let token = answer.split('"').nth(3);
        token.unwrap_or_else(|| panic!("no token in {answer}")).to_owned()
    }

    pub(crate) async fn verify(&mut self, number: &str, token: &str) {
        let body =
            format!(r#"{{"phone_number":"{number}","session_token":"{token}","security_code":"123456"}}"#);
        self.post("/api/phone/verify", &body).await;
    }

    /// The body of a 200; anything else ends the benchmark.
    async fn post(&mut self, path: &str, body: &str) -> String {
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        self.stream
            .write_all(request.as_bytes())
            .await
            .expect("the server reads");
        self.buffer.clear();
        loop {
            self.stream
                .read_buf(&mut self.buffer)
                .await
                .expect("the server answers");
            if let Some(answer) = whole_answer(&self.buffer) {
                assert!(
                    self.buffer.starts_with(b"HTTP/1.1 200"),
                    "{}",
                    String::from_utf8_lossy(&self.buffer)
                );
                return answer;
            }
        }
    }
}

/// The body, once all of it has arrived.
fn whole_answer(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let length: usize = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))?
        .1
        .trim()
        .parse()
        .ok()?;
    (body.len() >= length).then(|| body[..length].to_owned())
}
