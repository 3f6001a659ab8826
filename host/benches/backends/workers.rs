//! The worker processes of this one, as the system and the log show them.

use std::{
    collections::BTreeSet,
    fmt, fs,
    sync::{Arc, Mutex},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{Layer, layer::Context};

/// How long each worker took from its start to ready, as the host tells in its log.
#[derive(Clone, Default)]
pub(crate) struct Starts(Arc<Mutex<Vec<Duration>>>);

impl Starts {
    pub(crate) fn times(&self) -> Vec<Duration> {
        self.0.lock().expect("nobody panicked with it").clone()
    }
}

impl<S: Subscriber> Layer<S> for Starts {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let mut start = Start::default();
        event.record(&mut start);
        if let Start {
            is_it: true,
            took: Some(took),
        } = start
        {
            self.0.lock().expect("nobody panicked with it").push(took);
        }
    }
}

#[derive(Default)]
struct Start {
    is_it: bool,
    took: Option<Duration>,
}

impl Visit for Start {
    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == "took_us" {
            self.took = Some(Duration::from_micros(value));
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.is_it |= field.name() == "message" && format!("{value:?}") == "its worker process is ready";
    }
}

pub(crate) fn all() -> BTreeSet<i32> {
    let threads = fs::read_dir("/proc/self/task").expect("the system shows processes");
    threads
        .flatten()
        .filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok())
        .flat_map(|children| {
            children
                .split_whitespace()
                .filter_map(|id| id.parse().ok())
                .collect::<Vec<_>>()
        })
        .collect()
}

pub(crate) fn private_bytes(process: i32) -> u64 {
    let rollup = fs::read_to_string(format!("/proc/{process}/smaps_rollup")).expect("its memory can be read");
    rollup
        .lines()
        .filter(|line| line.starts_with("Private_"))
        .filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok())
        .sum::<u64>()
        * 1024
}

pub(crate) fn kill(process: i32) {
    let process = Pid::from_raw(process).expect("a process id");
    kill_process(process, Signal::KILL).expect("it can be killed");
}
