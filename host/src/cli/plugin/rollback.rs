//! `phone-verify plugin rollback`: returns a library to the version that was used before.

use clap::Args;

use super::{Common, Failure};
use crate::{clock::Clock, daemon, entropy::Entropy};

#[derive(Args)]
pub(super) struct Rollback {
    /// The library's name, such as nexmo
    #[arg(value_name = "LIBRARY", value_parser = super::library_name)]
    library: String,
    #[command(flatten)]
    pub(super) common: Common,
}

impl Rollback {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let settings = self.common.load()?;
        let loader = daemon::loader(&settings, &Clock::system(), &Entropy::system());
        let rolled_back = loader
            .roll_back(&self.library)
            .map_err(|refusals| Failure::of(refusals.into_iter().map(Into::into)))?;
        self.common.output().result(&rolled_back, || {
            let (library, from, to) = (&rolled_back.library, &rolled_back.from, &rolled_back.to);
            format!("{library} goes back to version {to}; a running daemon takes it up within a second\n  from version {from}")
        })?;
        Ok(())
    }
}
