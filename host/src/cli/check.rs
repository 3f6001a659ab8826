//! `phone-verify check`: whether all is well, without touching a network, and without making a database.

use clap::Args;
use serde_json::json;

use super::{Common, output::Failure, test_number_warnings};
use crate::{clock::Clock, daemon, entropy::Entropy, model::segments::Size};

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
        let drop_in = settings.server.drop_in_endpoints;
        let phone_verification = &settings.phone_verification;
        let example = phone_verification.code_format.example();
        let texts: Vec<(Option<&str>, Size)> = phone_verification
            .messages
            .all(&example)
            .into_iter()
            .map(|(language, text)| (language, Size::of(&text)))
            .collect();
        let told = settings.warnings.iter().map(ToString::to_string);
        let warnings: Vec<_> = told.chain(test_number_warnings(&settings)).collect();
        let result = json!({
            "ok": true,
            "backend": backend.name(),
            "sandbox": backend.is_sandbox(),
            "isolation": backend.isolation(),
            "listen": settings.server.listen,
            "drop_in_endpoints": drop_in.name(),
            "database": settings.store.database,
            "language": phone_verification.language,
            "texts": texts.iter().map(|(language, size)| json!({
                "language": language,
                "segments": size.segments,
                "encoding": size.encoding(),
                "characters": size.characters,
            })).collect::<Vec<_>>(),
            "http": settings.http.shown(),
            "warnings": warnings,
        });
        self.common.output().result(&result, || {
            let sandbox = if backend.is_sandbox() {
                " (a sandbox: not for production)"
            } else {
                ""
            };
            let http: String = settings
                .http
                .shown()
                .iter()
                .map(|line| format!("\n  http      {line}"))
                .collect();
            let language = &phone_verification.language;
            let texts: String = texts.iter().map(|text| shown(text, language)).collect();
            format!(
                "all is well\n  backend   {}{sandbox}\n  isolation {}\n  listen    {}\n  drop-in   /api/phone/*: {}\n  \
                 database  {}{http}{texts}",
                backend.name(),
                backend.isolation(),
                settings.server.listen,
                drop_in.description(),
                settings.store.database.display()
            )
        })?;
        Ok(())
    }
}

/// A line on what one text costs.
fn shown((language, size): &(Option<&str>, Size), language_of_message: &str) -> String {
    let name = language.unwrap_or("MESSAGE");
    let written_in = match language {
        None => format!(", in {language_of_message} by LANGUAGE"),
        Some(_) => String::new(),
    };
    let plural = if size.segments == 1 { "" } else { "s" };
    format!(
        "\n  text      {name}: {} segment{plural}, {}, {} characters{written_in}",
        size.segments,
        size.encoding(),
        size.characters
    )
}
