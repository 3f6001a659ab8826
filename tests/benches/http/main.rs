//! What a register and verify pair costs over HTTP, beside the least that could do it.
//!
//! `cargo bench -p phone-verify-tests --bench http` builds the daemon and a backend library that sends nothing, and measures
//! in turn, on the same machine and with the same client, which is a process of its own: a bare server (see `bare.rs`),
//! without and with an index on the number; the daemon on an empty database; the same without limits and without the
//! guard; and the daemon on databases that hold a million and ten million verifications. The numbers are scattered over
//! whole countries. It prints rates, then ratios round by round with their least and their median. Ratios are to be quoted,
//! since they hold when the machine's speed drifts.
//!
//! `-- --before PROGRAM` measures another build of the daemon in the same rounds, to see what a change costs.
#![expect(clippy::disallowed_methods, reason = "a benchmark measures the real time")]

mod bare;
mod load;
mod numbers;

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use load::pairs_per_second;
use numbers::Numbers;
use phone_verify_tests::artifacts;

const ROUNDS: usize = 5;
const SECONDS: u64 = 4;
const CONNECTIONS: [u64; 2] = [1, 64];
const MILLION: u32 = 1_000_000;
const TEN_MILLION: u32 = 10_000_000;
/// In milliseconds since the epoch.
const LONG_FROM_NOW: i64 = 9_000_000_000_000;

/// What is measured in each round, in this order.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Subject {
    Bare,
    Indexed,
    Daemon,
    Unlimited,
    Million,
    TenMillion,
    Before,
}

/// What is divided by what.
const RATIOS: [(&str, Subject, Subject); 6] = [
    ("daemon/bare", Subject::Daemon, Subject::Bare),
    ("daemon/indexed", Subject::Daemon, Subject::Indexed),
    ("unlimited/indexed", Subject::Unlimited, Subject::Indexed),
    ("million/daemon", Subject::Million, Subject::Daemon),
    ("ten million/daemon", Subject::TenMillion, Subject::Daemon),
    ("daemon/before", Subject::Daemon, Subject::Before),
];

impl Subject {
    const fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Indexed => "indexed",
            Self::Daemon => "daemon",
            Self::Unlimited => "unlimited",
            Self::Million => "million",
            Self::TenMillion => "ten million",
            Self::Before => "before",
        }
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let value_of = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1)
    };
    if let Some(database) = value_of("--bare") {
        return bare::serve(Path::new(database), false);
    }
    if let Some(database) = value_of("--indexed") {
        return bare::serve(Path::new(database), true);
    }
    if arguments.iter().any(|argument| argument == "--test") {
        return; // `cargo test --all-targets` only asks whether it builds
    }
    Bench::new(value_of("--before").map(PathBuf::from)).run();
}

/// The files of the benchmark, and the programs.
struct Bench {
    directory: tempfile::TempDir,
    program: PathBuf,
    before: Option<PathBuf>,
    million: PathBuf,
    ten_million: PathBuf,
    runs: usize,
}

impl Bench {
    fn new(before: Option<PathBuf>) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let program = artifacts::program();
        let million = seed(&program, directory.path(), "million.db", MILLION);
        let ten_million = seed(&program, directory.path(), "ten-million.db", TEN_MILLION);
        Self {
            directory,
            program,
            before,
            million,
            ten_million,
            runs: 0,
        }
    }

    fn subjects(&self) -> Vec<Subject> {
        let mut subjects = vec![
            Subject::Bare,
            Subject::Indexed,
            Subject::Daemon,
            Subject::Unlimited,
            Subject::Million,
            Subject::TenMillion,
        ];
        subjects.extend(self.before.is_some().then_some(Subject::Before));
        subjects
    }

    fn run(&mut self) {
        let subjects = self.subjects();
        println!("register+verify pairs per second, durable, {SECONDS} s a run, {ROUNDS} rounds");
        for connections in CONNECTIONS {
            print!("{connections:>3} connections");
            for subject in &subjects {
                print!(" {:>11}", subject.name());
            }
            println!();
            let rounds: Vec<Vec<f64>> = (0..ROUNDS)
                .map(|_| {
                    let rates: Vec<f64> = subjects
                        .iter()
                        .map(|subject| self.measure(*subject, connections))
                        .collect();
                    print!("               ");
                    for rate in &rates {
                        print!(" {rate:>11.0}");
                    }
                    println!();
                    rates
                })
                .collect();
            for (name, above, below) in RATIOS {
                let place = |wanted: Subject| subjects.iter().position(|subject| *subject == wanted);
                let (Some(above), Some(below)) = (place(above), place(below)) else {
                    continue;
                };
                let mut ratios: Vec<f64> = rounds.iter().map(|rates| rates[above] / rates[below]).collect();
                ratios.sort_by(f64::total_cmp);
                println!(
                    "{name:>20}  median {:.2}  least {:.2}  most {:.2}",
                    ratios[ratios.len() / 2],
                    ratios[0],
                    ratios[ratios.len() - 1]
                );
            }
        }
    }

    fn measure(&mut self, subject: Subject, connections: u64) -> f64 {
        self.runs += 1;
        let numbers = Numbers::of_run(self.runs);
        let directory = self.directory.path();
        let fresh = directory.join(format!("{}.db", self.runs));
        let daemon =
            |program: &Path, database: &Path, limits| Server::daemon(program, directory, database, limits);
        let server = match subject {
            Subject::Bare => Server::bare("--bare", &fresh),
            Subject::Indexed => Server::bare("--indexed", &fresh),
            Subject::Daemon => daemon(&self.program, &fresh, LIMITS),
            Subject::Unlimited => daemon(&self.program, &fresh, NO_LIMITS),
            Subject::Million => daemon(&self.program, &self.million, LIMITS),
            Subject::TenMillion => daemon(&self.program, &self.ten_million, LIMITS),
            Subject::Before => {
                // In a folder of its own: another build may not read this one's lock file of libraries.
                let apart = directory.join("before");
                std::fs::create_dir_all(&apart).expect("the folder is made");
                let program = self.before.as_ref().expect("it is a subject");
                Server::daemon(program, &apart, &apart.join(format!("{}.db", self.runs)), LIMITS)
            }
        };
        // The client has an executor of its own each time, so that nothing of one run is left in the next.
        let runtime = tokio::runtime::Runtime::new().expect("the runtime starts");
        let rate = runtime.block_on(pairs_per_second(
            server.address,
            connections,
            Duration::from_secs(SECONDS),
            &numbers,
        ));
        drop(server);
        match subject {
            Subject::Million => forget_the_round(&self.million, MILLION),
            Subject::TenMillion => forget_the_round(&self.ten_million, TEN_MILLION),
            _ => {}
        }
        rate
    }
}

