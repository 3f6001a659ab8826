//! How a command ends: a result on standard output, problems on standard error, an exit code.

use std::{
    io::{ErrorKind, Write, stderr},
    process::ExitCode,
};

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::{daemon::Problem, own_process::results, telemetry};

/// Prints results.
pub(super) struct Output {
    pub(super) json: bool,
}

impl Output {
    /// The result of a command that did its work: as JSON if asked for, else as `text` puts it. Fails if it cannot be
    /// printed, for then it is nowhere.
    pub(super) fn result(
        &self,
        value: &impl Serialize,
        text: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        self.result_of(true, value, text)
    }

    /// The same of a command that has a result also when it ends with 1, as `is_ok` then says.
    pub(super) fn result_of(
        &self,
        is_ok: bool,
        value: &impl Serialize,
        text: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        let shown = if self.json {
            let value = serde_json::to_value(value)
                .map_err(|error| Failure::failed(format!("the result cannot be written as JSON: {error}")))?;
            format!("{:#}", whole(is_ok, value))
        } else {
            text()
        };
        print(shown.trim_end())
    }
}

/// What every command prints as JSON: an object with `ok`, which is true exactly if the command ends with 0.
fn whole(is_ok: bool, value: Value) -> Value {
    let mut members = match value {
        Value::Object(members) => members,
        value => Map::from_iter([("result".to_owned(), value)]),
    };
    members.insert("ok".to_owned(), is_ok.into());
    members.into()
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
    not_checked: Vec<String>,
}

impl Failure {
    /// The operation failed: exit code 1.
    pub(super) fn failed(problem: impl Into<String>) -> Self {
        Self {
            code: 1,
            problems: vec![problem.into()],
            not_checked: Vec::new(),
        }
    }

    /// The settings or arguments are wrong: exit code 2.
    pub(super) fn wrong(problems: impl IntoIterator<Item = String>) -> Self {
        Self {
            code: 2,
            problems: problems.into_iter().collect(),
            not_checked: Vec::new(),
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
            not_checked: Vec::new(),
        }
    }

    /// The result is printed already.
    pub(super) fn told() -> Self {
        Self {
            code: 1,
            problems: Vec::new(),
            not_checked: Vec::new(),
        }
    }

    /// With what was not looked at, and why, since there may be more problems.
    pub(super) fn leaving(self, not_checked: Vec<String>) -> Self {
        Self { not_checked, ..self }
    }

    /// The problems, as they are printed.
    pub(super) fn problems(&self) -> impl Iterator<Item = &str> {
        self.problems.iter().map(String::as_str)
    }

    /// Tells of it, and how the program ends.
    pub(super) fn report(self, as_json: bool) -> ExitCode {
        let code = ExitCode::from(self.code);
        if as_json && !self.problems.is_empty() {
            let mut result = whole(false, json!({ "problems": self.problems }));
            if !self.not_checked.is_empty() {
                result["not_checked"] = json!(self.not_checked);
            }
            let told = format!("{result:#}");
            let Err(unprinted) = print(&told) else { return code };
            return unprinted.report(false);
        }
        for problem in &self.problems {
            if !telemetry::tell_problem(problem) {
                let _ = writeln!(stderr(), "error: {problem}");
            }
        }
        for left_out in &self.not_checked {
            let told = format!("not checked: {left_out}");
            if !telemetry::tell_warning(&told) {
                let _ = writeln!(stderr(), "warning: {told}");
            }
        }
        code
    }
}
