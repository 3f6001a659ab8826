//! `phone-verify plugin …`: the tools of a backend's author, which read neither the settings nor the network; and the say
//! of an operator over the libraries in use.

mod check;
mod inspect;
mod new;
mod rollback;
mod trust;

use std::{ffi::OsStr, path::Path};

use clap::{Args, Subcommand};

use super::{Common, output::Failure};
use crate::backends::FileNaming;

#[derive(Args)]
pub(super) struct Plugin {
    #[command(subcommand)]
    command: Tool,
}

#[derive(Subcommand)]
enum Tool {
    /// Write a crate for a backend of your own, which builds, tests itself and passes the checks
    New(new::New),
    /// Run the conformance checks on a built library, offline, and print a score card
    Check(check::Check),
    /// Print what a library says about itself, and its options, without running its code
    Inspect(inspect::Inspect),
    /// Trust a library as it lies in the plugin directory now; a running daemon takes it up
    Trust(trust::Trust),
    /// Go back to the version of a library that was used before; a running daemon takes it up
    Rollback(rollback::Rollback),
}

/// The name of a library, where somebody may well name its file, as for the tools of an author.
fn library_name(text: &str) -> Result<String, String> {
    if text.contains(['/', '\\', '.']) {
        let path = Path::new(text);
        let of_file = |name: &OsStr| FileNaming::HERE.library_of(name.to_str()?);
        let stem = || {
            path.file_stem()
                .and_then(OsStr::to_str)
                .unwrap_or(text)
                .to_owned()
        };
        return Err(format!(
            "this is a file; name the library as settings do, without folder and ending: {}",
            path.file_name().and_then(of_file).unwrap_or_else(stem)
        ));
    }
    Ok(text.to_owned())
}

impl Plugin {
    pub(super) fn run(&self) -> Result<(), Failure> {
        match &self.command {
            Tool::New(new) => new.run(),
            Tool::Check(check) => check.run(),
            Tool::Inspect(inspect) => inspect.run(),
            Tool::Trust(trust) => trust.run(),
            Tool::Rollback(rollback) => rollback.run(),
        }
    }

    pub(super) fn json(&self) -> bool {
        match &self.command {
            Tool::New(new) => new.json,
            Tool::Check(check) => check.json(),
            Tool::Inspect(inspect) => inspect.json,
            Tool::Trust(trust) => trust.common.json,
            Tool::Rollback(rollback) => rollback.common.json,
        }
    }
}
