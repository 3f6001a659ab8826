//! `phone-verify plugin check`: runs the conformance checks on a library and prints their score card.

use std::{path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};
use phone_verify_plugin_host::files::{self, Subject};
use serde_json::{Map, Value};

use super::inspect;
use crate::{
    cli::output::{Failure, Output},
    daemon::Problem,
    kit::{self, Plan},
};

#[derive(Args)]
pub(super) struct Check {
    /// The library's file
    #[arg(value_name = "FILE")]
    library: PathBuf,
    /// A TOML file with options for the backends; what it leaves out is made up
    #[arg(long, value_name = "FILE")]
    options: Option<PathBuf>,
    /// What the provider answers; else NAME.tape.toml beside the library or in its crate
    #[arg(long, value_name = "FILE")]
    tape: Option<PathBuf>,
    /// Check this backend only
    #[arg(long, value_name = "NAME")]
    backend: Option<String>,
    /// Run these checks only, by their ids
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    only: Vec<String>,
    /// How long one check may take, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = kit::DEFAULT_TIME_LIMIT.as_secs(), value_parser = clap::value_parser!(u64).range(1..=3600))]
    time_limit: u64,
    /// How the score card is printed
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// The same as --format json
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
}

impl Check {
    pub(super) fn json(&self) -> bool {
        self.json || self.format == Format::Json
    }

    pub(super) fn run(&self) -> Result<(), Failure> {
        inspect::report(&self.library)?;
        let plan = Plan {
            library: self.library.clone(),
            options: self.options()?,
            tape: self.tape.clone(),
            backend: self.backend.clone(),
            only: self.only.clone(),
            time_limit: Duration::from_secs(self.time_limit),
        };
        let card = kit::run(&plan).map_err(|not_run| {
            Failure::of([Problem {
                sentence: not_run.sentence,
                may_pass: not_run.may_pass,
            }])
        })?;
        Output { json: self.json() }.result_of(card.is_clean(), &card, || card.to_string())?;
        if card.is_clean() {
            Ok(())
        } else {
            Err(Failure::told())
        }
    }

    /// Reads the options that the author gave: a table as in `[phone_verification.OPTIONS]`.
    fn options(&self) -> Result<Map<String, Value>, Failure> {
        let Some(file) = &self.options else {
            return Ok(Map::new());
        };
        let problem = |why: String| Failure::wrong([format!("{} cannot be read: {why}", file.display())]);
        let text = files::read_text(file, Subject::Options).map_err(|fault| problem(fault.to_string()))?;
        toml::from_str(&text).map_err(|error| problem(error.to_string()))
    }
}
