//! Says whether there is a worker process for a library: starts it, starts it again after a crash, waits longer each
//! time, and gives a library up that does nothing but crash.
//!
//! Invariants: at most one process of a library takes calls; and a quarantine holds for these very bytes only, for a
//! supervisor belongs to the hash of a file.

use std::{
    collections::VecDeque,
    io,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;

use super::{
    bundle::Culprit,
    death::Death,
    link::Link,
    watch::{Started, start, weaker},
};
use crate::{
    clock::Clock,
    entropy::Entropy,
    own_process::image::{self, Program},
    refusal::{Refusal, code},
    stage::{self, Staged},
    worker::WorkerMetrics,
};

/// Crashes that are remembered, and how many of them are too many.
const CRASH_WINDOW: Duration = Duration::from_secs(60);
const MAX_CRASHES: usize = 5;
/// How long a library that does nothing but crash is left alone.
const QUARANTINE: Duration = Duration::from_secs(600);
/// The wait after the second crash in a row; it doubles with each further one, until there are too many.
const FIRST_WAIT: Duration = Duration::from_millis(100);

/// What a worker is started for.
pub(crate) struct Spec {
    /// Which program a worker runs; `None`: this very one.
    pub(crate) program: Option<PathBuf>,
    /// `nexmo`: how it is named when it runs.
    pub(crate) library: String,
    /// The file that the operator knows, for refusals.
    pub(crate) file: String,
    /// What its manifest says that it overrides: bits of the ABI's `overrides`.
    pub(crate) overrides: u64,
    /// The copy that is opened: a process that is started long after must find it, whoever cleans up meanwhile.
    pub(crate) staged: Staged,
    /// Whether the process enters the sandbox. One that does not is for a rehearsal of what is to run in this process.
    pub(crate) is_confined: bool,
    pub(crate) clock: Clock,
    pub(crate) entropy: Entropy,
    /// A worker without a call for so long ends, and is started again by the next one.
    pub(crate) idle_stop: Duration,
    pub(crate) metrics: Arc<WorkerMetrics>,
    /// Where its crashes are kept; `None`: nowhere.
    pub(crate) crashes: Option<PathBuf>,
    /// Whose they are then.
    pub(crate) culprit: Culprit,
}

/// Why there is no worker now.
#[derive(Clone, Debug)]
pub(super) enum NotReady {
    /// The library is not opened.
    Refused(Refusal),
    /// It ended while it was being started.
    Died(Arc<Death>),
    /// It crashed just now; after this long it is started again.
    Wait(Duration),
    /// It does nothing but crash.
    Quarantined { left: Duration, last: Arc<Death> },
}

impl Spec {
    pub(super) fn program(&self) -> io::Result<Program> {
        match &self.program {
            Some(path) => Ok(Program::from(path.clone())),
            None => image::program(),
        }
    }
}

impl NotReady {
    pub(super) fn not_started(spec: &Spec, error: &io::Error) -> Self {
        let program = spec.program.as_ref();
        let program = program.map_or_else(String::new, |path| format!("{}: ", path.display()));
        Self::Refused(Refusal::new(
            code::WORKER_NOT_STARTED,
            format!(
                "no worker process can be started for {} ({program}{error}); {}",
                spec.file,
                remedy(error),
            ),
        ))
    }

    /// For a library that is being loaded.
    fn refusal(&self, spec: &Spec) -> Refusal {
        match self {
            Self::Refused(refusal) => refusal.clone(),
            Self::Died(death) => Refusal::new(
                death.code,
                format!(
                    "{} cannot be opened: its worker process {}{}",
                    spec.file,
                    death.what,
                    if death.is_of_the_library() {
                        "; this is for the author of the library"
                    } else {
                        ""
                    }
                ),
            ),
            Self::Wait(_) | Self::Quarantined { .. } => self.told(&spec.library),
        }
    }

    /// For a call, in which nothing of the library ran, and for a backend that is constructed.
    pub(super) fn told(&self, library: &str) -> Refusal {
        match self {
            Self::Refused(refusal) => refusal.clone(),
            Self::Died(death) => {
                Refusal::new(death.code, format!("{library}'s worker process {}", death.what))
            }
            Self::Wait(wait) => Refusal::new(
                code::WORKER_DIED,
                format!(
                    "{library}'s worker process is started again in {} ms",
                    wait.as_millis()
                ),
            ),
            Self::Quarantined { left, last } => Refusal::new(
                code::QUARANTINED,
                format!(
                    "{library} is quarantined for another {} s: its worker process crashed {MAX_CRASHES} times within {} s, \
                     and last {}; a changed file is tried at once",
                    left.as_secs().max(1),
                    CRASH_WINDOW.as_secs(),
                    last.what
                ),
            ),
        }
    }
}

/// The worker processes of one library, one after the other.
pub(crate) struct Supervisor {
    spec: Arc<Spec>,
    live: ArcSwapOption<Link>,
    starting: Mutex<()>,
    /// Whether a process was started, or was to be.
    has_started: AtomicBool,
    crashes: Mutex<Crashes>,
    /// Why the last start failed, if it did.
    refused: Mutex<Option<Refusal>>,
}

#[derive(Default)]
struct Crashes {
    /// When, on the clock, and whether the library did it.
    at: VecDeque<(Duration, bool)>,
    /// No start before this.
    not_before: Duration,
    quarantine: Option<(Duration, Arc<Death>)>,
}

impl Supervisor {
    /// Nothing is started yet. The private copy was made just now, or found whole: it is opened next.
    pub(crate) fn new(spec: Spec) -> Self {
        Self {
            spec: Arc::new(spec),
            live: ArcSwapOption::empty(),
            starting: Mutex::default(),
            has_started: AtomicBool::new(false),
            crashes: Mutex::default(),
            refused: Mutex::default(),
        }
    }

    pub(super) fn is_confined(&self) -> bool {
        self.spec.is_confined
    }

    pub(super) fn library(&self) -> &str {
        &self.spec.library
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.spec.clock
    }

    /// Starts the first process, which opens the library: what it refuses is returned now.
    pub(crate) fn open(self: &Arc<Self>) -> Result<(), Refusal> {
        self.link().map(|_| ()).map_err(|why| why.refusal(&self.spec))
    }

    /// The process that takes calls; it is started if there is none. Blocks for the few milliseconds that this takes.
    pub(super) fn link(self: &Arc<Self>) -> Started {
        let _one_at_a_time = lock(&self.starting);
        if let Some(link) = self.live.load_full().filter(|link| link.is_open()) {
            return Ok(link);
        }
        self.may_start()?;
        let started = self.start();
        *lock(&self.refused) = started.as_ref().err().map(|why| why.told(self.library()));
        started
    }

    fn start(self: &Arc<Self>) -> Started {
        // The first process opens what was read and compared a moment ago.
        if self.has_started.swap(true, Ordering::Relaxed) {
            stage::restore(&self.spec.staged).map_err(NotReady::Refused)?;
        }
        let started = start(Arc::clone(&self.spec), Arc::downgrade(self)).recv();
        let link = started.unwrap_or_else(|_| {
            let error = io::Error::other("its thread ended");
            Err(NotReady::not_started(&self.spec, &error))
        })?;
        self.live.store(Some(Arc::clone(&link)));
        Ok(link)
    }

    /// Why calls fail without a word of the library, for whoever looks after it: it is quarantined, or no process of it
    /// can be started.
    pub(crate) fn trouble(&self) -> Option<String> {
        let crashes = lock(&self.crashes);
        let now = self.spec.clock.elapsed();
        match &crashes.quarantine {
            Some((until, last)) if now < *until => {
                let quarantined = NotReady::Quarantined {
                    left: until.saturating_sub(now),
                    last: Arc::clone(last),
                };
                Some(quarantined.told(self.library()).to_string())
            }
            _ => lock(&self.refused).as_ref().map(ToString::to_string),
        }
    }

    /// What its sandbox cannot keep the library from on this system, in one sentence; `None`: nothing, or no process
    /// runs.
    pub(crate) fn weakness(&self) -> Option<String> {
        let live = self.live.load_full()?;
        let lacking = live.lacking();
        (!lacking.is_empty()).then(|| weaker(lacking))
    }

    fn may_start(&self) -> Result<(), NotReady> {
        let mut crashes = lock(&self.crashes);
        let now = self.spec.clock.elapsed();
        if let Some((until, last)) = &crashes.quarantine {
            if now < *until {
                return Err(NotReady::Quarantined {
                    left: until.saturating_sub(now),
                    last: Arc::clone(last),
                });
            }
            *crashes = Crashes::default();
        }
        let wait = crashes.not_before.saturating_sub(now);
        if wait.is_zero() {
            Ok(())
        } else {
            Err(NotReady::Wait(wait))
        }
    }

    /// A process is gone; with its death if that was not in order.
    pub(super) fn ended(&self, link: &Arc<Link>, death: Option<&Arc<Death>>) {
        let live = self.live.load();
        if live.as_ref().is_some_and(|live| Arc::ptr_eq(live, link)) {
            self.live.store(None);
        }
        let Some(death) = death else {
            return;
        };
        let now = self.spec.clock.elapsed();
        let mut crashes = lock(&self.crashes);
        crashes.at.push_back((now, death.is_of_the_library()));
        while crashes.at.front().is_some_and(|(at, _)| *at + CRASH_WINDOW < now) {
            crashes.at.pop_front();
        }
        // What somebody else does to its processes is no reason to give a library up.
        if crashes
            .at
            .iter()
            .filter(|(_, is_of_the_library)| *is_of_the_library)
            .count()
            >= MAX_CRASHES
        {
            crashes.quarantine = Some((now + QUARANTINE, Arc::clone(death)));
            tracing::error!(
                library = self.spec.library,
                code = code::QUARANTINED,
                "it is quarantined for {} s: its worker process crashed {MAX_CRASHES} times within {} s",
                QUARANTINE.as_secs(),
                CRASH_WINDOW.as_secs()
            );
            return;
        }
        let [chance] = self.spec.entropy.array::<1>().unwrap_or_default();
        crashes.not_before = now + wait(crashes.at.len(), chance);
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        if let Some(link) = self.live.load_full() {
            link.retire();
        }
    }
}

const INLINE: &str = "set isolation = \"inline\" for a library that you trust";

/// What to do about a process that the system does not start.
#[cfg(not(unix))]
fn remedy(_: &io::Error) -> &'static str {
    INLINE
}

