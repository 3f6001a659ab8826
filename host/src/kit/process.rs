//! Runs each check in its own process: this program again, with a hidden command. So a library that crashes, hangs or
//! exits costs one failed check and not the run.
//!
//! Invariants: every process ends, by itself or by its time limit; and its verdict comes through a file, because a
//! library can print whatever it likes on the standard output.

use std::{
    collections::{BTreeMap, VecDeque},
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, ExitStatus, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use phone_verify_plugin_host::own_process::image;
use serde::{Deserialize, Serialize};

use super::{
    bench::Bench,
    checks::{CHECKS, Check, LOADABLE, Runs, Scope},
    job::{Job, Order},
    pace,
    score::{Checked, Verdict},
};
use crate::clock::Clock;

/// The command that runs one check. Hidden from `--help`: only `Supervisor` runs it.
pub const COMMAND: &str = "__plugin-check";

/// Default time limit of one check. Checks of a correct library end within a few seconds, even on a slow machine.
pub const DEFAULT_TIME_LIMIT: Duration = Duration::from_secs(60);
/// How much of the library's output is searched.
const MAX_OUTPUT_BYTES: u64 = 256 * 1024;
/// The largest file that a check process may write: twice the largest library, of which the loader makes a copy.
#[cfg(unix)]
const MAX_FILE_BYTES: u64 = 128 << 20;
/// Interval for asking whether a check process has ended.
const POLL: Duration = Duration::from_millis(2);

/// The result file of a check process.
#[derive(Deserialize, Serialize)]
struct Leaving {
    verdict: Verdict,
    /// What must be equal in all runs of the check.
    evidence: String,
    /// Secret options, which must not appear in the library's output. The supervisor searches it, as only it sees all
    /// of it.
    canaries: Vec<String>,
    /// Whether the library left a call uncompleted.
    is_hanging: bool,
}

/// Runs checks in parallel, one per processor.
pub(super) struct Supervisor<'a> {
    job: &'a Job,
    time_limit: Duration,
    clock: Clock,
    /// Backends that left a call uncompleted, with the check that found it. Further checks of such a backend are
    /// skipped, since each would only wait for its time limit.
    hanging: Mutex<BTreeMap<String, &'static str>>,
}

impl<'a> Supervisor<'a> {
    pub(super) fn new(job: &'a Job, time_limit: Duration) -> Self {
        let clock = Clock::system();
        // Only the default is stretched on a slow machine. A limit that the author set is kept as it is.
        let time_limit = if time_limit == DEFAULT_TIME_LIMIT {
            time_limit.mul_f64(pace::slowness(&clock))
        } else {
            time_limit
        };
        Self {
            job,
            time_limit,
            clock,
            hanging: Mutex::default(),
        }
    }

