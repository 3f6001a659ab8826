//! `phone-verify check`: whether all is well, without touching a network, and without making a database.

use clap::Args;
use serde_json::json;

use super::{Common, output::Failure};
use crate::{clock::Clock, daemon, entropy::Entropy};

#[derive(Args)]
pub(super) struct Check {
    #[command(flatten)]
    pub(super) common: Common,
}

impl Check {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let mut settings = self.common.load()?;
        // It would belong to whoever checks, who need not be the daemon's user.
        let staging = tempfile::tempdir()
            .map_err(|error| Failure::failed(format!("no temporary folder can be made: {error}")))?;
        if !settings.plugins.staging_directory.exists() {
            staging.path().clone_into(&mut settings.plugins.staging_directory);
        }
        let loader = daemon::loader(&settings, &Clock::system(), &Entropy::system()).looking();
        // Constructing a backend may use the host's services, which live in a runtime.
        let runtime = super::runtime()?;
        let _inside = runtime.enter();
        let stored = daemon::look_at_store(&settings, &Entropy::system());
        let backend = match daemon::load_backend(&settings, &loader) {
            Ok(backend) if stored.is_empty() => backend,
            backend => {
                let refusals = backend.err().unwrap_or_default();
                return Err(Failure::wrong(
                    refusals.iter().map(ToString::to_string).chain(stored),
                ));
            }
        };
        let warnings: Vec<_> = settings.warnings.iter().map(ToString::to_string).collect();
        let result = json!({
            "ok": true,
            "backend": backend.name(),
            "sandbox": backend.is_sandbox(),
            "isolation": backend.isolation(),
            "listen": settings.server.listen,
            "database": settings.store.database,
            "warnings": warnings,
        });
        self.common.output().result(&result, || {
            let sandbox = if backend.is_sandbox() {
                " (a sandbox: not for production)"
            } else {
                ""
            };
            format!(
                "all is well\n  backend   {}{sandbox}\n  isolation {}\n  listen    {}\n  database  {}",
                backend.name(),
                backend.isolation(),
                settings.server.listen,
                settings.store.database.display()
            )
        });
        Ok(())
    }
}