/// What to do about a process that the system does not start.
#[cfg(unix)]
fn remedy(error: &io::Error) -> &'static str {
    let is = |errno: rustix::io::Errno| error.raw_os_error() == Some(errno.raw_os_error());
    if is(rustix::io::Errno::AGAIN) {
        "allow phone-verify more processes (TasksMax=, LimitNPROC=, ulimit -u, the container's pids limit)"
    } else if is(rustix::io::Errno::MFILE) || is(rustix::io::Errno::NFILE) {
        "allow phone-verify more open files (LimitNOFILE=, ulimit -n)"
    } else if is(rustix::io::Errno::NOMEM) {
        "give phone-verify, or the machine, more memory"
    } else {
        INLINE
    }
}

/// How long to wait after so many crashes within the window: not at all after the first, then twice as long each time.
/// A quarter of it is chance, so that libraries that crashed together do not start together.
fn wait(crashes: usize, chance: u8) -> Duration {
    let Some(doublings) = crashes.checked_sub(2).and_then(|more| u32::try_from(more).ok()) else {
        return Duration::ZERO;
    };
    let longest = FIRST_WAIT.saturating_mul(2_u32.saturating_pow(doublings));
    longest.mul_f64(1.0 - f64::from(chance) / 1024.0)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_restart_is_immediate_and_each_further_one_waits_twice_as_long_less_up_to_a_quarter() {
        let range = |crashes| [wait(crashes, 255), wait(crashes, 0)].map(|wait| wait.as_millis());
        assert_eq!(range(1), [0, 0]);
        assert_eq!(range(2), [75, 100]);
        assert_eq!(range(3), [150, 200]);
        assert_eq!(range(MAX_CRASHES - 1), [300, 400]);
    }
}
