//! A plugin directory of a test's own, and what is loaded from it: into this process, or into a worker's.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use phone_verify::{
    clock::Clock,
    entropy::Entropy,
    model::{PhoneNumber, SecurityCode, SendFailure, Verdict},
};
use phone_verify_plugin_host::{
    Backend, BackendName, BaseCalls, Call, CallFacts, Isolation, IsolationRules, Loader, LoaderConfig,
    Outbound, Refusal, TrustRules,
};
use phone_verify_tests::artifacts;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinSet;

/// HTTP requests of one backend that are under way at once.
pub(crate) const REQUESTS_AT_ONCE: usize = 64;

/// A plugin directory.
pub(crate) struct Shelves<const WORKER: bool> {
    directory: TempDir,
    pub(crate) loader: Loader,
}

/// One whose libraries run in this process.
pub(crate) type Shelf = Shelves<false>;

impl<const WORKER: bool> Shelves<WORKER> {
    pub(crate) fn empty() -> Self {
        Self::made(false)
    }

    /// One whose backends may call http:// and this machine.
    pub(crate) fn trusting() -> Self {
        Self::made(true)
    }

    fn made(allow_private_addresses: bool) -> Self {
        Self::isolated(
            allow_private_addresses,
            IsolationRules {
                default: if WORKER {
                    Isolation::Worker
                } else {
                    Isolation::Inline
                },
                worker_program: WORKER.then(artifacts::program),
                ..IsolationRules::default()
            },
        )
    }

    /// One with rules of its own.
    pub(crate) fn isolated(allow_private_addresses: bool, isolation: IsolationRules) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let plugins = directory.path().join("plugins");
        std::fs::create_dir(&plugins).unwrap();
        let loader = Loader::new(LoaderConfig {
            directories: vec![plugins],
            staging: directory.path().join("staged"),
            clock: Clock::system(),
            entropy: Entropy::system(),
            allow_private_addresses,
            outbound: Outbound::default(),
            requests_at_once: REQUESTS_AT_ONCE,
            isolation,
            trust: TrustRules::default(),
        });
        Self { directory, loader }
    }

    /// With these built libraries on it.
    pub(crate) fn with(libraries: &[&str]) -> Self {
        let shelf = Self::empty();
        for library in libraries {
            shelf.put(library, &built(library));
        }
        shelf
    }

    /// Where the library of that name lies.
    pub(crate) fn path(&self, library: &str) -> PathBuf {
        self.directory
            .path()
            .join("plugins")
            .join(format!("lib{library}.so"))
    }

    /// All that belongs to it.
    pub(crate) fn folder(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn staged(&self) -> PathBuf {
        self.directory.path().join("staged")
    }

    /// Puts a file of these bytes on it.
    pub(crate) fn put(&self, library: &str, bytes: &[u8]) {
        std::fs::write(self.path(library), bytes).unwrap();
    }

    /// Puts what the C compiler makes of `source` on it.
    pub(crate) fn compile(&self, library: &str, source: &str, arguments: &[&str]) {
        let file = self.directory.path().join(format!("{library}.c"));
        std::fs::write(&file, source).unwrap();
        let status = Command::new("cc")
            .arg("-o")
            .arg(self.path(library))
            .arg(&file)
            .args(arguments)
            .status()
            .expect("a C compiler is installed");
        assert!(status.success(), "cc {arguments:?} failed");
    }

    pub(crate) fn load(&self, name: &str, options: &Value) -> Result<Backend, Vec<Refusal>> {
        let name = BackendName::parse(name).unwrap();
        self.loader.load(&name, options.as_object().unwrap())
    }

    /// The one reason why the backend is not loaded, with the directory's name taken out of its sentence.
    pub(crate) fn refusal(&self, name: &str) -> (&'static str, String) {
        let mut refusals = self.load(name, &json!({})).unwrap_err();
        assert_eq!(refusals.len(), 1, "{refusals:?}");
        let refusal = refusals.remove(0);
        let directory = format!("{}/plugins/", self.directory.path().display());
        (refusal.code, refusal.sentence.replace(&directory, ""))
    }
}

