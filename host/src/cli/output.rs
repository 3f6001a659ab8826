//! How a command ends: with a result on standard output, problems on standard error, and an exit code. Every command
//! uses these types, so that scripts can rely on one form.

use std::{
    io::{ErrorKind, Write, stderr},
    process::ExitCode,
};

use phone_verify_plugin_host::own_process::results;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::{daemon::Problem, telemetry};

/// Prints the result of a command.
pub(super) struct Output {
    pub(super) json: bool,
}

impl Output {
    /// Prints the result of a command that succeeded: as JSON if that was asked for, otherwise as `text`. Fails if it
    /// cannot be printed, since a script would otherwise take an empty output for the result.
    pub(super) fn result(
        &self,
        value: &impl Serialize,
        text: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        self.result_of(true, value, text)
    }

    /// Prints one of results that come one by one: a line of its own, as JSON if that was asked for.
    pub(super) fn line(&self, value: &Value, text: impl FnOnce() -> String) -> Result<(), Failure> {
        let shown = if self.json { value.to_string() } else { text() };
        match results::write(&format!("{shown}\n")) {
            // Whoever follows without end must end when nothing reads it.
            Err(error) => Err(Failure::failed(format!("the result cannot be printed: {error}"))),
            Ok(()) => Ok(()),
        }
    }

    /// Prints a result as [`Output::result`] does, for a command that has a result even when it fails. `is_ok`: whether
    /// it succeeded.
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

/// The JSON that every command prints: an object with `ok`, which is true exactly if the exit code is 0.
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
        // A closed pipe is no error: the reader, such as `head`, has read what it wanted.
        _ => Ok(()),
    }
}

/// Why a command failed, with its exit code.
#[derive(Debug)]
pub(super) struct Failure {
    /// The exit code.
    code: u8,
    /// One text for each problem.
    problems: Vec<String>,
    /// Checks that were left out, each with the reason.
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

    /// A failure from several problems, each of which may be temporary. Exit code 1 if all of them may pass by
    /// themselves; otherwise 2, since trying again does not help.
    pub(super) fn of(problems: impl IntoIterator<Item = Problem>) -> Self {
        let problems: Vec<_> = problems.into_iter().collect();
        let all_may_pass = problems.iter().all(|problem| problem.may_pass);
        Self {
            code: if all_may_pass { 1 } else { 2 },
            problems: problems.into_iter().map(|problem| problem.sentence).collect(),
            not_checked: Vec::new(),
        }
    }

    /// A failure whose result is printed already: exit code 1, and nothing more to print.
    pub(super) fn told() -> Self {
        Self {
            code: 1,
            problems: Vec::new(),
            not_checked: Vec::new(),
        }
    }

    /// Adds which checks were left out, and why. The user then knows that there may be more problems.
    pub(super) fn leaving(self, not_checked: Vec<String>) -> Self {
        Self { not_checked, ..self }
    }

    /// The problems, as they are printed.
    pub(super) fn problems(&self) -> impl Iterator<Item = &str> {
        self.problems.iter().map(String::as_str)
    }

    /// Prints the problems, as JSON or as lines of the log, and returns the exit code.
    pub(super) fn report(self, as_json: bool) -> ExitCode {
        let code = ExitCode::from(self.code);
        if as_json && !self.problems.is_empty() {
            let mut result = whole(false, json!({ "problems": self.problems }));
            if !self.not_checked.is_empty() {
                result["not_checked"] = json!(self.not_checked);
            }
            let told = format!("{result:#}");
            // If standard output fails, the reason goes to standard error as text.
            let Err(unprinted) = print(&told) else { return code };
            return unprinted.report(false);
        }
        for problem in &self.problems {
            // Logging may not have started, as with wrong arguments.
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
