//! The format of a log line, as text or as one JSON object.
//!
//! Invariants: whatever a text holds, a line stays one line. Characters that could control a terminal, or hide or
//! reorder text, are escaped, since a client can put them into a log, for example with a header. No name appears twice
//! in an object. Every value has a bound.

use std::{
    cell::Cell,
    error::Error,
    fmt::{self, Write},
    time::SystemTime,
};

use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::layer::{Context, Layer};

use super::LOG;
use crate::settings::LogFormat;
use crate::{model::is_harmful, trace::Trace};

/// The most characters of a value. A longer value is cut.
const MAX_VALUE_CHARACTERS: usize = 4096;
/// The names that every object has. A field with one of these names is renamed.
const RESERVED: [&str; 4] = ["timestamp", "level", "target", MESSAGE];
const MESSAGE: &str = "message";
/// The target of lines that the log writes about itself.
const TARGET: &str = "phone_verify::telemetry";

/// Which format lines have, and for which reader.
#[derive(Clone, Copy)]
pub(super) struct Style {
    pub(super) format: LogFormat,
    /// Whether to use colours, for a terminal.
    pub(super) colours: bool,
    /// Whether systemd's journal reads the log. It takes the level from a prefix of each line, and stores the line
    /// without it.
    pub(super) priorities: bool,
}

// One set of buffers per thread, so that a log line usually allocates nothing.
thread_local! {
    static SCRATCH: Cell<Scratch> = const { Cell::new(Scratch::new()) };
}

/// The buffers for one line, which each thread reuses.
#[derive(Default)]
struct Scratch {
    message: String,
    fields: String,
    line: String,
}

impl Scratch {
    const fn new() -> Self {
        Self {
            message: String::new(),
            fields: String::new(),
            line: String::new(),
        }
    }
}

/// Formats every event as a line and passes it to the writer.
pub(super) struct Lines(pub(super) Style);

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        // Formatting a value may log in turn, or panic. The buffers are taken out while they are in use, so that such a
        // line gets new ones.
        let mut scratch = SCRATCH.try_with(Cell::take).unwrap_or_default();
        let mut parts = Parts::new(self.0.format, &mut scratch);
        event.record(&mut parts);
        if let Some(trace) = Trace::current() {
            parts.add_missing("request_id", trace.request_id());
            parts.add_missing("trace_id", trace.trace_id());
        }
        let metadata = event.metadata();
        self.0.write(&mut scratch, *metadata.level(), metadata.target());
        LOG.push(&scratch.line);
        let _ = SCRATCH.try_with(|cell| cell.set(scratch));
    }
}

impl Style {
    /// The style of a log file, without colours and priorities.
    #[cfg(test)]
    pub(super) const fn plain(format: LogFormat) -> Self {
        Self {
            format,
            colours: false,
            priorities: false,
        }
    }

    /// The line that says how many lines were lost.
    pub(super) fn lost(self, lines: u64) -> String {
        let mut scratch = Scratch::default();
        let mut parts = Parts::new(self.format, &mut scratch);
        parts.add(MESSAGE, &"lines of the log are lost here: nothing took them");
        parts.number("lost", &lines);
        self.write(&mut scratch, Level::WARN, TARGET);
        scratch.line
    }

    /// A line that a library in this process printed. The text format shows it as it is.
    #[cfg(unix)]
    pub(super) fn printed(self, text: &str) -> String {
        self.said(Level::INFO, "phone_verify::printed", text)
    }

    /// The line that says why the program does not start, or why a command failed.
    pub(super) fn problem(self, text: &str) -> String {
        match self.format {
            LogFormat::Text => self.said(Level::ERROR, TARGET, &format!("error: {text}")),
            LogFormat::Json => self.said(Level::ERROR, TARGET, text),
        }
    }

    /// A line with a warning that belongs to such a problem.
    pub(super) fn warning(self, text: &str) -> String {
        match self.format {
            LogFormat::Text => self.said(Level::WARN, TARGET, &format!("warning: {text}")),
            LogFormat::Json => self.said(Level::WARN, TARGET, text),
        }
    }

