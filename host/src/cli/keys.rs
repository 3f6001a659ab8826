//! `phone-verify keys`: keys of the native API.

use clap::{Args, Subcommand};
use serde_json::json;

use super::output::{Failure, Output};
use crate::{entropy::Entropy, model::KeyDigest};

#[derive(Args)]
pub(super) struct Keys {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make a key; it is shown once, and the settings hold its digest
    New(New),
}

#[derive(Args)]
struct New {
    /// Who uses it: letters, digits, dashes and underscores
    #[arg(value_parser = name)]
    name: String,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

fn name(text: &str) -> Result<String, String> {
    let is_name = !text.is_empty()
        && text.len() <= 64
        && text
            .chars()
            .all(|character| character.is_ascii_alphanumeric() || "-_".contains(character));
    is_name
        .then(|| text.to_owned())
        .ok_or_else(|| "a name has 1 to 64 letters, digits, dashes and underscores".to_owned())
}

impl Keys {
    pub(super) fn json(&self) -> bool {
        let Command::New(new) = &self.command;
        new.json
    }

    pub(super) fn run(&self) -> Result<(), Failure> {
        let Command::New(New { name, json }) = &self.command;
        let (key, digest) =
            KeyDigest::new_key(&Entropy::system()).map_err(|error| Failure::failed(error.to_string()))?;
        let digest = digest.to_string();
        let result = json!({ "name": name, "key": key, "digest": digest });
        Output { json: *json }.result(&result, || {
            format!(
                "{key}\n\nKeep it: it is not shown again. In the settings, which a running daemon reads again on SIGHUP:\n\n\
                 [api.keys]\n{name} = \"{digest}\""
            )
        })?;
        Ok(())
    }
}
