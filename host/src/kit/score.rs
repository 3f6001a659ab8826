//! The score card: what was checked, and what came of it.

use std::{fmt, path::PathBuf};

use serde::{Deserialize, Serialize};

use crate::{backends::LibraryReport, model::quantity};

/// What a check came to.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case", tag = "verdict", content = "why")]
pub enum Verdict {
    /// All is well.
    Passed,
    /// It does not apply to this backend, or cannot be told here.
    Skipped(String),
    /// This does no harm, and is hardly meant.
    Warned(String),
    /// This is wrong.
    Failed(String),
    /// The time that it was given was over before it came to anything.
    Unfinished(String),
}

impl Verdict {
    /// The same, with the reason in other words.
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

/// Where the tape came from.
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

/// One check of one backend.
#[derive(Clone, Debug, Serialize)]
pub struct Checked {
    /// `PV001`.
    pub id: &'static str,
    /// What it holds, in one sentence.
    pub title: &'static str,
    /// The export's name; empty for the library as a whole.
    pub backend: String,
    /// What it came to.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// How long its process took, in milliseconds.
    pub took_ms: u64,
}

/// All checks of one library.
#[derive(Clone, Debug, Serialize)]
pub struct ScoreCard {
    /// The library's file.
    pub library: PathBuf,
    /// Its hash, in lower-case hex.
    pub sha256: Option<String>,
    /// Its own version.
    pub version: Option<String>,
    /// The tape that was played.
    pub tape: Option<TapeSource>,
    /// How many checks passed.
    pub passed: usize,
    /// How many found something that does no harm.
    pub warned: usize,
    /// How many failed.
    pub failed: usize,
    /// How many were not over in the time that they were given.
    pub unfinished: usize,
    /// How many do not apply.
    pub skipped: usize,
    /// Each of them.
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

    /// Whether nothing failed, and all came to an end.
    pub fn is_clean(&self) -> bool {
        self.failed == 0 && self.unfinished == 0
    }
}

/// For the terminal.
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
