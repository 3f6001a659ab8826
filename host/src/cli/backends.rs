//! `phone-verify backends`: what the plugin directories hold.

use clap::Args;
use serde_json::json;

use super::{Common, output::Failure};
use crate::{
    clock::Clock,
    daemon::{self, ReceiptAddress},
    entropy::Entropy,
};

#[derive(Args)]
pub(super) struct Backends {
    #[command(flatten)]
    pub(super) common: Common,
}

impl Backends {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let settings = self.common.load()?;
        let reports = daemon::loader(&settings, &Clock::system(), &Entropy::system()).survey();
        let addresses = daemon::receipt_addresses(&settings);
        let receipts = addresses.iter().map(|address| {
            json!({ "backend": address.backend, "url": address.signed, "secret_url": address.secret })
        });
        let receipts: Vec<_> = receipts.collect();
        self.common
            .output()
            .result(&json!({ "libraries": reports, "receipts": receipts }), || {
                if reports.is_empty() {
                    let directories = settings
                        .plugins
                        .directories
                        .iter()
                        .map(|path| path.display().to_string());
                    return format!("no library in {}", directories.collect::<Vec<_>>().join(", "));
                }
                let reports = reports.iter().map(ToString::to_string);
                reports
                    .chain(addresses.iter().map(shown))
                    .collect::<Vec<_>>()
                    .join("\n\n")
            })?;
        Ok(())
    }
}

/// Where the provider of a backend reports about its messages.
fn shown(address: &ReceiptAddress) -> String {
    let secret = address
        .secret
        .as_deref()
        .unwrap_or("shown once a daemon has made its keys, to a user who can read them");
    format!(
        "delivery receipts of {}\n  if the provider signs them  {}\n  if it does not             {secret}",
        address.backend, address.signed
    )
}
