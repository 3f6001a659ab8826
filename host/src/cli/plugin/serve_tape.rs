//! `phone-verify plugin serve-tape`: plays a tape, the recorded answers of a provider, on this machine. An author can
//! send a first registration through the daemon to it.

use std::path::PathBuf;

use clap::Args;
use phone_verify_plugin_host::own_process::results;
use serde_json::json;

use crate::{
    cli::{
        output::{Failure, Output},
        runtime,
    },
    kit::Provider,
};

#[derive(Args)]
pub(super) struct ServeTape {
    /// The tape, NAME.tape.toml, or a library that carries one
    #[arg(value_name = "FILE")]
    tape: PathBuf,
    /// Listen on this port of the loopback interface; 0: any that is free
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Answer each SMS with the refusal of this name in the tape
    #[arg(long, value_name = "NAME")]
    refusal: Option<String>,
    /// Print where it listens as JSON
    #[arg(long)]
    pub(super) json: bool,
}

impl ServeTape {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let provider = Provider::read(&self.tape, self.refusal.as_deref())
            .map_err(|problem| Failure::wrong([problem]))?;
        let backend = provider.backend.clone();
        runtime()?.block_on(async {
            let cannot =
                |error| Failure::failed(format!("port {} cannot be listened on: {error}", self.port));
            let listening = provider.listen(self.port).await.map_err(cannot)?;
            let url = format!("http://{}", listening.address().map_err(cannot)?);
            let result = json!({ "url": url, "backend": backend });
            Output { json: self.json }.result(&result, || {
                format!(
                    "{} is played at {url}; in the settings of a daemon on this machine:\n\n  [phone_verification]\n  BACKEND = \
                     \"{backend}\"\n  [phone_verification.OPTIONS]\n  BASE_URL = \"{url}\"\n\nEach request is shown here; Ctrl-C \
                     ends it.",
                    self.tape.display()
                )
            })?;
            listening
                .serve(|exchange| {
                    // The reader of the output may have gone away; the provider goes on.
                    let _ = results::write(&format!(
                        "{} {} → {} ({})\n",
                        exchange.method, exchange.path, exchange.status, exchange.part
                    ));
                })
                .await
                .map_err(|error| Failure::failed(format!("no more requests can be taken: {error}")))
        })
    }
}
