//! `phone-verify plugin trust`: records that the operator trusts a library in its present version.

use clap::Args;

use super::{Common, Failure};
use crate::{clock::Clock, daemon, entropy::Entropy};

#[derive(Args)]
pub(super) struct Trust {
    /// The library's name, such as nexmo
    #[arg(value_name = "LIBRARY", value_parser = super::library_name)]
    library: String,
    /// Let it run in the daemon's process too, where isolation = "auto" decides
    #[arg(long)]
    inline: bool,
    #[command(flatten)]
    pub(super) common: Common,
}

impl Trust {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let settings = self.common.load()?;
        let loader = daemon::loader(&settings, &Clock::system(), &Entropy::system());
        let report = loader
            .trust(&self.library, self.inline)
            .map_err(|refusals| Failure::of(refusals.into_iter().map(Into::into)))?;
        self.common.output().result(&report, || {
            format!("trusted; a running daemon takes it up within a second\n{report}")
        })?;
        Ok(())
    }
}
