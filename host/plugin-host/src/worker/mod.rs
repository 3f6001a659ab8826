//! Process isolation: a library's backends run in a worker process, and what it does there costs the calls that it
//! was serving, never this process.
//!
//! The way of a call: `remote` implements the ABI's `BackendV1` → `exchange` waits for the answer and runs what the
//! library asks of the host meanwhile → `link` holds the `channel` to one process → `watch` is the thread that started
//! the `process`, reads from it (`reception`, `output`), and tells how it ended (`death`) → `supervisor` says whether
//! there is another. `child` is the other side. What the library asks of the host is answered where a library in this
//! process has it answered: `services`.
//!
//! Invariants: a message is sent again only when its call had asked for no HTTP request and nothing else can have
//! reached a network: never twice; and what a worker says costs this process a bounded amount of memory and time.

mod bundle;
mod channel;
mod child;
mod death;
mod exchange;
mod frame;
mod link;
mod message;
mod metrics;
mod output;
mod process;
mod reception;
mod refused;
mod remote;
mod supervisor;
mod watch;

pub(super) use self::bundle::Culprit;
pub use self::bundle::{Bundle, Numbered, kept as crashes};
pub use self::child::main;
#[cfg(unix)]
pub use self::death::signal_name;
pub use self::metrics::{WorkerCounts, WorkerMetrics};
pub(super) use self::{
    remote::create,
    supervisor::{Spec, Supervisor},
};

/// The first argument by which this program is a worker: with it, `main` has to call [`main()`] and nothing else.
/// Hidden from `--help`: only the daemon runs it. It should be looked for before the command line is parsed, so that
/// workers start fast.
pub const COMMAND: &str = "__plugin-worker";
