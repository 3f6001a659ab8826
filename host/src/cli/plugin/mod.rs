//! `phone-verify plugin …`: the tools of a backend's author. None of them reads the settings or the network.

mod check;
mod inspect;
mod new;

use clap::{Args, Subcommand};

use super::output::Failure;

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
}

impl Plugin {
    pub(super) fn run(&self) -> Result<(), Failure> {
        match &self.command {
            Tool::New(new) => new.run(),
            Tool::Check(check) => check.run(),
            Tool::Inspect(inspect) => inspect.run(),
        }
    }

    pub(super) fn json(&self) -> bool {
        match &self.command {
            Tool::New(new) => new.json,
            Tool::Check(check) => check.json(),
            Tool::Inspect(inspect) => inspect.json,
        }
    }
}
