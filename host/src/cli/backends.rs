//! `phone-verify backends`: what the plugin directories hold.

use clap::Args;
use serde_json::json;

use super::{Common, output::Failure};
use crate::{clock::Clock, daemon, entropy::Entropy};

#[derive(Args)]
pub(super) struct Backends {
    #[command(flatten)]
    pub(super) common: Common,
}

impl Backends {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let settings = self.common.load()?;
        let reports = daemon::loader(&settings, &Clock::system(), &Entropy::system()).survey();
        self.common
            .output()
            .result(&json!({ "libraries": reports }), || {
                if reports.is_empty() {
                    let directories = settings
                        .plugins
                        .directories
                        .iter()
                        .map(|path| path.display().to_string());
                    return format!("no library in {}", directories.collect::<Vec<_>>().join(", "));
                }
                reports
                    .iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>()
                    .join("\n\n")
            })?;
        Ok(())
    }
}
