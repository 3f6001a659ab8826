//! What a backend costs because it is a library: loading it, and calling through the ABI beside a call of the
//! same backend compiled in; and what it costs that it runs in a worker process instead of this one.
//!
//! `cargo bench -p phone-verify --bench backends`. The last lines are the figures to quote.

#[path = "../../../tests/src/artifacts.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    reason = "the tests' harness has more than one user"
)]
mod artifacts;
#[cfg(target_os = "linux")]
mod workers;

use std::{
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use criterion::Criterion;
use phone_verify::{
    clock::Clock,
    entropy::Entropy,
    model::{PhoneNumber, Receipt, SecurityCode, SendFailure, Verdict},
};
use phone_verify_plugin_host::{
    Backend, BackendName, BaseCalls, Call, CallFacts, Isolation, IsolationRules, Loader, LoaderConfig, Next,
    Outbound, Running, TrustRules,
};
use tempfile::TempDir;
use tokio::runtime::Runtime;
#[cfg(target_os = "linux")]
use tracing_subscriber::{layer::SubscriberExt, util::SubscriberInitExt};

/// As in the daemon.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const MESSAGE: &str = "Welcome to Phone Verify! Please use security code 123456 to proceed.";

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let bench = Bench::new();
    bench.calls(&mut criterion);
    bench.loads(&mut criterion);
    criterion.final_summary();
    if std::env::args().any(|argument| argument == "--bench") {
        bench.figures();
    }
}

/// The same as `noop.NoopBackend`, in the host.
struct Native;

#[async_trait::async_trait]
trait Sender: Send + Sync {
    async fn send_sms(&self, number: &PhoneNumber, message: &str, call: Call)
    -> Result<Receipt, SendFailure>;
}

#[async_trait::async_trait]
impl Sender for Native {
    async fn send_sms(
        &self,
        number: &PhoneNumber,
        message: &str,
        call: Call,
    ) -> Result<Receipt, SendFailure> {
        black_box((number, message, call));
        Ok(Receipt::default())
    }
}

struct NoBase;

#[async_trait::async_trait]
impl BaseCalls for NoBase {
    fn security_code(&self) -> Result<SecurityCode, SendFailure> {
        unreachable!("the no-op backend calls no base")
    }

    fn message(&self, _code: &SecurityCode) -> String {
        String::new()
    }

    async fn validate(&self, _code: &SecurityCode) -> Option<Result<Verdict, SendFailure>> {
        None
    }
}

struct Bench {
    runtime: Runtime,
    directory: TempDir,
    base: Arc<dyn BaseCalls>,
    number: PhoneNumber,
    native: Arc<dyn Sender>,
    loaded: Backend,
    in_worker: Backend,
}

