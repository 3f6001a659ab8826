//! The score card: the verdict of each check on one library, for the terminal and as JSON.

use std::{fmt, path::PathBuf};

use phone_verify_plugin_host::LibraryReport;
use serde::{Deserialize, Serialize};

use crate::model::quantity;

/// The result of one check.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case", tag = "verdict", content = "why")]
pub enum Verdict {
    /// The backend keeps the promise.
    Passed,
    /// Does not apply to this backend, or cannot be decided on this system.
    Skipped(String),
    /// Harmless, but probably not intended.
    Warned(String),
    /// The backend breaks the promise.
    Failed(String),
    /// The time limit was reached, so the check has no result.
    Unfinished(String),
}

impl Verdict {
    /// The same verdict with its reason rewritten.
    pub(super) fn map_why(self, words: impl FnOnce(String) -> String) -> Self {
        match self {
            Self::Passed => Self::Passed,
            Self::Skipped(why) => Self::Skipped(words(why)),
            Self::Warned(why) => Self::Warned(words(why)),
            Self::Failed(why) => Self::Failed(words(why)),
            Self::Unfinished(why) => Self::Unfinished(words(why)),
        }
    }
}

/// Where the tape came from, for the report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TapeSource {
    /// A file.
    File(PathBuf),
    /// The library's manifest.
    Library,
}

impl fmt::Display for TapeSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(file) => write!(f, "{}", file.display()),
            Self::Library => f.write_str("carried by the library"),
        }
    }
}

impl Serialize for TapeSource {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The result of one check of one backend.
#[derive(Clone, Debug, Serialize)]
pub struct Checked {
    /// The stable id, such as `PV001`.
    pub id: &'static str,
    /// The promise that it checks, in one sentence.
    pub title: &'static str,
    /// The name of the backend's export. Empty: the check is about the library as a whole.
    pub backend: String,
    /// The result.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// Wall time of its process, in milliseconds.
    pub took_ms: u64,
}

/// The results of all checks of one library.
#[derive(Clone, Debug, Serialize)]
pub struct ScoreCard {
    /// The library's file.
    pub library: PathBuf,
    /// SHA-256 of the file, in lower-case hex.
    pub sha256: Option<String>,
    /// The library's version, from its manifest.
    pub version: Option<String>,
    /// Where the tape came from. `None`: no tape was found.
    pub tape: Option<TapeSource>,
    /// Number of passed checks.
    pub passed: usize,
    /// Number of checks with a warning.
    pub warned: usize,
    /// Number of failed checks.
    pub failed: usize,
    /// Number of checks that reached the time limit.
    pub unfinished: usize,
    /// Number of checks that do not apply.
    pub skipped: usize,
    /// The results one by one, in the order of the checks.
    pub checks: Vec<Checked>,
}

impl ScoreCard {
    pub(super) fn new(report: LibraryReport, tape: Option<TapeSource>, checks: Vec<Checked>) -> Self {
        let count = |is_it: fn(&Verdict) -> bool| checks.iter().filter(|check| is_it(&check.verdict)).count();
        Self {
            library: report.path,
            sha256: report.sha256,
            version: report.about.map(|about| about.version),
            tape,
            passed: count(|verdict| *verdict == Verdict::Passed),
            warned: count(|verdict| matches!(verdict, Verdict::Warned(_))),
            failed: count(|verdict| matches!(verdict, Verdict::Failed(_))),
            unfinished: count(|verdict| matches!(verdict, Verdict::Unfinished(_))),
            skipped: count(|verdict| matches!(verdict, Verdict::Skipped(_))),
            checks,
        }
    }

    /// Whether no check failed and each one came to an end. Warnings and skipped checks do not count.
    pub fn is_clean(&self) -> bool {
        self.failed == 0 && self.unfinished == 0
    }
}

/// The report for the terminal.
impl fmt::Display for ScoreCard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.library.display())?;
        if let Some(version) = &self.version {
            write!(f, " {version}")?;
        }
        if let Some(tape) = &self.tape {
            write!(f, "\ntape {tape}")?;
        }
        let mut backend = None;
        let mut last_why = "";
        for check in &self.checks {
            if backend != Some(&check.backend) {
                backend = Some(&check.backend);
                let heading = if check.backend.is_empty() {
                    "the library"
                } else {
                    &check.backend
                };
                write!(f, "\n\n{heading}")?;
            }
            let (mark, why) = match &check.verdict {
                Verdict::Passed => ("ok    ", None),
                Verdict::Skipped(why) => ("-     ", Some(why)),
                Verdict::Warned(why) => ("warn  ", Some(why)),
                Verdict::Failed(why) => ("FAILED", Some(why)),
                Verdict::Unfinished(why) => ("TIME  ", Some(why)),
            };
            write!(f, "\n  {mark}  {}  {}", check.id, check.title)?;
            if let Some(why) = why {
                let is_repeated = why.len() > 40 && why == last_why;
                last_why = why;
                let why = if is_repeated { "(the same)" } else { why };
                write!(
                    f,
                    "\n                 {}",
                    why.replace('\n', "\n                 ")
                )?;
            }
        }
        write!(f, "\n\n{} passed, {} failed, ", self.passed, self.failed)?;
        if self.warned > 0 {
            write!(f, "{} warn, ", self.warned)?;
        }
        if self.unfinished > 0 {
            write!(f, "{} not over in time, ", self.unfinished)?;
        }
        f.write_str(&quantity(self.skipped, "does not apply", "do not apply"))
    }
}