    /// A line that is not an event. In the text format it has no timestamp and no level, since it is meant for a
    /// person.
    fn said(self, level: Level, target: &str, text: &str) -> String {
        let mut scratch = Scratch::default();
        Parts::new(self.format, &mut scratch).add(MESSAGE, &text);
        match self.format {
            LogFormat::Json => self.write(&mut scratch, level, target),
            LogFormat::Text => {
                self.put_priority(&mut scratch.line, level);
                scratch.line.push_str(&scratch.message);
                scratch.line.push('\n');
            }
        }
        scratch.line
    }

    /// Joins the parts into a line.
    fn write(self, scratch: &mut Scratch, level: Level, target: &str) {
        let Scratch {
            message,
            fields,
            line,
        } = scratch;
        line.clear();
        self.put_priority(line, level);
        let timestamp = humantime::format_rfc3339_micros(now());
        // Writing to a `String` never fails.
        let _ = match self.format {
            LogFormat::Json => writeln!(
                line,
                "{{\"timestamp\":\"{timestamp}\",\"level\":\"{level}\",\"message\":\"{message}\",\"target\":\"{target}\"{fields}}}"
            ),
            LogFormat::Text if self.colours => {
                let colour = colour(level);
                writeln!(
                    line,
                    "\u{1b}[2m{timestamp}\u{1b}[0m \u{1b}[{colour}m{level:>5}\u{1b}[0m \u{1b}[2m{target}:\u{1b}[0m {message}{fields}"
                )
            }
            LogFormat::Text => writeln!(line, "{timestamp} {level:>5} {target}: {message}{fields}"),
        };
    }

    /// Writes the prefix for the journal, if the journal reads.
    fn put_priority(self, line: &mut String, level: Level) {
        if self.priorities {
            let _ = write!(line, "<{}>", priority(level));
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "no rule depends on when a line was made, and a subscriber is handed no clock"
)]
fn now() -> SystemTime {
    SystemTime::now()
}

/// The level as `sd-daemon(3)` numbers it.
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}

/// The ANSI colour of a level.
fn colour(level: Level) -> u8 {
    match level {
        Level::ERROR => 31,
        Level::WARN => 33,
        Level::INFO => 32,
        Level::DEBUG => 34,
        Level::TRACE => 35,
    }
}

/// Collects the fields of an event, as text that is already escaped.
struct Parts<'a> {
    format: LogFormat,
    message: &'a mut String,
    fields: &'a mut String,
    /// The names used so far.
    names: Vec<&'static str>,
}

impl<'a> Parts<'a> {
    fn new(format: LogFormat, scratch: &'a mut Scratch) -> Self {
        scratch.message.clear();
        scratch.fields.clear();
        Self {
            format,
            message: &mut scratch.message,
            fields: &mut scratch.fields,
            names: Vec::new(),
        }
    }

    /// Adds a field unless the event has one of that name.
    fn add_missing(&mut self, name: &'static str, text: &str) {
        if !self.names.contains(&name) {
            self.text(name, text);
        }
    }

    /// Adds a text. The text format quotes it, since a reader could not see its end otherwise.
    fn text(&mut self, name: &'static str, text: &str) {
        match self.format {
            LogFormat::Json => self.add(name, &text),
            LogFormat::Text => self.add(name, &format_args!("{text:?}")),
        }
    }

    /// Adds a value that is shown as text; the field `message` is kept apart.
    fn add(&mut self, name: &'static str, value: &dyn fmt::Display) {
        if name == MESSAGE && !self.names.contains(&MESSAGE) {
            self.names.push(MESSAGE);
            let _ = write!(Shown::new(self.message, self.format), "{value}");
            return;
        }
        self.put_name(name);
        let quote = self.quote();
        self.fields.push_str(quote);
        let _ = write!(Shown::new(self.fields, self.format), "{value}");
        self.fields.push_str(quote);
    }

