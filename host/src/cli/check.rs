//! `phone-verify check`: whether a start would succeed, tried without touching a network, and without making anything that
//! stays.

use clap::Args;
use serde_json::json;

use super::{Common, output::Failure, test_number_warnings};
use crate::{
    clock::Clock,
    daemon::{self, Problem, rehearsal},
    entropy::Entropy,
    model::segments::Size,
};

#[derive(Args)]
pub(super) struct Check {
    #[command(flatten)]
    pub(super) common: Common,
}

impl Check {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let mut settings = self.common.load()?;
        let entropy = Entropy::system();
        let (staging, _trial) = rehearsal::staging(&settings);
        settings.plugins.staging_directory = staging;
        let loader = daemon::loader(&settings, &Clock::system(), &entropy).looking();
        // Constructing a backend may use the host's services, which live in a runtime.
        let runtime = super::runtime()?;
        let _inside = runtime.enter();
        let mut problems = Vec::new();
        let backend = daemon::load_backend(&settings, &loader).map_err(|mut refusals| {
            if let Some(refusal) = refusals.last_mut()
                && let Some(before) = daemon::version_before(&settings, &loader)
            {
                refusal.sentence += &format!(
                    "; until then a start goes on with version {} with the sha256 {}, which served before",
                    before.library_version(),
                    before.library_sha256()
                );
            }
            problems.extend(refusals.into_iter().map(Problem::from));
        });
        let drop_in = settings.server.drop_in_endpoints;
        problems.extend(rehearsal::store(&settings, &entropy));
        let (is_running, unbound) = runtime.block_on(rehearsal::listen(
            &settings.server.listen,
            &settings.store.database,
        ));
        problems.extend(unbound);
        let backend = match backend {
            Ok(backend) if problems.is_empty() => backend,
            _ => return Err(Failure::of(problems)),
        };
        let hidden = daemon::hidden_libraries(&settings, &loader);
        let phone_verification = &settings.phone_verification;
        let example = phone_verification.code_format.example();
        let texts: Vec<(Option<&str>, Size)> = phone_verification
            .messages
            .all(&example)
            .into_iter()
            .map(|(language, text)| (language, Size::of(&text)))
            .collect();
        let listen: Vec<String> = settings.server.listen.iter().map(ToString::to_string).collect();
        let told = settings.warnings.iter().map(ToString::to_string);
        let warnings: Vec<_> = told
            .chain(test_number_warnings(&settings))
            .chain(hidden)
            .chain(backend.weakness())
            .collect();
        let result = json!({
            "ok": true,
            "backend": backend.name(),
            "sandbox": backend.is_sandbox(),
            "isolation": backend.isolation(),
            "listen": listen,
            "drop_in_endpoints": drop_in.name(),
            "running": is_running,
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
            let running = if is_running {
                " (a daemon on this database listens there: it can be reloaded, and a start must wait for its end)"
            } else {
                ""
            };
            format!(
                "all is well\n  backend   {}{sandbox}\n  isolation {}\n  listen    {}{running}\n  drop-in   /api/phone/*: {}\n  \
                 database  {}{http}{texts}",
                backend.name(),
                backend.isolation(),
                listen.join(", "),
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
