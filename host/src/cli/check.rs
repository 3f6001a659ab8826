//! `phone-verify check`: whether a start would succeed, tried without touching a network, and without making anything
//! that stays.
//!
//! Invariant: every stage is judged, or is said not to be, with the settings that keep it from being judged.

mod fleet;

use clap::Args;
use serde_json::json;

use super::{Common, output::Failure, test_number_warnings};
use crate::{
    clock::Clock,
    daemon::{
        self, Problem,
        rehearsal::{self, Listening},
    },
    entropy::Entropy,
    model::{Listen, quantity, segments::Size},
    settings::{Doubts, Draft, Server, Settings, WHOLE_SECTION},
};

/// Settings by section and key.
type Needed = [(&'static str, &'static str)];

/// What the library, the backend in it, the database and the listeners depend on.
const LIBRARY: &Needed = &[
    ("phone_verification", "BACKEND"),
    ("backends", WHOLE_SECTION),
    ("plugins", WHOLE_SECTION),
    ("store", "url"),
];
const BACKEND: &Needed = &[("phone_verification", "OPTIONS"), ("http", WHOLE_SECTION)];
const DATABASE: &Needed = &[("store", "url"), ("store", "keys"), ("store", "key_file")];
const LISTENERS: &Needed = &[("server", "listen"), ("server", "unix_socket_mode")];
/// All of them, for a file that cannot be read at all.
const STAGES: [&str; 3] = [THE_BACKEND, THE_DATABASE, THE_LISTENERS];
const THE_BACKEND: &str = "the backend";
const THE_DATABASE: &str = "the database and its keys";
const THE_LISTENERS: &str = "the addresses to listen on";

#[derive(Args)]
pub(super) struct Check {
    #[command(flatten)]
    pub(super) common: Common,
}

impl Check {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let Draft {
            mut settings,
            problems: wrong,
            doubts,
        } = self.common.draft_as_daemon().map_err(|failure| {
            let unread = STAGES.map(|stage| format!("{stage}, since the settings cannot be read"));
            failure.leaving(unread.into())
        })?;
        let mut stages = Stages::new(doubts);
        // Else all that is tried next would fail by it, each with another sentence.
        if let Some(shortage) = daemon::shortage_of_descriptors(settings.server.listen.len()) {
            let problems = wrong.into_iter().map(Problem::from).chain([shortage]);
            let untried = STAGES.map(|stage| format!("{stage}, since too few files can be opened"));
            return Err(Failure::of(problems).leaving(untried.into()));
        }
        let entropy = Entropy::system();
        daemon::without_lock_file_in_a_missing_folder(&mut settings);
        let (staging, _trial) = rehearsal::staging(&settings);
        settings.plugins.staging_directory = staging;
        let loader = daemon::loader(&settings, &Clock::system(), &entropy).looking();
        // Constructing a backend may use the host's services, which live in a runtime.
        let runtime = super::runtime()?;
        let _inside = runtime.enter();
        let mut problems: Vec<Problem> = wrong.into_iter().map(Problem::from).collect();
        let (fleet, mut of_fleet) = fleet::Checked::of(&settings, &loader, &mut stages);
        problems.append(&mut of_fleet);
        let drop_in = settings.server.drop_in_endpoints;
        if stages.can(THE_DATABASE, DATABASE) {
            problems.extend(rehearsal::store(&settings, &entropy));
        }
        let mut running = None;
        if stages.can(THE_LISTENERS, LISTENERS) {
            let (server, store) = (&settings.server, &settings.store);
            let mut listening = runtime.block_on(rehearsal::listen(&server.listen, &store.database));
            problems.append(&mut listening.problems);
            running = Some(listening).filter(|listening| !listening.daemon.is_empty());
        }
        let first = match fleet.first() {
            Some(first) if problems.is_empty() => first,
            _ => return Err(Failure::of(problems).leaving(stages.left_out)),
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
        let listen = texts_of(&settings.server.listen);
        let told = settings.warnings.iter().map(ToString::to_string);
        let warnings: Vec<_> = told
            .chain(test_number_warnings(&settings))
            .chain(hidden)
            .chain(fleet.warnings())
            .chain(tried_as_root(&settings))
            .collect();
        let result = json!({
            "backend": &*first.backend,
            "sandbox": first.is_sandbox,
            "isolation": first.isolation,
            "backends": fleet.as_json(),
            "routes": settings.routes.iter().map(|route| &route.send).collect::<Vec<_>>(),
            "listen": listen,
            "drop_in_endpoints": drop_in.name(),
            "running": running.is_some(),
            "running_at": texts_of(running.as_ref().map_or(&[], |running| running.daemon.as_slice())),
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
            let http: String = settings
                .http
                .shown()
                .iter()
                .map(|line| format!("\n  http      {line}"))
                .collect();
            let language = &phone_verification.language;
            let texts: String = texts.iter().map(|text| shown(text, language)).collect();
            let running = running.map_or_else(String::new, |running| where_it_runs(&running, &settings.server));
            format!(
                "all is well{}\n  listen    {}{running}\n  drop-in   /api/phone/*: {}\n  database  {}{http}{texts}",
                fleet.shown(&settings),
                listen.join(", "),
                drop_in.description(),
                settings.store.database.display()
            )
        })?;
        Ok(())
    }
}

