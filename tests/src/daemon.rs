//! A running daemon: the real program on a free port. It is killed when the value is dropped.

use std::{
    io::{BufRead, BufReader, Read},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicU8, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::client::http_client;

/// How long a test waits for a line of output before it fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// The interval of polling a process, for what cannot be waited for otherwise.
const STEP: Duration = Duration::from_millis(10);
/// How many polls make up [`PATIENCE`].
const LOOKS: u32 = 2000;

/// A running daemon.
pub struct Daemon {
    process: Child,
    address: SocketAddr,
    stdout: Printed,
    stderr: Printed,
    client: reqwest::Client,
    /// The daemon's folder, which must exist until the daemon has ended.
    folder: Option<Arc<TempDir>>,
}

/// An HTTP answer.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: reqwest::header::HeaderMap,
    /// The body as JSON. Null: it has none.
    pub body: Value,
}

impl Answer {
    /// The machine code of an error. Empty: there is none.
    pub fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }

    /// The session token of a registration.
    ///
    /// # Panics
    /// When the body has none.
    pub fn session_token(&self) -> &str {
        self.body["session_token"]
            .as_str()
            .unwrap_or_else(|| panic!("no session token in {self:?}"))
    }
}

impl Daemon {
    /// Starts the daemon and waits until it listens.
    ///
    /// # Panics
    /// When it does not listen. The message has its output.
    pub fn start(command: &mut Command) -> Self {
        let mut process = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let (listens, listening) = mpsc::channel();
        let stdout = Printed::follow(process.stdout.take().expect("piped"), listens.clone());
        let stderr = Printed::follow(process.stderr.take().expect("piped"), listens);
        let Ok(address) = listening.recv_timeout(PATIENCE) else {
            let _ = process.kill();
            panic!(
                "the daemon does not listen; it says:\n{}{}",
                stdout.text(),
                stderr.text()
            );
        };
        Self {
            process,
            address,
            stdout,
            stderr,
            client: http_client(),
            folder: None,
        }
    }

    /// Starts the daemon on an address of its own with these standard streams, and waits until it accepts connections.
    /// For tests in which nothing reads its output.
    ///
    /// # Panics
    /// When it does not.
    pub fn start_unread(command: &mut Command, stdout: impl Into<Stdio>, stderr: impl Into<Stdio>) -> Self {
        let address = own_address();
        let mut process = command
            .args(["--listen", &address.to_string()])
            .stdout(stdout)
            .stderr(stderr)
            .spawn()
            .expect("the program starts");
        let mut looks = 0..LOOKS;
        while TcpStream::connect(address).is_err() {
            let ended = process.try_wait().expect("the daemon was started");
            if let Some(status) = ended {
                panic!("the daemon ended instead: {status}");
            }
            assert!(looks.next().is_some(), "the daemon does not listen");
            thread::sleep(STEP);
        }
        Self {
            process,
            address,
            stdout: Printed::nothing(),
            stderr: Printed::nothing(),
            client: http_client(),
            folder: None,
        }
    }

    /// The address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Its log so far (standard error).
    pub fn log(&self) -> String {
        self.stderr.text()
    }

    /// Its standard output so far.
    pub fn printed(&self) -> String {
        self.stdout.text()
    }

    /// Waits until the log has a line with this text.
    ///
    /// # Panics
    /// When it does not appear in time.
    pub fn wait_for_log(&self, text: &str) {
        let found = self.stderr.wait_for(|line| line.contains(text).then_some(()));
        assert!(found.is_some(), "{text:?} was not logged:\n{}", self.log());
    }

    /// Waits until the standard output has a line with this text.
    ///
    /// # Panics
    /// When it does not appear in time.
    pub fn wait_for_print(&self, text: &str) {
        let found = self.stdout.wait_for(|line| line.contains(text).then_some(()));
        assert!(found.is_some(), "{text:?} was not printed:\n{}", self.printed());
    }

    /// Waits until the log has this many lines with this text.
    ///
    /// # Panics
    /// When they do not appear in time.
    pub fn wait_for_logs(&self, text: &str, times: usize) {
        let mut left = times;
        let found = self.stderr.wait_for_all(|lines| {
            left = times.saturating_sub(lines.iter().filter(|line| line.contains(text)).count());
            (left == 0).then_some(())
        });
        assert!(
            found.is_some(),
            "{text:?} was logged {left} times too few:\n{}",
            self.log()
        );
    }