/// The bytes of a built library.
pub(crate) fn built(library: &str) -> Vec<u8> {
    std::fs::read(artifacts::library(library)).unwrap()
}

/// A villain, loaded.
pub(crate) fn villain(options: &Value) -> Backend {
    Shelf::with(&["villain"])
        .load("villain.VillainBackend", options)
        .unwrap()
}

/// What an override falls back on: one code, one message, one verdict.
struct Base;

#[async_trait::async_trait]
impl BaseCalls for Base {
    fn security_code(&self) -> Result<SecurityCode, SendFailure> {
        Ok(code("424242"))
    }

    fn message(&self, code: &SecurityCode) -> String {
        format!("Your code is {}.", code.expose())
    }

    async fn validate(&self, code: &SecurityCode) -> Option<Result<Verdict, SendFailure>> {
        Some(Ok(if code.expose() == "424242" {
            Verdict::Valid
        } else {
            Verdict::Expired
        }))
    }
}

pub(crate) fn code(text: &str) -> SecurityCode {
    SecurityCode::new(text).unwrap()
}

pub(crate) fn number(text: &str) -> PhoneNumber {
    PhoneNumber::parse(text, None).unwrap()
}

/// Somebody's number.
pub(crate) fn alice() -> PhoneNumber {
    number("+13478379634")
}

pub(crate) fn call() -> Call {
    call_within(Duration::from_secs(60))
}

pub(crate) fn call_within(time_limit: Duration) -> Call {
    Call {
        time_limit,
        request_id: "r-1".to_owned(),
        idempotency_key: "i-1".to_owned(),
        locale: "de-AT".to_owned(),
        facts: CallFacts::default(),
        base: Arc::new(Base),
    }
}

/// How many files lie in a directory.
pub(crate) fn count(directory: &Path) -> usize {
    std::fs::read_dir(directory).map_or(0, Iterator::count)
}

/// Sends a message to alice within half a minute; the answer is the provider's message id.
pub(crate) async fn send(backend: &Backend, message: &str) -> Result<String, SendFailure> {
    let call = call_within(Duration::from_secs(30));
    let receipt = backend.send_sms(&alice(), message, call).await?;
    Ok(receipt.message_id.unwrap_or_default())
}

/// The bytes of a built library with one text in them instead of another, of the same length.
pub(crate) fn rewritten(library: &str, from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut bytes = built(library);
    let at = bytes.windows(from.len()).position(|text| text == from.as_bytes());
    let at = at.unwrap_or_else(|| panic!("{from} is not in {library}"));
    bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
    bytes
}

/// Calls of another backend that go on all the time.
pub(crate) struct Bystander {
    is_over: Arc<AtomicBool>,
    calls: JoinSet<usize>,
}

impl Bystander {
    /// Loads it from the same shelf, so that it has the same loader.
    pub(crate) fn of<const WORKER: bool>(shelf: &Shelves<WORKER>) -> Self {
        let backend = Arc::new(shelf.load("noop.NoopBackend", &json!({})).unwrap());
        let is_over = Arc::new(AtomicBool::new(false));
        let mut calls = JoinSet::new();
        for _ in 0..4 {
            let (backend, is_over) = (Arc::clone(&backend), Arc::clone(&is_over));
            calls.spawn(async move {
                let mut sent = 0;
                while !is_over.load(Ordering::Relaxed) {
                    let outcome = backend.send_sms(&alice(), "hello", call()).await;
                    assert!(outcome.is_ok(), "the bystander lost a call: {outcome:?}");
                    sent += 1;
                    // A call that never waits would not let anything else run.
                    tokio::task::yield_now().await;
                }
                sent
            });
        }
        Self { is_over, calls }
    }

    /// None of its calls was lost, and there were some.
    pub(crate) async fn lost_nothing(self) {
        self.is_over.store(true, Ordering::Relaxed);
        for sent in self.calls.join_all().await {
            assert!(sent > 0, "the bystander made no call");
        }
    }
}
