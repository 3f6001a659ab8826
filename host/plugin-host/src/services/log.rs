//! A library's log lines, in the host's log.
//!
//! Invariant: a line holds no secret, no code and no full phone number, is one line of bounded length, and a flood of
//! them is cut off. Where it is unknown which code a line could hold, because it was written outside of a call or while
//! a code is made, every word that may be one is masked.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use phone_verify_plugin_abi::{
    abi_stable::std_types::{RString, Tuple2},
    level,
};

use super::call::ActiveCall;
use crate::{
    clock::Clock,
    scrub::{Scrubber, mask_any_code},
};

const MAX_LINE_CHARACTERS: usize = 2000;
const MAX_FIELDS: usize = 16;
const MAX_FIELD_CHARACTERS: usize = 256;
/// More than this is a loop gone wild.
const MAX_LINES_PER_SECOND: u64 = 200;

/// Whose lines they are.
pub(crate) enum Source {
    /// Of one backend: `nexmo.NexmoBackend`.
    Backend(String),
    /// Of a process in which there may be several: `nexmo`.
    Library(String),
}

/// Writes the lines of one source.
pub(crate) struct Log {
    source: Source,
    scrubber: Arc<Scrubber>,
    clock: Clock,
    /// The second that is counted, and the lines in it.
    second: AtomicU64,
    lines: AtomicU64,
}

impl Log {
    pub(crate) fn new(source: Source, scrubber: Arc<Scrubber>, clock: Clock) -> Self {
        Self {
            source,
            scrubber,
            clock,
            second: AtomicU64::new(0),
            lines: AtomicU64::new(0),
        }
    }

    pub(crate) fn write(
        &self,
        level: u16,
        message: &str,
        fields: &[Tuple2<RString, RString>],
        call: Option<&ActiveCall<'_>>,
    ) {
        macro_rules! write_at {
            ($level:ident) => {
                if tracing::enabled!(target: "phone_verify::plugin", tracing::Level::$level) && self.may_write() {
                    let (message, fields) = self.line(message, fields, call);
                    tracing::event!(
                        target: "phone_verify::plugin",
                        tracing::Level::$level,
                        backend = self.source.backend(),
                        library = self.source.library(),
                        request_id = call.map(|call| call.request_id()),
                        fields,
                        "{message}"
                    );
                }
            };
        }
        match level {
            level::ERROR => write_at!(ERROR),
            level::WARN => write_at!(WARN),
            level::INFO => write_at!(INFO),
            level::DEBUG => write_at!(DEBUG),
            _ => write_at!(TRACE),
        }
    }

    fn line(
        &self,
        message: &str,
        fields: &[Tuple2<RString, RString>],
        call: Option<&ActiveCall<'_>>,
    ) -> (String, Option<String>) {
        let private = call.map(ActiveCall::about).unwrap_or_default();
        let is_known = private.iter().any(|text| !text.is_empty());
        let clean = |text: &str, max_characters| {
            let text = self.scrubber.clean(text, &private, max_characters);
            if is_known { text } else { mask_any_code(&text) }
        };
        let fields: Vec<String> = fields
            .iter()
            .take(MAX_FIELDS)
            .map(|Tuple2(name, value)| clean(&format!("{name}={value}"), MAX_FIELD_CHARACTERS))
            .collect();
        let message = clean(message, MAX_LINE_CHARACTERS);
        (message, (!fields.is_empty()).then(|| fields.join(" ")))
    }

    fn may_write(&self) -> bool {
        let second = self.clock.elapsed().as_secs();
        if self.second.swap(second, Ordering::Relaxed) != second {
            self.lines.store(0, Ordering::Relaxed);
        }
        let line = self.lines.fetch_add(1, Ordering::Relaxed);
        if line == MAX_LINES_PER_SECOND {
            tracing::warn!(
                backend = self.source.backend(),
                library = self.source.library(),
                "the backend logs more than {MAX_LINES_PER_SECOND} lines in {:?}; the rest of them is dropped",
                Duration::from_secs(1)
            );
        }
        line < MAX_LINES_PER_SECOND
    }
}

impl Source {
    fn backend(&self) -> Option<&str> {
        match self {
            Self::Backend(name) => Some(name),
            Self::Library(_) => None,
        }
    }

    fn library(&self) -> Option<&str> {
        match self {
            Self::Library(name) => Some(name),
            Self::Backend(_) => None,
        }
    }
}
