//! `phone-verify settings`: prints the documented defaults, or the settings in effect.

use clap::Args;
use serde_json::json;

use super::{Common, output::Failure};
use crate::settings::DEFAULTS;

#[derive(Args)]
pub(super) struct Show {
    #[command(flatten)]
    pub(super) common: Common,
    /// Print every setting with its default and what it means
    #[arg(long, conflicts_with = "print")]
    defaults: bool,
    /// Print the settings in effect, secrets masked (the default)
    #[arg(long)]
    print: bool,
}

impl Show {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let text = if self.defaults {
            DEFAULTS.to_owned()
        } else {
            self.common.load()?.effective
        };
        let value: toml::Table = text
            .parse()
            .map_err(|error| Failure::failed(format!("the settings cannot be shown: {error}")))?;
        self.common.output().result(&json!(value), || text)?;
        Ok(())
    }
}
