//! How long clients wait for the answer to a registration.
//!
//! In the closed loop each connection asks again once it was answered: a server that stalls is asked less meanwhile,
//! which hides most of the stall. In the open loop requests are due at a rate, as those of people are, who do not know
//! of each other, and the wait counts from when a request was due, not from when it could be written: nothing hides.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use phone_verify_tests::artifacts;
use tokio::sync::Semaphore;

use crate::{
    load::Client,
    numbers::Numbers,
    server::{LIMITS, Server},
};

/// Connections of the closed loop.
const CONNECTIONS: usize = 64;
/// No more pairs are under way in the open loop. Further ones wait, which counts.
const MAX_UNDER_WAY: usize = 1024;
/// More than the fastest server takes within a second.
const MOST_PER_SECOND: usize = 30_000;
const PERCENTILES: [(&str, f64); 3] = [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)];

/// What is divided by what.
const RATIOS: [(&str, &str); 3] = [("daemon", "bare"), ("daemon", "indexed"), ("daemon", "before")];

/// A measurement of the bare servers and of the daemon, one after the other.
pub(crate) struct Latency {
    /// Pairs a second; `None`: the closed loop.
    pub(crate) rate: Option<u64>,
    /// How long each is measured.
    pub(crate) duration: Duration,
    /// Another build of the daemon.
    pub(crate) before: Option<PathBuf>,
}

impl Latency {
    /// Measures, and prints a table.
    pub(crate) fn run(&self) {
        // First: a build between two measurements would tell in the one after it.
        let program = artifacts::program();
        let load = self.rate.map_or_else(
            || format!("{CONNECTIONS} connections"),
            |rate| format!("{rate} pairs per second, counted from when each was due"),
        );
        println!(
            "register, milliseconds until the answer; {} s, {load}",
            self.duration.as_secs()
        );
        print!("{:>20} {:>9}", "", "pairs/s");
        for (name, _) in PERCENTILES {
            print!(" {name:>8}");
        }
        println!(" {:>8}", "most");
        let per_second = self
            .rate
            .map_or(MOST_PER_SECOND, |rate| usize::try_from(rate).expect("a rate"));
        let seconds = usize::try_from(self.duration.as_secs()).expect("some seconds");
        let numbers = Numbers::first(per_second * seconds + CONNECTIONS);
        let mut rows: Vec<(&str, Vec<f64>)> = Vec::new();
        for name in ["bare", "indexed", "daemon", "before"] {
            let folder = tempfile::tempdir().expect("a temporary directory");
            let database = folder.path().join("bench.db");
            let server = match (name, &self.before) {
                ("bare", _) => Server::bare("--bare", &database),
                ("indexed", _) => Server::bare("--indexed", &database),
                ("daemon", _) => Server::daemon(&program, folder.path(), &database, LIMITS),
                (_, Some(before)) => Server::daemon(before, folder.path(), &database, LIMITS),
                (_, None) => continue,
            };
            let runtime = tokio::runtime::Runtime::new().expect("the runtime starts");
            let numbers = numbers.again();
            let mut waits = match self.rate {
                Some(rate) => open_loop(&runtime, server.address, rate, self.duration, &numbers),
                None => runtime.block_on(closed_loop(server.address, self.duration, &numbers)),
            };
            drop(server);
            waits.sort_unstable();
            let figures = figures(&waits, self.duration);
            print_row(name, &figures, 2);
            rows.push((name, figures));
        }
        for (above, below) in RATIOS {
            let find = |wanted| {
                rows.iter()
                    .find(|(name, _)| *name == wanted)
                    .map(|(_, figures)| figures)
            };
            if let (Some(above_figures), Some(below_figures)) = (find(above), find(below)) {
                let ratios: Vec<f64> = above_figures
                    .iter()
                    .zip(below_figures)
                    .map(|(a, b)| a / b)
                    .collect();
                print_row(&format!("{above}/{below}"), &ratios, 2);
            }
        }
    }
}

/// Pairs per second, the percentiles, and the longest wait in milliseconds.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "far below 2^52 pairs"
)]
fn figures(sorted: &[Duration], duration: Duration) -> Vec<f64> {
    let at = |share: f64| {
        let place = (sorted.len() as f64 * share) as usize;
        sorted[place.min(sorted.len() - 1)].as_secs_f64() * 1000.0
    };
    let mut figures = vec![sorted.len() as f64 / duration.as_secs_f64()];
    figures.extend(PERCENTILES.iter().map(|(_, share)| at(*share)));
    figures.push(at(1.0));
    figures
}

fn print_row(name: &str, figures: &[f64], decimals: usize) {
    print!("{name:>20} {:>9.decimals$}", figures[0]);
    for figure in &figures[1..] {
        print!(" {figure:>8.decimals$}");
    }
    println!();
}

async fn closed_loop(server: SocketAddr, duration: Duration, numbers: &Numbers) -> Vec<Duration> {
    let end = Instant::now() + duration;
    let clients: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            let numbers = numbers.clone();
            tokio::spawn(async move {
                let mut client = Client::connect(server).await;
                let mut waits = Vec::new();
                while Instant::now() < end {
                    let number = numbers.next();
                    let began = Instant::now();
                    let token = client.register(number).await;
                    waits.push(began.elapsed());
                    client.verify(number, &token).await;
                }
                waits
            })
        })
        .collect();
    let mut waits = Vec::new();
    for client in clients {
        waits.extend(client.await.expect("every pair succeeds"));
    }
    waits
}

/// Begins pairs at a rate from a thread that does nothing else, so that they begin when they are due.
fn open_loop(
    runtime: &tokio::runtime::Runtime,
    server: SocketAddr,
    rate: u64,
    duration: Duration,
    numbers: &Numbers,
) -> Vec<Duration> {
    let idle = Arc::new(Mutex::new(VecDeque::new()));
    let places = Arc::new(Semaphore::new(MAX_UNDER_WAY));
    let began = Instant::now();
    let pairs: Vec<_> = (0..rate * duration.as_secs())
        .map(|pair| {
            let due = began + Duration::from_nanos(pair * 1_000_000_000 / rate);
            thread::sleep(due.saturating_duration_since(Instant::now()));
            let (idle, places, numbers) = (Arc::clone(&idle), Arc::clone(&places), numbers.clone());
            runtime.spawn(async move {
                let _place = places.acquire().await.expect("it is never closed");
                let free = idle.lock().expect("nobody panics with it").pop_front();
                let mut client: Client = match free {
                    Some(client) => client,
                    None => Client::connect(server).await,
                };
                let number = numbers.next();
                let token = client.register(number).await;
                let wait = due.elapsed();
                client.verify(number, &token).await;
                idle.lock().expect("nobody panics with it").push_front(client);
                wait
            })
        })
        .collect();
    runtime.block_on(async {
        let mut waits = Vec::with_capacity(pairs.len());
        for pair in pairs {
            waits.push(pair.await.expect("every pair succeeds"));
        }
        waits
    })
}