/// What root cannot find out about a daemon of another user, whom nothing here names.
#[cfg(unix)]
fn tried_as_root(settings: &Settings) -> Option<String> {
    let warning = format!(
        "this was tried as root, to whom the folder {} belongs, and root can read and write all files; where the daemon runs \
         as another user, give that folder to this user (chown), and run check again",
        phone_verify_plugin_host::files::folder_of(&settings.store.database).display()
    );
    rustix::process::geteuid().is_root().then(|| {
        tracing::warn!("{warning}");
        warning
    })
}

#[cfg(not(unix))]
fn tried_as_root(_settings: &Settings) -> Option<String> {
    None
}

/// Which stages of a start can be judged.
struct Stages {
    doubts: Doubts,
    /// Those that cannot, with why.
    left_out: Vec<String>,
}

impl Stages {
    fn new(doubts: Doubts) -> Self {
        Self {
            doubts,
            left_out: Vec::new(),
        }
    }

    /// Whether this one can; if not, that is noted.
    fn can(&mut self, stage: &str, needed: &Needed) -> bool {
        let doubtful = self.doubts.among(needed);
        if !doubtful.is_empty() {
            let why = doubtful.join(", ");
            self.left_out.push(format!("{stage}, since it depends on {why}"));
        }
        doubtful.is_empty()
    }
}

fn texts_of(places: &[Listen]) -> Vec<String> {
    places.iter().map(ToString::to_string).collect()
}

/// Where a daemon listens, to follow the places that the settings name.
fn where_it_runs(running: &Listening, server: &Server) -> String {
    if running.is_at(&server.listen) {
        return " (a daemon on this database listens there: it can be reloaded, and a start must wait for its end)".to_owned();
    }
    format!(
        "\n  running   a daemon on this database listens at {}: it can be reloaded, but where it listens changes only with a \
         restart, and a start must wait for its end",
        texts_of(&running.daemon).join(", ")
    )
}

/// A line on what one text costs.
fn shown((language, size): &(Option<&str>, Size), language_of_message: &str) -> String {
    let name = language.unwrap_or("MESSAGE");
    let written_in = match language {
        None => format!(", in {language_of_message} by LANGUAGE"),
        Some(_) => String::new(),
    };
    format!(
        "\n  text      {name}: {}, {}, {}{written_in}",
        quantity(size.segments, "segment", "segments"),
        size.encoding(),
        quantity(size.characters, "character", "characters")
    )
}