    /// Runs the tasks and returns their results in the same order.
    pub(super) fn run(&self, tasks: Vec<(&'static Check, String)>) -> Vec<Checked> {
        let threads = thread::available_parallelism()
            .map_or(1, usize::from)
            .min(tasks.len());
        let results: Vec<Mutex<Option<Checked>>> = tasks.iter().map(|_| Mutex::default()).collect();
        let queue: Mutex<VecDeque<_>> = Mutex::new(tasks.into_iter().enumerate().collect());
        thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    loop {
                        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                        let Some((index, (check, backend))) = next else {
                            return;
                        };
                        let result = self.check(&index.to_string(), check, backend);
                        *results[index].lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
                    }
                });
            }
        });
        results
            .into_iter()
            .filter_map(|result| result.into_inner().unwrap_or_else(PoisonError::into_inner))
            .collect()
    }

    /// Runs the check whether a host can load the library, which comes before all others. Its limit is at least the
    /// default: a short `--time-limit` must not turn into "cannot be loaded".
    pub(super) fn loadable(&self) -> Checked {
        let check = CHECKS.iter().find(|check| check.id == LOADABLE);
        let check = check.expect("a test holds that the first check is this one");
        let patient = Self {
            time_limit: self.time_limit.max(DEFAULT_TIME_LIMIT),
            hanging: Mutex::default(),
            clock: self.clock.clone(),
            ..*self
        };
        patient.check("first", check, String::new())
    }

    /// The results for a library that cannot be loaded: checks that only read the file run as usual, and those of
    /// backends are skipped with the reason.
    pub(super) fn run_without(
        &self,
        tasks: Vec<(&'static Check, String)>,
        loadable: &Checked,
    ) -> Vec<Checked> {
        let (of_file, of_backends): (Vec<_>, Vec<_>) = tasks
            .into_iter()
            .partition(|(check, _)| check.scope == Scope::Library);
        let why = match &loadable.verdict {
            Verdict::Failed(why) | Verdict::Unfinished(why) => why.as_str(),
            _ => "",
        };
        let not_loaded = |(check, backend): (&'static Check, String)| Checked {
            id: check.id,
            title: check.title,
            backend,
            verdict: Verdict::Skipped(format!("not loaded: {why}")),
            took_ms: 0,
        };
        let mut results = self.run(of_file);
        results.extend(of_backends.into_iter().map(not_loaded));
        results
    }

    /// Runs one check and measures it. `place`: name of its folder, unique in this run.
    fn check(&self, place: &str, check: &'static Check, backend: String) -> Checked {
        let before = self.clock.elapsed();
        let verdict = self
            .verdict(place, check, &backend)
            .unwrap_or_else(|error| {
                let why = format!("its process cannot be run, so nothing is known of the library: {error}");
                Verdict::Unfinished(why)
            })
            .map_why(|why| self.job.in_the_authors_words(&why));
        let took = self.clock.elapsed().saturating_sub(before);
        Checked {
            id: check.id,
            title: check.title,
            backend,
            verdict,
            took_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        }
    }

    fn hanging(&self) -> MutexGuard<'_, BTreeMap<String, &'static str>> {
        self.hanging.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs the check once per environment it asks for. The first result other than "passed" is final; then all runs
    /// must leave the same evidence.
    fn verdict(&self, place: &str, check: &Check, backend: &str) -> io::Result<Verdict> {
        if let Some(id) = self.hanging().get(backend) {
            return Ok(Verdict::Skipped(format!(
                "it does not complete its calls: see {id}"
            )));
        }
        let mut evidence: Option<String> = None;
        for &environment in check.runs.environments() {
            let place = self.job.folder().join(format!("{place}-{environment}"));
            fs::create_dir(&place)?;
            let left = match self.process(&place, check, backend, environment)? {
                Ok(left) => left,
                Err(verdict) => return Ok(verdict),
            };
            if left.is_hanging {
                self.hanging().entry(backend.to_owned()).or_insert(check.id);
            }
            if left.verdict != Verdict::Passed {
                return Ok(left.verdict);
            }
            if evidence.get_or_insert_with(|| left.evidence.clone()) != &left.evidence {
                return Ok(Verdict::Failed(
                    "it does something else when the environment is another".to_owned(),
                ));
            }
        }
        Ok(Verdict::Passed)
    }

    /// Runs one check process. The inner error is the verdict on a process that ended without leaving its own, or that
    /// printed what it must not.
    fn process(
        &self,
        place: &Path,
        check: &Check,
        backend: &str,
        environment: u8,
    ) -> io::Result<Result<Leaving, Verdict>> {
        let output = [place.join("stdout"), place.join("stderr")];
        let program = image::program()?;
        let mut command = program.command();
        command
            .arg(COMMAND)
            .arg(self.job.folder())
            .arg(place)
            .args([check.id, backend])
            .stdin(Stdio::null())
            .stdout(File::create(&output[0])?)
            .stderr(File::create(&output[1])?);
        if environment > 0 {
            strange(&mut command, &self.job.order, backend);
        }
        let mut child = command.spawn()?;
        let status = self.wait(&mut child)?;
        let [stdout, stderr] = output.map(|path| read(&path));
        let Some(status) = status else {
            return Ok(Err(self.timed_out()));
        };
        let left = fs::read(leaving(place))
            .ok()
            .and_then(|bytes| serde_json::from_slice::<Leaving>(&bytes).ok());
        let Some(left) = left else {
            return Ok(Err(Verdict::Failed(broke_off(status, &stderr))));
        };
        if left
            .canaries
            .iter()
            .any(|canary| stdout.contains(canary) || stderr.contains(canary))
        {
            return Ok(Err(Verdict::Failed("a secret option was printed".to_owned())));
        }
        if check.runs == Runs::Silently && !stdout.is_empty() {
            let start: String = stdout.chars().take(60).collect();
            return Ok(Err(Verdict::Failed(format!(
                "it prints on the standard output, where results of commands are read from: {start:?}"
            ))));
        }
        Ok(Ok(left))
    }

    /// The verdict on a check that reached its limit. It blames the library only from [`DEFAULT_TIME_LIMIT`] on; below
    /// that, the check itself may have needed more.
    fn timed_out(&self) -> Verdict {
        let limit = self.time_limit.as_secs();
        if self.time_limit < DEFAULT_TIME_LIMIT {
            return Verdict::Unfinished(format!(
                "it was not over after {limit} s, which is --time-limit, so nothing is known of the library; give it more: \
                 without --time-limit it has {} s",
                DEFAULT_TIME_LIMIT.as_secs()
            ));
        }
        Verdict::Failed(format!(
            "it was not over after {limit} s: the library waits, or works, without end"
        ))
    }

    /// Waits for the process to end. `None`: it reached the time limit and was killed.
    fn wait(&self, child: &mut Child) -> io::Result<Option<ExitStatus>> {
        let deadline = self.clock.elapsed() + self.time_limit;
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(Some(status));
            }
            if self.clock.elapsed() > deadline {
                child.kill()?;
                child.wait()?;
                return Ok(None);
            }
            thread::sleep(POLL);
        }
    }
}

