//! The conformance kit behind `phone-verify plugin check`. It loads a library as the daemon does, acts as the provider
//! for its backends, and reports where a backend breaks the plugin contract.
//!
//! A run: [`run`] reads the manifest and the `tape` (the provider's answers) → each of the `checks` runs in its own
//! process (`process`) → that process loads the library on a `bench`, with a simulated `network` and a captured log →
//! the verdicts become a `score` card.
//!
//! Invariants: no code of the library runs in the process that collects the results, so a crash is one failed check; no
//! check reaches a real network; and every check is failed by at least one test library (`tests/it/authors` verifies
//! that).

mod bench;
mod checks;
mod job;
mod log;
mod network;
mod pace;
mod process;
mod provider;
mod sample;
mod score;
mod tape;
mod wire;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use phone_verify_plugin_host::{LibraryReport, files};
use serde_json::{Map, Value};

pub use self::{
    checks::about as checks,
    process::{COMMAND, DEFAULT_TIME_LIMIT, main},
    provider::{Exchange, Listening, Provider},
    score::{Checked, ScoreCard, TapeSource, Verdict},
};
use self::{
    checks::{CHECKS, LOADABLE, Scope},
    job::Job,
    process::Supervisor,
};

/// The arguments of one run of the kit.
pub struct Plan {
    /// The library's file.
    pub library: PathBuf,
    /// Options for constructing the backends. The kit makes up a value for each option it needs that is missing here.
    pub options: Map<String, Value>,
    /// The tape to use. `None`: the kit searches the library's folder and the crate that it was built in, then the
    /// library's manifest.
    pub tape: Option<PathBuf>,
    /// Check this backend only, by the name of its export. `None`: all.
    pub backend: Option<String>,
    /// Run these checks only, by their ids. Empty: all.
    pub only: Vec<String>,
    /// Time limit of one check.
    pub time_limit: Duration,
}

/// Why no check was run.
#[derive(Debug)]
pub struct NotRun {
    /// For the author: the wrong argument, or the reason why the run could not be prepared.
    pub sentence: String,
    /// Whether it may be otherwise a while later, without a change by anybody.
    pub may_pass: bool,
}

impl From<String> for NotRun {
    fn from(sentence: String) -> Self {
        let may_pass = false;
        Self { sentence, may_pass }
    }
}

/// Runs the checks and returns their results.
///
/// # Errors
/// If an argument is wrong, or the run could not be prepared. A library that fails its checks is not an error: its score
/// card says so.
pub fn run(plan: &Plan) -> Result<ScoreCard, NotRun> {
    let report = LibraryReport::of_file(&plan.library)
        .ok_or_else(|| format!("{} is not named as a library", plan.library.display()))?;
    for id in &plan.only {
        if !CHECKS.iter().any(|check| check.id == id) {
            return Err(format!("there is no check {id}").into());
        }
    }
    let backends = backends(&report, plan.backend.as_deref())?;
    if let Some(key) = unknown_option(&report, &plan.options) {
        return Err(format!(
            "the options have {key}, which no backend of {} knows; name each option at the top of the file, such as KEY = \
             \"…\"",
            report.path.display()
        )
        .into());
    }
    let carried = report.about.as_ref().and_then(|about| about.tape.as_ref());
    let (tape, tape_source) = match (tape_file(plan, &report.library), carried) {
        (Some(file), _) => (Some(tape::read(&file)?), Some(TapeSource::File(file))),
        (None, Some(text)) => {
            let what = format!("the tape that {} carries", report.path.display());
            (Some(tape::parse(text, &what)?), Some(TapeSource::Library))
        }
        (None, None) => (None, None),
    };
    let job = Job::prepare(&plan.library, plan.options.clone(), tape, plan.time_limit).map_err(|error| {
        let told = files::told(&error, "make the folder for temporary files writable");
        NotRun {
            sentence: format!("no folder for the checks can be made: {told}"),
            may_pass: files::may_pass(&error),
        }
    })?;

    let supervisor = Supervisor::new(&job, plan.time_limit);
    let loadable = supervisor.loadable();
    let is_loaded = !matches!(loadable.verdict, Verdict::Failed(_) | Verdict::Unfinished(_));
    let mut tasks = Vec::new();
    for backend in std::iter::once("").chain(backends.iter().map(String::as_str)) {
        for check in CHECKS {
            let is_wanted = plan.only.is_empty() || plan.only.iter().any(|id| id == check.id);
            if is_wanted && check.id != LOADABLE && (check.scope == Scope::Library) == backend.is_empty() {
                tasks.push((check, backend.to_owned()));
            }
        }
    }
    let is_wanted = plan.only.is_empty() || plan.only.iter().any(|id| id == LOADABLE);
    let others = if is_loaded {
        supervisor.run(tasks)
    } else {
        supervisor.run_without(tasks, &loadable)
    };
    // A library that cannot be loaded makes every other result meaningless, so the report has this one in any case.
    let first = (is_wanted || !is_loaded).then_some(loadable);
    let results = first.into_iter().chain(others).collect();
    Ok(ScoreCard::new(report, tape_source, results))
}

/// The first given key that matches no option of any backend. `None` too when the manifest cannot be read.
fn unknown_option<'a>(report: &LibraryReport, options: &'a Map<String, Value>) -> Option<&'a String> {
    let about = report.about.as_ref()?;
    let is_known = |key: &String| {
        let mut infos = about.backends.iter().flat_map(|backend| &backend.options);
        infos.any(|info| sample::names(key, info))
    };
    options.keys().find(|key| !is_known(key))
}

/// The export names of the backends to check.
fn backends(report: &LibraryReport, only: Option<&str>) -> Result<Vec<String>, String> {
    let export = |name: &str| name.rsplit('.').next().unwrap_or_default().to_owned();
    let all: Vec<String> = report
        .about
        .iter()
        .flat_map(|about| &about.backends)
        .map(|backend| export(&backend.name))
        .collect();
    match only.map(export) {
        None => Ok(all),
        Some(name) if all.contains(&name) => Ok(vec![name]),
        Some(name) => Err(format!(
            "{} has no backend {name}, only {}",
            report.path.display(),
            all.join(", ")
        )),
    }
}

/// `acme.tape.toml` next to the library or in one of the three folders above it, because cargo builds into
/// `<crate>/target/<profile>`. In each, also in `plugins/<library>`, as in this workspace.
fn tape_file(plan: &Plan, library: &str) -> Option<PathBuf> {
    if plan.tape.is_some() {
        return plan.tape.clone();
    }
    let name = format!("{library}.tape.toml");
    let absolute = plan.library.canonicalize().ok()?;
    absolute
        .ancestors()
        .skip(1)
        .take(4)
        .flat_map(|folder| {
            [
                folder.join(&name),
                folder.join("plugins").join(library).join(&name),
            ]
        })
        .find(|file: &PathBuf| Path::is_file(file))
}