    /// Sends a GET request.
    ///
    /// # Panics
    /// When there is no answer.
    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.client.get(self.url(path))).await
    }

    /// Posts JSON.
    ///
    /// # Panics
    /// When there is no answer.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(self.client.post(self.url(path)).json(body)).await
    }

    /// A request to build on, for [`Daemon::send`].
    pub fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let method = method.parse().expect("a method");
        self.client.request(method, self.url(path))
    }

    /// Sends a request.
    ///
    /// # Panics
    /// When there is no answer, or none that is JSON.
    pub async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        let answer = request.send().await.expect("the daemon answers");
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let bytes = answer.bytes().await.expect("a whole answer");
        let body = if bytes.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&bytes).expect("every answer is JSON")
        };
        Answer {
            status,
            headers,
            body,
        }
    }

    /// Registers a number.
    pub async fn register(&self, number: &str) -> Answer {
        self.post("/api/phone/register", &json!({ "phone_number": number }))
            .await
    }

    /// Checks a code.
    pub async fn verify(&self, number: &str, session_token: &str, code: &str) -> Answer {
        let body = json!({ "phone_number": number, "session_token": session_token, "security_code": code });
        self.post("/api/phone/verify", &body).await
    }

    /// The code of the last SMS that the console backend printed.
    ///
    /// # Panics
    /// When it printed none.
    pub fn code_on_console(&self) -> String {
        // The answer over HTTP may arrive before this process has read the line.
        self.wait_for_log("security code");
        let text = self.log();
        let line = text.lines().rev().find(|line| line.contains("security code"));
        let line = line.unwrap_or_else(|| panic!("no SMS in {text:?}"));
        line.chars().filter(char::is_ascii_digit).collect()
    }

    /// Sends it a signal, such as `TERM`.
    ///
    /// # Panics
    /// When it cannot be sent.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let id = i32::try_from(self.process.id()).expect("a process id");
        let id = rustix::process::Pid::from_raw(id).expect("a process id");
        rustix::process::kill_process(id, signal).expect("the daemon runs");
    }

    /// Waits until the daemon has ended. Returns its exit status and its log.
    ///
    /// # Panics
    /// When it does not end.
    pub fn wait(mut self) -> (ExitStatus, String) {
        // The streams end with the process, so the log is complete then.
        let ended = self.stderr.wait_for_end() && self.stdout.wait_for_end();
        assert!(ended, "the daemon does not end:\n{}", self.log());
        let mut looks = 0..LOOKS;
        loop {
            if let Some(status) = self.process.try_wait().expect("the daemon was started") {
                return (status, self.log());
            }
            assert!(looks.next().is_some(), "the daemon does not end:\n{}", self.log());
            thread::sleep(STEP);
        }
    }

    /// Stops the daemon with SIGTERM. Returns its exit status and its log.
    pub fn stop(self) -> (ExitStatus, String) {
        self.signal(rustix::process::Signal::TERM);
        self.wait()
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

impl Daemon {
    /// Keeps the folder until the daemon has ended, even if the test drops its `Site` before.
    #[must_use]
    pub fn in_folder(mut self, folder: &Arc<TempDir>) -> Self {
        self.folder = Some(Arc::clone(folder));
        self
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The address in a line that reports where the daemon listens.
fn address_in(line: &str) -> Option<SocketAddr> {
    let (_, after) = line.split_once("listening on http://")?;
    let end = after.find(|character: char| character == '"' || character.is_whitespace());
    after[..end.unwrap_or(after.len())].parse().ok()
}

/// A free port on a loopback address that no other test uses, so that the port stays free until the daemon binds it.
fn own_address() -> SocketAddr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let [.., high, low] = std::process::id().to_be_bytes();
    let own = [127, high, low, NEXT.fetch_add(1, Ordering::Relaxed)];
    let listener = TcpListener::bind((std::net::Ipv4Addr::from(own), 0)).expect("a free port");
    listener.local_addr().expect("it is bound")
}

/// The lines that a process prints. A thread reads them as they come.
#[derive(Clone)]
struct Printed(Arc<(Mutex<Lines>, Condvar)>);

#[derive(Default)]
struct Lines {
    lines: Vec<String>,
    ended: bool,
}

impl Printed {
    /// Reads a stream. `listens` receives the address that the daemon reports.
    fn follow(stream: impl Read + Send + 'static, listens: mpsc::Sender<SocketAddr>) -> Self {
        let printed = Self(Arc::default());
        let follower = printed.clone();
        thread::spawn(move || {
            let (lines, changed) = &*follower.0;
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                if let Some(address) = address_in(&line) {
                    let _ = listens.send(address);
                }
                lines
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .lines
                    .push(line);
                changed.notify_all();
            }
            lines.lock().unwrap_or_else(PoisonError::into_inner).ended = true;
            changed.notify_all();
        });
        printed
    }

    /// For a stream that is not read.
    fn nothing() -> Self {
        let ended = Lines {
            lines: Vec::new(),
            ended: true,
        };
        Self(Arc::new((Mutex::new(ended), Condvar::new())))
    }

    fn text(&self) -> String {
        let lines = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.lines.iter().map(|line| format!("{line}\n")).collect()
    }

    /// Waits for the first line for which `find` has a result. `None`: the stream ended, or no line came within
    /// [`PATIENCE`].
    fn wait_for<T>(&self, find: impl Fn(&str) -> Option<T>) -> Option<T> {
        self.wait_for_all(|lines| lines.iter().find_map(|line| find(line)))
    }

    /// The same for the whole list of lines.
    fn wait_for_all<T>(&self, mut find: impl FnMut(&[String]) -> Option<T>) -> Option<T> {
        let (lines, changed) = &*self.0;
        let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(found) = find(&lines.lines) {
                return Some(found);
            }
            if lines.ended {
                return None;
            }
            let waited = changed
                .wait_timeout(lines, PATIENCE)
                .unwrap_or_else(PoisonError::into_inner);
            if waited.1.timed_out() {
                return None;
            }
            lines = waited.0;
        }
    }

    fn wait_for_end(&self) -> bool {
        let (lines, changed) = &*self.0;
        let lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = changed.wait_timeout_while(lines, PATIENCE * 2, |lines| !lines.ended);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }
}
