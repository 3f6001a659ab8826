//! `[log]`: what is logged, and in which format.

use std::path::Path;

use phone_verify_plugin_host::files::{self, Subject};
use tracing_subscriber::{EnvFilter, filter::LevelFilter};

use super::reader::{Reader, text};
use crate::model::ClientAddresses;

/// The settings of logging.
#[derive(Clone, Debug)]
pub struct Log {
    /// A level such as `info`, or a filter by module such as `info,phone_verify_plugin_host=debug`.
    pub level: String,
    /// The format of log lines.
    pub format: LogFormat,
    /// Whether the access log shows client addresses in full, masked, or not at all.
    pub client_addresses: ClientAddresses,
}

/// The format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Text for people.
    Text,
    /// One JSON object per line, for programs.
    Json,
}

/// Former names of modules, and the crates that they are now: filters by a former name still work. Nothing in what is
/// left of `store` logs.
const MOVED: [(&str, &str); 3] = [
    ("phone_verify::backends", "phone_verify_plugin_host"),
    ("phone_verify::store::sqlite", "phone_verify_store_sqlite"),
    ("phone_verify::store", "phone_verify_store"),
];

/// Parses a level or a filter, also one that was written for a version before the move.
pub(crate) fn filter_of(text: &str) -> Option<EnvFilter> {
    let moved = MOVED
        .iter()
        .fold(text.to_owned(), |text, (before, now)| text.replace(before, now));
    EnvFilter::try_new(moved).ok()
}

/// Whether this text is a valid level or filter.
///
/// The filter's parser takes an unknown word as the name of a module: with `warning` in place of `warn`, only a module
/// named `warning` would be logged, so nothing at all. Such words are refused.
pub(crate) fn is_filter(text: &str) -> bool {
    let is_level = |word: &str| !word.is_empty() && word.parse::<LevelFilter>().is_ok();
    filter_of(text).is_some()
        && text
            .split(',')
            .all(|part| part.contains('=') || is_level(part.trim()))
}

impl Log {
    /// The settings for logging that a settings file is faulty. Reads the format from that file as far as possible, so
    /// that a log collector that expects JSON gets JSON.
    pub fn of_faulty_settings(path: &Path) -> Self {
        let text = files::read(path, Subject::Settings).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let table = text.parse::<toml::Table>().unwrap_or_else(|_| {
            // The file is not TOML. The fault may be in another section, so try this section alone.
            let section = text.lines().skip_while(|line| line.trim() != "[log]");
            let rest = section.skip(1).take_while(|line| !line.trim().starts_with('['));
            let log = rest.collect::<Vec<_>>().join("\n").parse::<toml::Table>();
            toml::Table::from_iter([("log".to_owned(), log.unwrap_or_default().into())])
        });
        let format = table.get("log").and_then(|log| log.get("format")?.as_str());
        Self {
            level: "info".to_owned(),
            format: match format {
                Some("json") => LogFormat::Json,
                _ => LogFormat::Text,
            },
            client_addresses: ClientAddresses::Masked,
        }
    }

    pub(super) fn read(reader: &mut Reader) -> Self {
        let mut section = reader.section("log", false);
        let level = section.get("level", |value| {
            let level = text(value)?;
            if is_filter(&level) {
                return Ok(level);
            }
            Err(format!(
                "must be error, warn, info, debug, trace or a filter such as \"info,phone_verify_plugin_host=debug\", not \
                 {level}"
            ))
        });
        let format = section.get("format", |value| match text(value)?.as_str() {
            "text" => Ok(LogFormat::Text),
            "json" => Ok(LogFormat::Json),
            other => Err(format!("must be text or json, not {other}")),
        });
        let client_addresses = section.get("client_addresses", |value| match text(value)?.as_str() {
            "masked" => Ok(ClientAddresses::Masked),
            "full" => Ok(ClientAddresses::Full),
            "none" => Ok(ClientAddresses::None),
            other => Err(format!("must be masked, full or none, not {other}")),
        });
        section.finish();
        Self {
            level,
            format,
            client_addresses,
        }
    }
}

#[cfg(test)]
mod tests {
    use tracing::Level;
    use tracing_subscriber::{layer::SubscriberExt, registry};

    use super::{
        super::tests::{REQUIRED, parse, problems},
        *,
    };

    #[test]
    fn a_filter_by_the_name_that_a_crate_had_before_as_a_module_still_holds() {
        for (filter, library, store) in [
            ("warn,phone_verify=debug", true, true),
            ("warn,phone_verify::backends=debug", true, false),
            ("warn,phone_verify::backends::worker=debug", true, false),
            ("warn,phone_verify_plugin_host=debug", true, false),
            ("warn,phone_verify::store=debug", false, true),
            ("warn,phone_verify::store::sqlite=debug", false, true),
            ("warn,phone_verify::store::sqlite::open=debug", false, true),
            ("warn,phone_verify_store_sqlite=debug", false, true),
        ] {
            tracing::subscriber::with_default(registry().with(filter_of(filter).unwrap()), || {
                let is_shown = tracing::enabled!(target: "phone_verify_plugin_host::worker", Level::DEBUG);
                assert_eq!(is_shown, library, "{filter}");
                let is_shown = tracing::enabled!(target: "phone_verify_store_sqlite::open", Level::DEBUG);
                assert_eq!(is_shown, store, "{filter}");
                assert!(!tracing::enabled!(target: "hyper", Level::DEBUG), "{filter}");
            });
        }
    }

    #[test]
    fn a_level_is_one_of_five_words_or_a_filter() {
        let with = |level: &str| format!("{REQUIRED}[log]\nlevel = \"{level}\"\n");
        for good in [
            "warn",
            "INFO",
            "off",
            "info,phone_verify_plugin_host=debug",
            "info,phone_verify::backends::worker=debug",
            "hyper=error,info",
        ] {
            assert_eq!(parse(&with(good)).unwrap().log.level, good);
        }
        for bad in [
            "",
            " ",
            "info,",
            "warning",
            "loud",
            "info,phone_verify",
            "phone_verify=loud",
        ] {
            assert_eq!(
                problems(&with(bad)),
                [format!(
                    "test.toml:12: [log] level must be error, warn, info, debug, trace or a filter such as \
                     \"info,phone_verify_plugin_host=debug\", not {bad}"
                )]
            );
        }
    }
}