impl Bench {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        std::fs::copy(artifacts::library("noop"), directory.path().join("libnoop.so"))
            .expect("the library is copied");
        let runtime = Runtime::new().expect("the runtime starts");
        let loaded = load(&loader(&directory, 0, Isolation::Inline));
        let in_worker = load(&loader(&directory, 0, Isolation::Worker));
        Self {
            runtime,
            base: Arc::new(NoBase),
            number: PhoneNumber::parse("+13478379634", None).expect("a valid number"),
            native: Arc::new(Native),
            loaded,
            in_worker,
            directory,
        }
    }

    fn call(&self) -> Call {
        Call {
            time_limit: Duration::from_secs(10),
            request_id: String::new(),
            idempotency_key: String::new(),
            locale: String::new(),
            facts: CallFacts::default(),
            base: Arc::clone(&self.base),
        }
    }

    async fn send_native(&self) {
        let _ = black_box(self.native.send_sms(&self.number, MESSAGE, self.call()).await);
    }

    async fn send_loaded(&self) {
        let _ = black_box(self.loaded.send_sms(&self.number, MESSAGE, self.call()).await);
    }

    async fn send_by(&self, backend: &Backend) {
        let sent = backend.send_sms(&self.number, MESSAGE, self.call()).await;
        black_box(sent).expect("the worker sends");
    }

    fn calls(&self, criterion: &mut Criterion) {
        let mut group = criterion.benchmark_group("call");
        group.bench_function("native dyn", |bencher| {
            bencher.to_async(&self.runtime).iter(|| self.send_native());
        });
        group.bench_function("through the library", |bencher| {
            bencher.to_async(&self.runtime).iter(|| self.send_loaded());
        });
        group.bench_function("in a worker process", |bencher| {
            bencher
                .to_async(&self.runtime)
                .iter(|| self.send_by(&self.in_worker));
        });
        group.finish();
    }

    fn loads(&self, criterion: &mut Criterion) {
        let mut group = criterion.benchmark_group("load");
        group.bench_function("read, judge and construct again", |bencher| {
            let again = loader(&self.directory, 0, Isolation::Inline);
            bencher.iter(|| load(&again));
        });
        group.finish();
    }

    /// The two figures that are promised: what a call costs over a native one, and what loading a library that
    /// was never seen before costs.
    fn figures(&self) {
        const CALLS: u32 = 200_000;
        const ROUNDS: usize = 9;
        let time = |native: bool| {
            let start = now();
            self.runtime.block_on(async {
                for _ in 0..CALLS {
                    if native {
                        self.send_native().await;
                    } else {
                        self.send_loaded().await;
                    }
                }
            });
            start.elapsed() / CALLS
        };
        // Turn by turn, so that a drift of the machine's speed meets both.
        let rounds: (Vec<_>, Vec<_>) = (0..ROUNDS).map(|_| (time(true), time(false))).unzip();
        let (native, through) = (median(rounds.0), median(rounds.1));

        let library = std::fs::read(self.directory.path().join("libnoop.so")).expect("the library");
        let loads = (1..=32)
            .map(|generation: u32| {
                // Bytes at the end change nothing but the hash: each is a library of its own to the system.
                let directory = tempfile::tempdir().expect("a temporary directory");
                let bytes = [library.as_slice(), &generation.to_be_bytes()].concat();
                std::fs::write(directory.path().join("libnoop.so"), bytes).expect("the copy is written");
                let fresh = loader(&directory, generation, Isolation::Inline);
                let start = now();
                black_box(load(&fresh));
                start.elapsed()
            })
            .collect();
        println!(
            "\na call: native dyn {native:?}, through the library {through:?}: {:?} more, goal at most 200ns",
            through.saturating_sub(native)
        );
        println!(
            "loading a library of {} bytes: {:?}, goal at most 1ms",
            library.len(),
            median(loads)
        );
        println!(
            "a reload, from a changed file to a backend that takes calls: {:?} in a worker, {:?} inline after a look in a \
             worker",
            median(reloads(&library, Isolation::Worker)),
            median(reloads(&library, Isolation::Inline))
        );
        #[cfg(target_os = "linux")]
        self.worker_figures();
    }

    /// The figures that are promised of worker processes.
    #[cfg(target_os = "linux")]
    fn worker_figures(&self) {
        const CALLS: usize = 20_000;
        const ROUNDS: usize = 20;
        let times_of = |backend: &Backend| {
            self.runtime.block_on(async {
                let mut times = Vec::with_capacity(CALLS);
                for _ in 0..CALLS {
                    let start = now();
                    self.send_by(backend).await;
                    times.push(start.elapsed());
                }
                median(times)
            })
        };
        let (inline, worker) = (times_of(&self.loaded), times_of(&self.in_worker));
        let (mut loads, mut recoveries, mut memory) = (Vec::new(), Vec::new(), Vec::new());
        let starts = workers::Starts::default();
        let _guard = tracing_subscriber::registry().with(starts.clone()).set_default();
        for _ in 0..ROUNDS {
            let fresh = loader(&self.directory, 0, Isolation::Worker);
            let others = workers::all();
            let start = now();
            let backend = load(&fresh);
            loads.push(start.elapsed());
            self.runtime.block_on(self.send_by(&backend));
            let process = workers::all().into_iter().find(|id| !others.contains(id));
            let process = process.expect("there is a worker more");
            memory.push(workers::private_bytes(process));
            workers::kill(process);
            let start = now();
            self.runtime.block_on(self.send_by(&backend));
            recoveries.push(start.elapsed());
        }
        memory.sort_unstable();
        println!(
            "a call in a worker process: p50 {worker:?}, inline {inline:?}: {:?} more, goal at most 100us",
            worker.saturating_sub(inline)
        );
        println!(
            "a worker from its start to ready: {:?}, goal at most 5ms; from a killed worker to the next answer: {:?}, goal \
             at most 10ms; from nothing to a constructed backend: {:?}",
            median(starts.times()),
            median(recoveries),
            median(loads)
        );
        println!(
            "private memory of a worker: {} KiB, goal at most 3072 KiB",
            memory[memory.len() / 2] / 1024
        );
    }
}

/// What each of some reloads takes, one version after the other; a daemon sees the change within half a second before.
fn reloads(library: &[u8], isolation: Isolation) -> Vec<Duration> {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let loader = loader(&directory, 0, isolation);
    let file = directory.path().join("libnoop.so");
    std::fs::write(&file, library).expect("the library is written");
    let mut running = load(&loader);
    let name = BackendName::parse("noop.NoopBackend").expect("a backend's name");
    let mut times = Vec::new();
    // In one process there is room for sixteen.
    for version in 1..16_u32 {
        std::fs::write(&file, [library, &version.to_be_bytes()].concat()).expect("a version is written");
        let now_serving = Running {
            sha256: running.library_sha256(),
            place: running.isolation(),
            renews: false,
        };
        let start = now();
        let chosen = loader.choose(&name, &serde_json::Map::new(), Some(now_serving));
        let Ok(Next::Take(backend)) = chosen.map(|chosen| chosen.next) else {
            panic!("the new version is not taken");
        };
        times.push(start.elapsed());
        running = *backend;
    }
    times
}

fn loader(directory: &TempDir, generation: u32, isolation: Isolation) -> Loader {
    Loader::new(LoaderConfig {
        directories: vec![directory.path().to_owned()],
        staging: directory.path().join(format!("staged-{generation}")),
        clock: Clock::system(),
        entropy: Entropy::system(),
        allow_private_addresses: false,
        outbound: Outbound::default(),
        requests_at_once: 256,
        isolation: IsolationRules {
            default: isolation,
            worker_program: Some(artifacts::program()),
            ..IsolationRules::default()
        },
        trust: TrustRules::default(),
    })
}

fn load(loader: &Loader) -> Backend {
    let name = BackendName::parse("noop.NoopBackend").expect("a backend's name");
    loader
        .load(&name, &serde_json::Map::new())
        .expect("the library loads")
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

#[expect(clippy::disallowed_methods, reason = "a bench measures with the real clock")]
fn now() -> Instant {
    Instant::now()
}