/// A server process that is killed when dropped.
struct Server {
    process: Child,
    address: SocketAddr,
}

impl Server {
    fn bare(which: &str, database: &Path) -> Self {
        let this = std::env::current_exe().expect("this program has a path");
        Self::start(Command::new(this).arg(which).arg(database))
    }

    fn daemon(program: &Path, directory: &Path, database: &Path, limits: &str) -> Self {
        let settings = directory.join("phone-verify.toml");
        std::fs::write(&settings, settings_text(database, limits)).expect("the settings are written");
        Self::start(Command::new(program).arg("serve").arg("--settings").arg(settings))
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
            .unwrap_or_else(|| {
                // Its log is not read while it is measured. So it is started again to say why.
                let again = command
                    .stderr(Stdio::piped())
                    .output()
                    .expect("the server starts");
                panic!(
                    "the server does not say where it listens:\n{}",
                    String::from_utf8_lossy(&again.stderr)
                )
            });
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
fn forget_the_round(database: &Path, rows: u32) {
    let connection = rusqlite::Connection::open(database).expect("the file is there");
    connection
        .execute_batch(&format!(
            "DELETE FROM counter WHERE ends_at <> {LONG_FROM_NOW}; DELETE FROM pending; DELETE FROM {};
             DELETE FROM verification WHERE id > (SELECT id FROM verification ORDER BY id LIMIT 1 OFFSET {});
             PRAGMA wal_checkpoint(TRUNCATE);",
            if keeps_messages(&connection) {
                "message WHERE verification NOT IN (SELECT id FROM verification)"
            } else {
                "outbox"
            },
            rows - 1
        ))
        .expect("the round is forgotten");
}

/// Whether a message has a row as long as its verification has one; a program of before may have made the file.
fn keeps_messages(connection: &rusqlite::Connection) -> bool {
    let find = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'message')";
    connection
        .query_row(find, [], |row| row.get(0))
        .expect("the file can be read")
}

/// A database that holds so many finished verifications, made once.
fn seed(program: &Path, directory: &Path, name: &str, rows: u32) -> PathBuf {
    let database = directory.join(name);
    drop(Server::daemon(program, directory, &database, LIMITS));
    let connection = rusqlite::Connection::open(&database).expect("the daemon made the database");
    let weeks_ago = SystemTime::now() - Duration::from_secs(14 * 24 * 60 * 60);
    let first = weeks_ago
        .duration_since(UNIX_EPOCH)
        .expect("it is later than 1970")
        .as_millis();
    let first = i64::try_from(first).expect("milliseconds of this age");
    let made = connection
        .execute(
            // Side by side as they were made, younger than what is deleted; everything else as the daemon leaves it.
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
             INSERT INTO verification
                 (id, number, key_id, code, code_used_at, attempts_left, created_at, expires_at, verified_at)
             SELECT CAST(unhex(printf('%012x', ?2 + i)) || randomblob(10) AS BLOB), randomblob(32), 1, randomblob(32),
                 ?2 + i, 5, ?2 + i, ?2 + 600000 + i, ?2 + i
             FROM n",
            (rows, first),
        )
        .expect("the rows fit the schema");
    assert_eq!(made, rows as usize);
    if keeps_messages(&connection) {
        connection
            .execute(
                "INSERT INTO message (verification, n, id, state, tries)
                 SELECT id, 0, id, 'sent', '[{\"backend\":\"noop.NoopBackend\",\"duration_ms\":30}]' FROM verification",
                [],
            )
            .expect("the rows fit the schema");
    }
    let remembered = connection
        .execute(
            // As many numbers of which it is remembered that they were verified.
            "INSERT INTO counter (key, log, ends_at)
             WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
             SELECT CAST(unhex('6e') || randomblob(16) AS BLOB) AS key, randomblob(35), ?2 FROM n ORDER BY key",
            (rows, LONG_FROM_NOW),
        )
        .expect("the rows fit the schema");
    assert_eq!(remembered, rows as usize);
    database
}
