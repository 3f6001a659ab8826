//! `phone-verify backup` and `restore`: makes a consistent copy of the database with its keys, and puts one back.
//!
//! The work is done in `daemon::backup`; this file prints and records it. Each of the two is an entry of the audit log,
//! since a copy contains personal data, and a restore loses what happened after the backup.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::{Common, output::Failure, whoami};
use crate::{
    clock::Clock,
    daemon::{self, backup},
    entropy::Entropy,
    model::quantity,
    settings::Settings,
    store::sqlite::Contents,
};

#[derive(Args)]
pub(super) struct Backup {
    /// Where to: a file that is not there yet. The keys go beside it, to the same name with .key added
    file: PathBuf,
    #[command(flatten)]
    pub(super) common: Common,
}

#[derive(Args)]
pub(super) struct Restore {
    /// The file that phone-verify backup wrote, with its keys beside it
    file: PathBuf,
    #[command(flatten)]
    pub(super) common: Common,
}

/// How many verifications a copy has, for a person who checks that it is the right one.
fn verifications(contents: &Contents) -> String {
    quantity(contents.verifications, "verification", "verifications")
}

/// Records the command in the audit log of the present database. After a restore that is the restored one.
fn record(settings: &Settings, action: &str, subject: String, clock: &Clock) -> Result<(), String> {
    let store = daemon::administration(settings, clock, whoami()).map_err(|problem| problem.sentence)?;
    super::runtime()
        .map_err(|failure| failure.problems().collect::<Vec<_>>().join("; "))?
        .block_on(store.record(action, subject))
        .map_err(|error| error.to_string())
}

impl Backup {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let settings = self.common.load()?;
        let clock = Clock::system();
        let file = self.file.display();
        let made = backup::back_up(&settings, &self.file, &clock, &Entropy::system())
            .map_err(|problem| Failure::of([problem]))?;
        // Recorded after the copy, so that a database whose disk is full can still be backed up.
        record(&settings, "backup", format!("to {file}"), &clock).map_err(|problem| {
            Failure::failed(format!(
                "the backup {file} is whole, but could not be recorded in the audit log: {problem}"
            ))
        })?;
        let result = json!({
            "file": self.file,
            "keys": made.keys,
            "bytes": made.bytes,
            "schema": made.contents.schema,
            "verifications": made.contents.verifications,
        });
        self.common.output().result(&result, || {
            let keys = match &made.keys {
                Some(keys) => format!(
                    "its keys are in {}: whoever has both files can read what is in them",
                    keys.display()
                ),
                None => "its keys are in [store] keys of the settings, and not in it".to_owned(),
            };
            format!(
                "{file}: {}, {}, checked\n{keys}",
                quantity(made.bytes, "byte", "bytes"),
                verifications(&made.contents)
            )
        })
    }
}

impl Restore {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let settings = self.common.load()?;
        let clock = Clock::system();
        let file = self.file.display();
        let restored = backup::restore(&settings, &self.file, &clock, &Entropy::system())
            .map_err(|problem| Failure::of([problem]))?;
        record(&settings, "restore", format!("from {file}"), &clock).map_err(|problem| {
            Failure::failed(format!(
                "{file} is restored, but that could not be recorded in the audit log: {problem}"
            ))
        })?;
        let database = &settings.store.database;
        let result = json!({
            "database": database,
            "before": restored.before,
            "schema": restored.contents.schema,
            "verifications": restored.contents.verifications,
        });
        self.common.output().result(&result, || {
            let before = match &restored.before {
                Some(before) => format!("what was there is kept as {}", before.display()),
                None => "nothing was there before".to_owned(),
            };
            format!(
                "{} is restored: {}\n{before}",
                database.display(),
                verifications(&restored.contents)
            )
        })
    }
}
