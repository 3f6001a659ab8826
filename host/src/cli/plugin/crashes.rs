//! `phone-verify plugin crashes`: lists or prints the reports of crashed libraries, for the libraries' authors.
//!
//! The daemon writes a report when a worker process dies. Operators send it to the author, so the reports hold no
//! number, code, secret or text of an SMS.

use std::{fs, path::PathBuf};

use clap::Args;
use phone_verify_plugin_host::{Numbered, crashes};
use serde_json::json;

use super::{Common, Failure};

#[derive(Args)]
pub(super) struct Crashes {
    /// Print this one, whole
    #[arg(value_parser = number)]
    number: Option<u64>,
    /// Write it into this file instead, for the library's author; without a number the latest
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
    #[command(flatten)]
    pub(super) common: Common,
}

/// Parses the number of a report. A user who gives something else, such as the name of a library, is told how to list
/// them.
fn number(text: &str) -> Result<u64, String> {
    text.parse()
        .map_err(|_| "a crash has a number; list them with: phone-verify plugin crashes".to_owned())
}

impl Crashes {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let settings = self.common.load()?;
        let folder = &settings.plugins.crash_directory;
        let kept = crashes(folder)
            .map_err(|error| Failure::failed(format!("{} cannot be read: {error}", folder.display())))?;
        if self.number.is_none() && self.write.is_none() {
            return self
                .common
                .output()
                .result(&json!({ "crashes": kept }), || list(&kept));
        }
        // `crashes` returns the latest report first.
        let one = match self.number {
            Some(number) => kept.iter().find(|bundle| bundle.number == number),
            None => kept.first(),
        };
        let Some(one) = one else {
            let numbers: Vec<String> = kept.iter().map(|bundle| bundle.number.to_string()).collect();
            let known = if numbers.is_empty() {
                "none is kept".to_owned()
            } else {
                format!("there are {}", numbers.join(", "))
            };
            return Err(Failure::wrong([format!("no such crash is kept; {known}")]));
        };
        let Some(file) = &self.write else {
            return self.common.output().result(one, || shown(one));
        };
        fs::write(file, shown(one) + "\n")
            .map_err(|error| Failure::failed(format!("{} cannot be written: {error}", file.display())))?;
        self.common.output().result(one, || {
            format!(
                "crash {} of {} is written to {}; look at it before you send it",
                one.number,
                one.bundle.library.name,
                file.display()
            )
        })
    }
}

/// A report as JSON, the form in which authors get it.
fn shown(one: &Numbered) -> String {
    serde_json::to_string_pretty(one).unwrap_or_default()
}

/// One line per report.
fn list(kept: &[Numbered]) -> String {
    if kept.is_empty() {
        return "no crash of a library is kept".to_owned();
    }
    let lines = kept.iter().map(|Numbered { number, bundle }| {
        format!(
            "{number}  {}  {} {}  {} {}",
            bundle.at, bundle.library.name, bundle.library.version, bundle.code, bundle.what
        )
    });
    lines.collect::<Vec<_>>().join("\n")
}