    /// Adds a value that JSON writes without quotes: a number, or true or false.
    fn number(&mut self, name: &'static str, value: &dyn fmt::Display) {
        self.put_name(name);
        let _ = write!(self.fields, "{value}");
    }

    fn quote(&self) -> &'static str {
        match self.format {
            LogFormat::Json => "\"",
            LogFormat::Text => "",
        }
    }

    /// Begins a field. A name that is taken gets a number, since a JSON object must not have a name twice.
    fn put_name(&mut self, name: &'static str) {
        let is_taken = |name| RESERVED.contains(&name) || self.names.contains(&name);
        let (before, after) = match self.format {
            LogFormat::Json => (",\"", "\":"),
            LogFormat::Text => (" ", "="),
        };
        self.fields.push_str(before);
        let _ = write!(Shown::new(self.fields, self.format), "{name}");
        if is_taken(name) {
            // Only a mistake in this program or in one of its dependencies leads here. A changed name is better than an
            // object that some parsers refuse.
            let _ = write!(self.fields, "_{}", self.names.len());
        }
        self.fields.push_str(after);
        self.names.push(name);
    }
}

impl Visit for Parts<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field.name(), &format_args!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == MESSAGE {
            self.add(MESSAGE, &value);
        } else {
            self.text(field.name(), value);
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.add(field.name(), &Causes(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.number(field.name(), &value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.number(field.name(), &value);
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        self.number(field.name(), &value);
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        self.number(field.name(), &value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.number(field.name(), &value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        if value.is_finite() {
            self.number(field.name(), &value);
        } else {
            self.add(field.name(), &value);
        }
    }
}

/// Shows an error with the chain of its causes.
struct Causes<'a>(&'a (dyn Error + 'static));

impl fmt::Display for Causes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

/// Writes a value with dangerous characters escaped, and no longer than its bound.
struct Shown<'a> {
    to: &'a mut String,
    format: LogFormat,
    /// How many more characters may be written.
    left: usize,
}

impl<'a> Shown<'a> {
    fn new(to: &'a mut String, format: LogFormat) -> Self {
        Self {
            to,
            format,
            left: MAX_VALUE_CHARACTERS,
        }
    }
}

impl Write for Shown<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            if self.left == 0 {
                break;
            }
            self.left -= 1;
            if self.left == 0 {
                self.to.push('…');
                continue;
            }
            match (character, self.format) {
                ('"' | '\\', LogFormat::Json) => {
                    self.to.push('\\');
                    self.to.push(character);
                }
                (' '..='~', _) => self.to.push(character),
                _ if !is_harmful(character) => self.to.push(character),
                (_, LogFormat::Text) => self.to.extend(character.escape_default()),
                (_, LogFormat::Json) => {
                    // JSON writes the backslash of the escape as two.
                    self.to.push('\\');
                    self.to.extend(character.escape_default());
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use proptest::prelude::*;
    use serde_json::Value;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[derive(Clone)]
    struct Kept(Style, Arc<Mutex<Vec<String>>>);

    impl<S: Subscriber> Layer<S> for Kept {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            let mut scratch = Scratch::default();
            event.record(&mut Parts::new(self.0.format, &mut scratch));
            let metadata = event.metadata();
            self.0.write(&mut scratch, *metadata.level(), metadata.target());
            self.1.lock().unwrap().push(scratch.line);
        }
    }

    fn lines(style: Style, log: impl FnOnce()) -> Vec<String> {
        let kept = Kept(style, Arc::default());
        let subscriber = tracing_subscriber::registry().with(kept.clone());
        tracing::subscriber::with_default(subscriber, log);
        let lines = kept.1.lock().unwrap();
        lines.clone()
    }

    fn json(log: impl FnOnce()) -> Value {
        let lines = lines(Style::plain(LogFormat::Json), log);
        serde_json::from_str(&lines[0]).unwrap_or_else(|error| panic!("{error} in {lines:?}"))
    }

    #[test]
    fn a_line_of_json_has_numbers_texts_and_causes() {
        let error = std::io::Error::other("inner \"quoted\" \\ text");
        let line = json(|| {
            tracing::warn!(
                status = 200_u16,
                code = "x",
                missing = None::<&str>,
                open = true,
                ratio = f64::NAN,
                error = &error as &dyn Error,
                "it {}",
                "failed"
            );
        });
        assert_eq!(line["message"], "it failed");
        assert_eq!(line["level"], "WARN");
        assert_eq!(line["status"], 200);
        assert_eq!(line["code"], "x");
        assert_eq!(line["open"], true);
        assert_eq!(line["ratio"], "NaN");
        assert_eq!(line["error"], "inner \"quoted\" \\ text");
        assert!(line.get("missing").is_none());
    }

    #[test]
    fn a_name_that_is_taken_gets_another() {
        let lines = lines(Style::plain(LogFormat::Json), || {
            tracing::info!(
                message = "first",
                level = 7,
                target = "x",
                timestamp = 1,
                "second"
            );
        });
        for name in ["message", "level", "target", "timestamp"] {
            let times = lines[0].matches(&format!("\"{name}\":")).count();
            assert_eq!(times, 1, "{lines:?}");
        }
    }

    #[test]
    fn the_journal_takes_the_level_from_the_head_of_a_line() {
        for (format, begins) in [(LogFormat::Text, '2'), (LogFormat::Json, '{')] {
            let style = Style {
                priorities: true,
                ..Style::plain(format)
            };
            let lines = lines(style, || {
                tracing::error!("one");
                tracing::warn!("two");
                tracing::info!("three");
                tracing::debug!("four");
            });
            let heads: Vec<&str> = lines.iter().map(|line| &line[..4]).collect();
            assert_eq!(heads, [3, 4, 6, 7].map(|level| format!("<{level}>{begins}")));
        }
        let style = Style {
            priorities: true,
            ..Style::plain(LogFormat::Text)
        };
        assert!(style.printed("card").starts_with("<6>card"));
        assert!(style.problem("no port").starts_with("<3>error: no port"));
    }

    #[test]
    fn text_names_what_it_shows() {
        let lines = lines(Style::plain(LogFormat::Text), || {
            tracing::info!(code = "a b", status = 7, "done");
        });
        assert!(
            lines[0].ends_with("tests: done code=\"a b\" status=7\n"),
            "{lines:?}"
        );
    }

    #[test]
    fn a_value_has_a_bound() {
        let long = "é".repeat(10_000);
        let line = json(|| tracing::info!(reason = long, "{long}"));
        for name in ["message", "reason"] {
            assert_eq!(line[name].as_str().unwrap().chars().count(), MAX_VALUE_CHARACTERS);
        }
    }

    #[test]
    fn what_hides_or_turns_text_is_shown() {
        for harmful in [
            '\u{2028}',
            '\u{2029}',
            '\u{202e}',
            '\u{2066}',
            '\u{feff}',
            '\u{1b}',
            '\u{9b}',
            '\n',
            '\r',
            '\0',
            '\u{e0041}',
        ] {
            for format in [LogFormat::Text, LogFormat::Json] {
                let text = format!("a{harmful}b");
                let lines = lines(
                    Style::plain(format),
                    || tracing::info!(reason = text, field = ?text, shown = %text, "{text}"),
                );
                assert!(!lines[0].trim_end_matches('\n').contains(harmful), "{lines:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn every_line_is_one_line_and_one_object(text in "(\\PC|\\pC){0,40}") {
            let line = json(|| tracing::info!(reason = text, debug = ?text, "{text}"));
            prop_assert!(line["message"].is_string());
            let lines = lines(Style::plain(LogFormat::Text), || tracing::info!(reason = text, "{text}"));
            prop_assert_eq!(lines[0].lines().count(), 1);
        }
    }
}
