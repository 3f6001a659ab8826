//! `[events]`: whether what happens is recorded.

use super::reader::{Reader, flag};

/// What is recorded of what happens.
#[derive(Clone, Debug)]
pub struct Events {
    /// Whether events are recorded, for `phone-verify events`.
    pub log: bool,
}

impl Events {
    pub(super) fn read(reader: &mut Reader) -> Self {
        let mut section = reader.section("events", false);
        let events = Self {
            log: section.get("log", flag),
        };
        section.finish();
        events
    }
}
