//! How a command ends: a result on standard output, problems on standard error, an exit code.

use std::{
    io::{ErrorKind, Write, stderr},
    process::ExitCode,
};

use serde::Serialize;
use serde_json::json;

use crate::{daemon::Problem, own_process::results, telemetry};

/// Prints results.
pub(super) struct Output {
    pub(super) json: bool,
}

impl Output {
    /// The result: as JSON if asked for, else as `text` puts it. Fails if it cannot be printed, for then it is nowhere.
    pub(super) fn result(
        &self,
        value: &impl Serialize,
        text: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        let shown = if self.json {
            serde_json::to_string_pretty(value).unwrap_or_else(|error| format!("{{\"error\": \"{error}\"}}"))
        } else {
            text()
        };
        print(shown.trim_end())
    }
}

fn print(text: &str) -> Result<(), Failure> {
    match results::write(&format!("{text}\n")) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::failed(format!("the result cannot be printed: {error}")))
        }
        // A reader that has gone away has seen enough.
        _ => Ok(()),
    }
}

/// Why a command did not do its work.
#[derive(Debug)]
pub(super) struct Failure {
    code: u8,
    problems: Vec<String>,
}

impl Failure {
    /// The operation failed: exit code 1.
    pub(super) fn failed(problem: impl Into<String>) -> Self {
        Self {
            code: 1,
            problems: vec![problem.into()],
        }
    }

    /// The settings or arguments are wrong: exit code 2.
    pub(super) fn wrong(problems: impl IntoIterator<Item = String>) -> Self {
        Self {
            code: 2,
            problems: problems.into_iter().collect(),
        }
    }

    /// Each problem with whether it may pass by itself: exit code 1 if all of them may, else 2, for then trying again is of
    /// no use.
    pub(super) fn of(problems: impl IntoIterator<Item = Problem>) -> Self {
        let problems: Vec<_> = problems.into_iter().collect();
        let all_may_pass = problems.iter().all(|problem| problem.may_pass);
        Self {
            code: if all_may_pass { 1 } else { 2 },
            problems: problems.into_iter().map(|problem| problem.sentence).collect(),
        }
    }

    /// The result was told already.
    pub(super) fn told() -> Self {
        Self {
            code: 1,
            problems: Vec::new(),
        }
    }

    /// What is told.
    pub(super) fn problems(&self) -> impl Iterator<Item = &str> {
        self.problems.iter().map(String::as_str)
    }

    /// Tells of it, and how the program ends.
    pub(super) fn report(self, as_json: bool) -> ExitCode {
        let code = ExitCode::from(self.code);
        if as_json && !self.problems.is_empty() {
            let told = format!("{:#}", json!({ "ok": false, "problems": self.problems }));
            let Err(unprinted) = print(&told) else { return code };
            return unprinted.report(false);
        }
        for problem in &self.problems {
            if !telemetry::tell_problem(problem) {
                let _ = writeln!(stderr(), "error: {problem}");
            }
        }
        code
    }
}
