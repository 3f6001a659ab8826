//! What a register and verify pair costs over HTTP, beside the least that could do it.
//!
//! `cargo bench -p phone-verify-tests --bench http` builds the daemon and a backend library that sends
//! nothing, and measures in turn, on the same machine and with the same client: a bare server (see
//! `bare.rs`), the daemon on an empty database, the same without limits and without the guard, and the daemon on a
//! database that already holds a million verifications. It prints rates, and ratios round by round; the median ratio is the figure to
//! quote, since it holds when the machine's speed drifts.
#![expect(clippy::disallowed_methods, reason = "a benchmark measures the real time")]

mod bare;
mod load;

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use load::{Numbers, pairs_per_second};
use phone_verify_tests::artifacts;

const ROUNDS: usize = 5;
const SECONDS: u64 = 4;
const CONNECTIONS: [u64; 2] = [1, 64];
const OLD_ROWS: u32 = 1_000_000;
/// In milliseconds since the epoch.
const LONG_FROM_NOW: i64 = 9_000_000_000_000;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == "--bare") {
        return bare::serve(Path::new(&arguments[at + 1]));
    }
    if arguments.iter().any(|argument| argument == "--test") {
        return; // `cargo test --all-targets` only asks whether it builds
    }
    let directory = tempfile::tempdir().expect("a temporary directory");
    let full = seed(directory.path());
    let runtime = tokio::runtime::Runtime::new().expect("the runtime starts");
    let numbers = Numbers::default();

    println!("register+verify pairs per second, durable, {SECONDS} s a run, {ROUNDS} rounds");
    println!(
        "{:>11}  {:>8} {:>8} {:>9} {:>8}   {:>10} {:>14} {:>13}",
        "connections",
        "bare",
        "empty",
        "unlimited",
        "million",
        "empty/bare",
        "unlimited/bare",
        "million/empty"
    );
    for connections in CONNECTIONS {
        let mut ratios = Vec::new();
        for round in 0..ROUNDS {
            let measure = |server: &Server| {
                runtime.block_on(pairs_per_second(
                    server.address,
                    connections,
                    Duration::from_secs(SECONDS),
                    &numbers,
                ))
            };
            let fresh = |name: &str| directory.path().join(format!("{name}-{connections}-{round}.db"));
            let bare = measure(&Server::bare(&fresh("bare")));
            let daemon = |database: &Path, limits| Server::daemon(directory.path(), database, limits);
            let empty = measure(&daemon(&fresh("empty"), LIMITS));
            let unlimited = measure(&daemon(&fresh("unlimited"), NO_LIMITS));
            let million = measure(&daemon(&full, LIMITS));
            forget_the_round(&full);
            println!(
                "{connections:>11}  {bare:>8.0} {empty:>8.0} {unlimited:>9.0} {million:>8.0}   {:>10.2} {:>14.2} {:>13.2}",
                empty / bare,
                unlimited / bare,
                million / empty
            );
            ratios.push([empty / bare, unlimited / bare, million / empty]);
        }
        println!(
            "{connections:>11}  {:>36}   {:>10.2} {:>14.2} {:>13.2}",
            "median",
            median(ratios.iter().map(|ratio| ratio[0])),
            median(ratios.iter().map(|ratio| ratio[1])),
            median(ratios.iter().map(|ratio| ratio[2]))
        );
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// A server process that is killed when dropped.
struct Server {
    process: Child,
    address: SocketAddr,
}

impl Server {
    fn bare(database: &Path) -> Self {
        let this = std::env::current_exe().expect("this program has a path");
        Self::start(Command::new(this).arg("--bare").arg(database))
    }

    fn daemon(directory: &Path, database: &Path, limits: &str) -> Self {
        let settings = directory.join("phone-verify.toml");
        std::fs::write(&settings, settings_text(database, limits)).expect("the settings are written");
        Self::start(
            Command::new(artifacts::program())
                .arg("serve")
                .arg("--settings")
                .arg(settings),
        )
    }

    fn start(command: &mut Command) -> Self {
        let mut process = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the server starts");
        let stdout = process.stdout.take().expect("stdout is piped");
        let address = BufReader::new(stdout)
            .lines()
            .map_while(Result::ok)
            .find_map(|line| line.split("http://").nth(1)?.trim_end_matches('/').parse().ok())
            .expect("the server says where it listens");
        Self { process, address }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn settings_text(database: &Path, limits: &str) -> String {
    let libraries: PathBuf = artifacts::library("noop")
        .parent()
        .expect("a file has a folder")
        .to_owned();
    format!(
        r#"
[phone_verification]
BACKEND = "noop.FixedCodeBackend"
TOKEN_LENGTH = 6
MESSAGE = "Welcome to {{app}}! Please use security code {{security_code}} to proceed."
APP_NAME = "Bench"
SECURITY_CODE_EXPIRATION_SECONDS = 600
VERIFY_SECURITY_CODE_ONLY_ONCE = true

[phone_verification.OPTIONS]

[server]
listen = "127.0.0.1:0"
[store]
url = "sqlite:{}"
[plugins]
directories = ["{}"]
{limits}"#,
        database.display(),
        libraries.display()
    )
}

/// Every limit counts, and none is reached.
const LIMITS: &str = "[limits]
resend_cooldown_seconds = 60
number_per_10_minutes = 1000000000
number_per_hour = 1000000000
number_per_day = 1000000000
failed_checks_per_hour = 1000000000
failed_checks_per_day = 1000000000
address_per_hour = 1000000000
country_per_hour = 1000000000
country_per_day = 1000000000
service_per_hour = 1000000000
service_per_day = 1000000000
spend_per_hour = 1000000.0
spend_per_day = 1000000.0
";

const NO_LIMITS: &str = "[limits]
resend_cooldown_seconds = 0
number_per_10_minutes = 0
number_per_hour = 0
number_per_day = 0
failed_checks_per_hour = 0
failed_checks_per_day = 0
address_per_hour = 0
country_per_hour = 0
country_per_day = 0
service_per_hour = 0
service_per_day = 0
spend_per_hour = 0.0
spend_per_day = 0.0
[guard]
mode = \"off\"
";

/// The next round finds the file as this one did.
fn forget_the_round(database: &Path) {
    let connection = rusqlite::Connection::open(database).expect("the file is there");
    connection
        .execute_batch(&format!(
            "DELETE FROM counter WHERE ends_at <> {LONG_FROM_NOW}; DELETE FROM pending; DELETE FROM outbox;
             DELETE FROM verification WHERE id > (SELECT id FROM verification ORDER BY id LIMIT 1 OFFSET {});
             PRAGMA wal_checkpoint(TRUNCATE);",
            OLD_ROWS - 1
        ))
        .expect("the round is forgotten");
}

/// A database that holds a million finished verifications, made once.
fn seed(directory: &Path) -> PathBuf {
    let database = directory.join("million.db");
    drop(Server::daemon(directory, &database, LIMITS));
    let connection = rusqlite::Connection::open(&database).expect("the daemon made the database");
    let weeks_ago = SystemTime::now() - Duration::from_secs(14 * 24 * 60 * 60);
    let first = weeks_ago
        .duration_since(UNIX_EPOCH)
        .expect("it is later than 1970")
        .as_millis();
    let first = i64::try_from(first).expect("milliseconds of this age");
    let rows = connection
        .execute(
            // Side by side as they were made, younger than what is deleted; everything else as the daemon leaves it.
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
             INSERT INTO verification
                 (id, number, key_id, code, code_used_at, attempts_left, created_at, expires_at, verified_at, delivery)
             SELECT unhex(printf('%012x', ?2 + i)) || randomblob(10), randomblob(32), 1, randomblob(32),
                 ?2 + i, 5, ?2 + i, ?2 + 600000 + i, ?2 + i, 'sent'
             FROM n",
            (OLD_ROWS, first),
        )
        .expect("the rows fit the schema");
    assert_eq!(rows, OLD_ROWS as usize);
    let remembered = connection
        .execute(
            // As many numbers of which it is remembered that they were verified.
            "INSERT INTO counter (key, log, ends_at)
             WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
             SELECT unhex('6e') || randomblob(16), randomblob(35), ?2 FROM n",
            (OLD_ROWS, LONG_FROM_NOW),
        )
        .expect("the rows fit the schema");
    assert_eq!(remembered, OLD_ROWS as usize);
    database
}
