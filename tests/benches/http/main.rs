//! What a register and verify pair costs over HTTP, beside the least that could do it.
//!
//! `cargo bench -p phone-verify-tests --bench http` builds the daemon and a backend library that sends nothing, and
//! measures in turn, on the same machine and with the same client, which is a process of its own: a bare server (see
//! `bare.rs`), without and with an index on the number; the daemon on an empty database; the same without limits and
//! without the guard; and the daemon on databases that hold a million and ten million verifications. The numbers are
//! scattered over whole countries. It prints rates, then ratios round by round with their least and their median.
//! Ratios are to be quoted, since they hold when the machine's speed drifts.
//!
//! `-- --latency --seconds N` measures for N seconds each how long clients of the bare servers and of the daemon wait
//! for the answer to a registration, at 64 connections that each ask again once they were answered. `-- --open-loop
//! RATE --seconds N` has RATE pairs a second begin instead, whatever the server does, and counts from when a request
//! was due: so one that had to wait for its turn counts with that wait, as it does for a client (see `latency.rs`).
//!
//! `--before PROGRAM` measures another build of the daemon in the same rounds, to see what a change costs.
#![expect(clippy::disallowed_methods, reason = "a benchmark measures the real time")]

mod bare;
mod latency;
mod load;
mod numbers;
mod seeded;
mod server;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use latency::Latency;
use load::pairs_per_second;
use numbers::Numbers;
use phone_verify_tests::artifacts;
use seeded::{forget_the_round, seed};
use server::{LIMITS, NO_LIMITS, Server};

const ROUNDS: usize = 5;
const SECONDS: u64 = 4;
const LATENCY_SECONDS: u64 = 20;
const CONNECTIONS: [u64; 2] = [1, 64];
const MILLION: u32 = 1_000_000;
const TEN_MILLION: u32 = 10_000_000;

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
    let before = value_of("--before").map(PathBuf::from);
    let number = |name: &str| value_of(name).map(|value| value.parse().expect("a whole number"));
    let rate = number("--open-loop");
    if rate.is_some() || arguments.iter().any(|argument| argument == "--latency") {
        let duration = Duration::from_secs(number("--seconds").unwrap_or(LATENCY_SECONDS));
        return Latency {
            rate,
            duration,
            before,
        }
        .run();
    }
    Bench::new(before).run();
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
