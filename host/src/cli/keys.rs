//! `phone-verify keys`: creates keys for the API.

use clap::{Args, Subcommand};
use serde_json::json;

use super::output::{Failure, Output};
use crate::{
    entropy::Entropy,
    model::{ApiKey, KeyDigest, Scope},
};

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
    /// What it may do: verify, read, messages, metrics or admin; may be given several times. Without it the key may do
    /// everything
    #[arg(long = "scope", value_name = "SCOPE", value_parser = scope)]
    scopes: Vec<Scope>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

fn name(text: &str) -> Result<String, String> {
    ApiKey::is_name(text)
        .then(|| text.to_owned())
        .ok_or_else(|| "a name has 1 to 64 letters, digits, dashes and underscores".to_owned())
}

fn scope(text: &str) -> Result<Scope, String> {
    Scope::parse(text).ok_or_else(|| format!("the scopes are {}", Scope::names()))
}

impl New {
    /// The value for the settings file. A digest alone stands for every scope.
    fn value(&self, digest: &str) -> String {
        if self.scopes.is_empty() {
            return format!("\"{digest}\"");
        }
        let scopes: Vec<String> = self.scope_names().map(|name| format!("\"{name}\"")).collect();
        format!("{{ digest = \"{digest}\", scopes = [{}] }}", scopes.join(", "))
    }

    /// The scopes of the key, each once, even if one was given twice.
    fn scope_names(&self) -> impl Iterator<Item = &'static str> {
        let given = |scope: &Scope| self.scopes.is_empty() || self.scopes.contains(scope);
        Scope::ALL.into_iter().filter(given).map(Scope::as_str)
    }
}

impl Keys {
    pub(super) fn json(&self) -> bool {
        let Command::New(new) = &self.command;
        new.json
    }

    pub(super) fn run(&self) -> Result<(), Failure> {
        let Command::New(new) = &self.command;
        let (key, digest) =
            KeyDigest::new_key(&Entropy::system()).map_err(|error| Failure::failed(error.to_string()))?;
        let (name, digest) = (&new.name, digest.to_string());
        let scopes: Vec<&str> = new.scope_names().collect();
        let result = json!({ "name": name, "key": key, "digest": digest, "scopes": scopes });
        Output { json: new.json }.result(&result, || {
            let value = new.value(&digest);
            format!(
                "{key}\n\nKeep it: it is not shown again. In the settings, which a running daemon reads again on SIGHUP:\n\n\
                 [api.keys]\n{name} = {value}"
            )
        })?;
        Ok(())
    }
}
