//! The conformance kit: `phone-verify plugin check`. It loads a library as the daemon does, plays a provider to its
//! backends, and says where they break what a backend promises.
//!
//! The way of a run: `run` reads the manifest and the `tape` → each of `checks` runs in a process of its own
//! (`process`) → in there, a `bench` loads the library, with the `network` played and the log kept → the verdicts
//! make a `score` card.
//!
//! Invariants: nothing of the library runs in the process that keeps the score; no check reaches a network; and for each
//! check there is a library that fails it (`tests/it/authors` holds that).

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
use crate::{backends::LibraryReport, files};

/// What to check.
pub struct Plan {
    /// The library's file.
    pub library: PathBuf,
    /// Options to construct its backends with; what is left out is made up.
    pub options: Map<String, Value>,
    /// The tape; else it is looked for beside the library and in the crate that it was built in, and then in its manifest.
    pub tape: Option<PathBuf>,
    /// Only this backend, by its export's name.
    pub backend: Option<String>,
    /// Only these checks, by their ids; empty: all.
    pub only: Vec<String>,
    /// How long one check may take.
    pub time_limit: Duration,
}

/// Runs the checks. The error says which argument is wrong.
pub fn run(plan: &Plan) -> Result<ScoreCard, String> {
    let report = LibraryReport::of_file(&plan.library)
        .ok_or_else(|| format!("{} is not named as a library", plan.library.display()))?;
    for id in &plan.only {
        if !CHECKS.iter().any(|check| check.id == id) {
            return Err(format!("there is no check {id}"));
        }
    }
    let backends = backends(&report, plan.backend.as_deref())?;
    if let Some(key) = unknown_option(&report, &plan.options) {
        return Err(format!(
            "the options have {key}, which no backend of {} knows; name each option at the top of the file, such as KEY = \
             \"…\"",
            report.path.display()
        ));
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
        format!("no folder for the checks can be made: {told}")
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
    // Without it nothing is known of the library, whatever was asked for.
    let first = (is_wanted || !is_loaded).then_some(loadable);
    let results = first.into_iter().chain(others).collect();
    Ok(ScoreCard::new(report, tape_source, results))
}

/// A key that names no option, where the library could be read.
fn unknown_option<'a>(report: &LibraryReport, options: &'a Map<String, Value>) -> Option<&'a String> {
    let about = report.about.as_ref()?;
    let is_known = |key: &String| {
        let mut infos = about.backends.iter().flat_map(|backend| &backend.options);
        infos.any(|info| sample::names(key, info))
    };
    options.keys().find(|key| !is_known(key))
}

/// The backends to check, by the names of their exports.
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

/// `acme.tape.toml` beside the library, or in a folder above it: cargo builds into `<crate>/target/<profile>`.
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
