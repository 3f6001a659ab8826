//! `[log]`: what is logged, and how.

use super::reader::{Reader, text};

/// What is logged, and how.
#[derive(Clone, Debug)]
pub struct Log {
    /// A level or a filter.
    pub level: String,
    /// How lines look.
    pub format: LogFormat,
}

/// How lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines: one JSON object a line.
    Json,
}

impl Log {
    pub(super) fn read(reader: &mut Reader) -> Self {
        let mut section = reader.section("log", false);
        let level = section.get("level", |value| {
            let level = text(value)?;
            let known = tracing_subscriber::EnvFilter::try_new(&level).is_ok();
            known
                .then_some(level)
                .ok_or_else(|| "must be error, warn, info, debug, trace or a filter".to_owned())
        });
        let format = section.get("format", |value| match text(value)?.as_str() {
            "text" => Ok(LogFormat::Text),
            "json" => Ok(LogFormat::Json),
            other => Err(format!("must be text or json, not {other}")),
        });
        section.finish();
        Self { level, format }
    }
}