/// Gives the process unusual values for the variables that programs read (proxies, locale, home), and one for the name
/// of each option. A backend must take its options from the host only.
fn strange(command: &mut Command, order: &Order, backend: &str) {
    for name in [
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "http_proxy",
        "https_proxy",
    ] {
        command.env(name, "http://proxy.invalid:3128");
    }
    command.envs([
        ("TZ", "Pacific/Kiritimati"),
        ("LANG", "tr_TR.UTF-8"),
        ("LC_ALL", "tr_TR.UTF-8"),
        ("HOME", "/nonexistent"),
        ("USER", "nobody"),
        ("RUST_LOG", "trace"),
        ("DEBUG", "1"),
    ]);
    for option in Bench::options_of(order, backend) {
        command.env(option.name.to_uppercase(), "from the environment");
    }
}

fn read(path: &Path) -> String {
    let mut bytes = Vec::new();
    let _ = File::open(path).and_then(|file| file.take(MAX_OUTPUT_BYTES).read_to_end(&mut bytes));
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Why a process ended without a verdict: its signal or status, and its panic message or last line on standard error.
fn broke_off(status: ExitStatus, stderr: &str) -> String {
    let lines = || stderr.lines().filter(|line| !line.starts_with("note: "));
    let telling = lines().position(|line| line.contains("panicked at"));
    let last: Vec<&str> = match telling {
        Some(at) => lines().skip(at).take(2).collect(),
        None => lines().next_back().into_iter().collect(),
    };
    let last = match last.join(" ") {
        words if words.is_empty() => words,
        words => format!("; it last wrote: {}", words.chars().take(240).collect::<String>()),
    };
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        let name = phone_verify_plugin_host::worker::signal_name(signal).map_or_else(
            || format!("signal {signal}"),
            |(name, meaning)| format!("{name} ({meaning})"),
        );
        return format!("it ended the process by {name}{last}");
    }
    format!("it ended the process: {status}{last}")
}

/// The result file, in the folder of one check process.
fn leaving(place: &Path) -> PathBuf {
    place.join("verdict.json")
}

/// The entry point of a check process: `<program> __plugin-check <job folder> <result folder> <check id> <backend>`.
pub fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(2).collect();
    let [job, place, id, backend] = arguments.as_slice() else {
        return ExitCode::from(2);
    };
    let Some(check) = CHECKS.iter().find(|check| check.id == id) else {
        return ExitCode::from(2);
    };
    #[cfg(unix)]
    limit_files();
    let left = Order::read(Path::new(job)).and_then(|order| {
        let mut bench = Bench::new(order, backend)?;
        let verdict = bench.judge(check);
        let left = Leaving {
            verdict,
            evidence: bench.evidence(),
            canaries: bench.canaries().to_vec(),
            is_hanging: bench.is_hanging(),
        };
        fs::write(leaving(Path::new(place)), serde_json::to_vec(&left)?)
    });
    match left {
        // Exits without waiting for the library's threads or running its destructors: both may hang.
        Ok(()) => std::process::exit(0),
        Err(error) => {
            let _ = writeln!(io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

/// Limits the size of files, so that a library that prints without end cannot fill the disk before its time limit.
#[cfg(unix)]
fn limit_files() {
    use std::sync::{Arc, atomic::AtomicBool};

    use nix::sys::signal::Signal;
    use rustix::process::{Resource, Rlimit, setrlimit};

    let limit = Rlimit {
        current: Some(MAX_FILE_BYTES),
        maximum: Some(MAX_FILE_BYTES),
    };
    // Fails only where a lower limit is in force, which is as good.
    let _ = setrlimit(Resource::Fsize, limit);
    // This program survives SIGXFSZ, so that a full file is a failed write. A library that ignores failed writes would
    // go on printing, so here the signal ends the process again.
    let ends = Arc::new(AtomicBool::new(true));
    let _ = signal_hook::flag::register_conditional_default(Signal::SIGXFSZ as i32, ends);
}

impl Runs {
    /// The environments to run in: 0 is the usual one, others are set by [`strange`].
    fn environments(self) -> &'static [u8] {
        match self {
            Self::Once | Self::Silently => &[0],
            Self::InTwoEnvironments => &[0, 1],
        }
    }
}
