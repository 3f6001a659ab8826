//! What the store can take: verifications begun, settled and checked per second, every one durable, by one
//! writer and by 64 at once, in an empty file and beside a million old rows, each counted in every limit
//! and watched by the guard of the defaults; and what a number costs to read.
//!
//! `cargo bench -p phone-verify --bench store`. The files are in the system's temporary folder: set `TMPDIR`
//! to measure another disk.

use std::{
    hint::black_box,
    net::IpAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use phone_verify::{
    clock::Clock,
    entropy::Entropy,
    model::{
        ClientAddress, CodeFormat, Limit, Locale, MessageId, PhoneNumber, Purpose, Receipt, SecurityCode,
        Try, Verdict, VerificationId,
    },
    rules::attempt::Terms,
    settings::Settings,
    store::{
        Begun, CheckRules, Dispatched, Keyring, NewCode, NewVerification, OutboxMessage, Store,
        sqlite::{self, Sqlite},
    },
    verifier::{Guard, RateLimits},
};
use tokio::runtime::Runtime;

const OLD_ROWS: u64 = 1_000_000;
const TEXT: &str = "Welcome to Acme! Please use security code 123456 to proceed.";

struct Bench {
    store: Sqlite,
    keyring: Arc<Keyring>,
    limits: RateLimits,
    guard: Guard,
    clock: Clock,
    entropy: Entropy,
    numbers: AtomicU64,
}

impl Bench {
    fn open(path: &Path) -> Arc<Self> {
        let entropy = Entropy::system();
        let keyring = Arc::new(Keyring::ephemeral(entropy.clone()).expect("randomness"));
        Arc::new(Self {
            store: sqlite::open(path, Arc::clone(&keyring), Arc::new(())).expect("the database opens"),
            keyring,
            limits: wide(Settings::defaults().limits),
            guard: wide_guard(Settings::defaults().guard),
            clock: Clock::system(),
            entropy,
            numbers: AtomicU64::new(0),
        })
    }

    fn number(&self) -> PhoneNumber {
        let n = self.numbers.fetch_add(1, Ordering::Relaxed) % 7_000_000;
        PhoneNumber::parse(&format!("+1201{:07}", 2_000_000 + n), None).expect("a number of New Jersey")
    }

    /// Each client asks for one.
    fn client(&self) -> ClientAddress {
        let n = u32::try_from(self.numbers.load(Ordering::Relaxed)).unwrap_or(0);
        ClientAddress::from(IpAddr::from(n.to_be_bytes()))
    }

    /// One verification, from its registration to its end.
    async fn pair(&self, number: PhoneNumber) {
        let id = VerificationId::generate(&self.clock, &self.entropy).expect("randomness");
        let code = SecurityCode::generate(CodeFormat::digits(6), &self.entropy).expect("randomness");
        let now = self.clock.now();
        let client = Some(self.client());
        let keys = self.keyring.counter_keys(&number, client);
        let heard = self.guard.of_check(&number, client, &keys);
        let message = OutboxMessage {
            id: MessageId::of_first(id),
            verification: id,
            number: number.clone(),
            locale: Locale::default(),
            text: TEXT.to_owned().into(),
            carries_code: true,
            counters: self.limits.counters(&number, Some(TEXT), &keys),
            guard: self.guard.of_registration(&number, client, &keys).map(Arc::new),
            replaced: None,
            counted_at: now,
            owner: None,
            after: None,
        };
        let begun = self.store.begin_verification(NewVerification {
            id,
            number,
            code: NewCode::Fresh {
                code: code.clone(),
                lifetime: Duration::from_secs(600),
            },
            message: message.clone(),
            now,
            max_failed_attempts: 5,
            max_sessions: 5,
            remembered_for: Duration::from_secs(30 * 24 * 60 * 60),
            client_ref: None,
            purpose: Purpose::default(),
            request: None,
        });
        assert!(matches!(begun.await, Ok(Begun::Yes { .. })));
        let backend = "bench.BenchBackend";
        let outcome = Ok(Receipt::default());
        let sent = Dispatched {
            tries: vec![Try::of(backend, &outcome, Duration::from_millis(30))],
            backend: backend.into(),
            outcome,
        };
        let rules = CheckRules {
            terms: Terms {
                now,
                only_once: true,
                max_failed_attempts: 5,
                bound: None,
            },
            failed_checks: Some(keys.number()),
            guard: heard,
        };
        // As in the daemon, nobody waits for the message to be settled before the code is checked.
        let (settled, verdict) = tokio::join!(
            self.store.settle_message(&message, &sent, self.clock.now()),
            self.store.check_code(id, code, rules, None)
        );
        assert!(settled.is_ok() && matches!(verdict, Ok(Verdict::Valid)));
    }
}

/// The same limits, with room for all that the bench does.
fn wide(limits: RateLimits) -> RateLimits {
    let widen = |limits: &[Limit]| -> Arc<[Limit]> {
        let max = u64::MAX;
        limits.iter().map(|limit| Limit { max, ..*limit }).collect()
    };
    RateLimits {
        number: widen(&limits.number),
        failed_checks: widen(&limits.failed_checks),
        address: widen(&limits.address),
        country: widen(&limits.country),
        service: widen(&limits.service),
        spend: widen(&limits.spend),
        prices: limits.prices,
    }
}

/// The same guard, with room for all that the bench does.
fn wide_guard(mut guard: Guard) -> Guard {
    guard.budgets.prefix_per_hour = u64::MAX;
    guard.budgets.prefix_per_day = u64::MAX;
    guard.budgets.country_per_hour = u64::MAX;
    guard.budgets.country_per_day = u64::MAX;
    guard
}

/// A file with a million finished verifications.
fn seed(path: &Path) {
    drop(Bench::open(path));
    let connection = rusqlite::Connection::open(path).expect("the database opens");
    connection
        .execute_batch(&format!(
            "PRAGMA synchronous = OFF;
             INSERT INTO verification
                 (id, number, key_id, code, attempts_left, created_at, expires_at, verified_at, code_used_at)
             WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < {OLD_ROWS})
             SELECT unhex(printf('%012x%020x', 1700000000000 + i, i)), randomblob(32), 1, randomblob(32), 5,
                    1700000000000 + i, 1700000600000 + i, 1700000001000 + i, 1700000001000 + i
             FROM n;
             INSERT INTO message (verification, n, id, state, backend, tries)
             SELECT id, 0, id, 'sent', 1, '[{{\"backend\":\"bench.BenchBackend\",\"duration_ms\":30}}]' FROM verification;
             INSERT INTO counter (key, log, ends_at)
             WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < {OLD_ROWS})
             SELECT unhex('6e') || randomblob(16), randomblob(35), 9000000000000 FROM n;"
        ))
        .expect("the rows are made");
}

