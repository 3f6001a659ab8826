//! What a worker process prints, as log lines.
//!
//! Invariant: a line is masked by what every backend of the process must keep secret, by what every call in it is
//! about, and of every word that may be a security code, because a library may print a code that it has just made, or
//! print when the call is over; a flood of lines is cut off.

use std::{collections::VecDeque, sync::Arc};

use phone_verify_plugin_abi::level;

use super::{
    channel::Printed,
    link::Link,
    refused::{EXPLANATION, speaks_of_it},
};
use crate::{
    clock::Clock,
    load::{crash, own_exit},
    scrub::{Scrubber, mask_any_code},
    services::{
        call::CallInfo,
        log::{Log, Source},
    },
};

/// A longer line is cut into several.
const MAX_LINE_BYTES: usize = 2000;
/// How much of the end is reported when the process dies.
const LAST_LINES: usize = 3;
const MAX_LAST_LINE_CHARACTERS: usize = 160;

/// The pipe that is the process's standard output and standard error.
pub(super) struct Output {
    printed: Printed,
    log: Log,
    line: Vec<u8>,
    last: VecDeque<String>,
    library: String,
    /// What the process said of its own crash.
    crash: Option<String>,
    /// Whether it said that it ends itself.
    has_exited: bool,
    /// Whether it was explained that there is a sandbox.
    is_explained: bool,
}

impl Output {
    pub(super) fn new(printed: Printed, library: &str, clock: Clock) -> Self {
        Self {
            printed,
            // Each line is cleaned before.
            log: Log::new(
                Source::Library(library.to_owned()),
                Arc::new(Scrubber::default()),
                clock,
            ),
            line: Vec::new(),
            last: VecDeque::new(),
            library: library.to_owned(),
            crash: None,
            has_exited: false,
            is_explained: false,
        }
    }

    pub(super) fn printed(&self) -> &Printed {
        &self.printed
    }

    /// Reads what is there; `false` when nothing can come any more.
    pub(super) fn read(&mut self, link: &Link) -> bool {
        let mut bytes = [0; 8 * 1024];
        // All that a pipe holds, and no more: a flood leaves room for the calls in between.
        for _ in 0..8 {
            match self.printed.read_now(&mut bytes) {
                Some(read @ 1..) => self.take(&bytes[..read], link),
                Some(_) => return false,
                None => return true,
            }
        }
        true
    }

    fn take(&mut self, bytes: &[u8], link: &Link) {
        for byte in bytes {
            if *byte != b'\n' {
                self.line.push(*byte);
            }
            if *byte == b'\n' || self.line.len() >= MAX_LINE_BYTES {
                self.write(link);
            }
        }
    }

    /// Writes the line that has no end, when there will be none.
    pub(super) fn finish(&mut self, link: &Link) -> Vec<String> {
        self.printed.settle();
        // Once is all that a pipe holds; somebody else may still write into it where there is no sandbox.
        self.read(link);
        self.write(link);
        self.last.iter().cloned().collect()
    }

    /// What the process said of its own crash, if it did.
    pub(super) fn crash(&mut self) -> Option<String> {
        self.crash.take()
    }

    /// Whether the process said that it ends itself, once all is read.
    pub(super) fn has_exited(&self) -> bool {
        self.has_exited
    }

    fn write(&mut self, link: &Link) {
        let bytes = std::mem::take(&mut self.line);
        let text = String::from_utf8_lossy(&bytes);
        if text.trim().is_empty() {
            return;
        }
        if text.starts_with(crash::MARK) {
            // Not for the log, and judged before any of it is kept.
            self.crash = Some(text.into_owned());
            return;
        }
        if text.starts_with(own_exit::MARK) {
            self.has_exited = true;
            return;
        }
        let text = clean(&text, link);
        self.log.write(level::INFO, &text, &[], None);
        if link.is_sealed() && !self.is_explained && speaks_of_it(&text) {
            self.is_explained = true;
            tracing::warn!(library = self.library, "{EXPLANATION}");
        }
        if self.last.len() == LAST_LINES {
            self.last.pop_front();
        }
        self.last
            .push_back(text.chars().take(MAX_LAST_LINE_CHARACTERS).collect());
    }
}

fn clean(text: &str, link: &Link) -> String {
    let state = link.state();
    let instances: Vec<_> = state.instances.values().map(Arc::clone).collect();
    let running = state.calls.values().filter_map(|call| call.info.clone());
    let given_up = state.given_up.values().filter_map(|call| call.info.clone());
    let calls: Vec<Arc<CallInfo>> = running.chain(given_up).collect();
    drop(state);
    let private: Vec<&str> = calls.iter().flat_map(|call| call.about()).collect();
    let scrubbers = instances.iter().map(|instance| &*instance.scrubber);
    let text = Scrubber::clean_by_all(scrubbers, text, &private, MAX_LINE_BYTES);
    mask_any_code(&text)
}