fn verifications(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("the runtime starts");
    let directory = tempfile::tempdir().expect("a temporary folder");
    seed(&directory.path().join("million.db"));
    let mut group = criterion.benchmark_group("verification");
    group
        .sample_size(20)
        .measurement_time(Duration::from_secs(8))
        .throughput(Throughput::Elements(1));
    for writers in [1, 64] {
        for file in ["empty", "million"] {
            let bench = Bench::open(&directory.path().join(format!("{file}.db")));
            group.bench_function(BenchmarkId::new(file, writers), |bencher| {
                bencher
                    .to_async(&runtime)
                    .iter_custom(|pairs| run(Arc::clone(&bench), writers, pairs));
            });
        }
    }
}

/// How long `pairs` verifications take when `writers` share them.
async fn run(bench: Arc<Bench>, writers: usize, pairs: u64) -> Duration {
    let mut shares: Vec<Vec<PhoneNumber>> = vec![Vec::new(); writers];
    for (_, share) in (0..pairs).zip((0..writers).cycle()) {
        shares[share].push(bench.number());
    }
    let begin = bench.clock.elapsed();
    let mut running = tokio::task::JoinSet::new();
    for share in shares {
        let bench = Arc::clone(&bench);
        running.spawn(async move {
            for number in share {
                bench.pair(number).await;
            }
        });
    }
    running.join_all().await;
    bench.clock.elapsed().saturating_sub(begin)
}

fn numbers(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("phone_number");
    for text in [
        "+13478379634",
        "+1 (347) 837-9634",
        "+442079460018",
        "+999123456789",
    ] {
        group.bench_function(text, |bencher| {
            bencher.iter(|| PhoneNumber::parse(black_box(text), None));
        });
    }
}

criterion_group!(benches, verifications, numbers);
criterion_main!(benches);
