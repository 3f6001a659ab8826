//! A table whose name the operator chose, such as `[backends.nexmo-eu]`, or one of a list, such as `[[routes]]`.
//!
//! As in a section, keys are taken out one by one, and what is left is unknown.

use super::{
    document::{Entry, Value},
    reader::{Reader, nearest},
};

/// One such table, while it is read.
pub(super) struct Row<'a> {
    reader: &'a mut Reader,
    /// The section that is in doubt once the row has a problem.
    section: &'static str,
    /// As messages and the effective settings name it, with its brackets.
    header: String,
    entries: Vec<Entry>,
    known: Vec<&'static str>,
    /// Its settings as TOML, in the order in which they were read.
    shown: Vec<(String, String)>,
}

impl<'a> Row<'a> {
    /// Begins to read it. `None`: it is no table, which is reported.
    pub(super) fn new(
        reader: &'a mut Reader,
        section: &'static str,
        header: String,
        line: usize,
        value: Value,
    ) -> Option<Self> {
        let entries = match value {
            Value::Table(entries) => entries,
            other => {
                let message = format!("{header} must be a table, not {}", other.kind());
                reader.report(section, Some(line), message);
                return None;
            }
        };
        Some(Self {
            reader,
            section,
            header,
            entries,
            known: Vec::new(),
            shown: Vec::new(),
        })
    }

    /// Records a problem with the row.
    pub(super) fn problem(&mut self, line: usize, message: &str) {
        let message = format!("{} {message}", self.header);
        self.reader.report(self.section, Some(line), message);
    }

    /// Records something that is valid but should be looked at.
    pub(super) fn warning(&mut self, line: usize, message: &str) {
        let message = format!("{} {message}", self.header);
        self.reader.warn(Some(line), message);
    }

    /// Warns of a value that may be a secret, if others can read the file that it stands in.
    pub(super) fn warn_if_exposed(&mut self, line: usize, key: &str, value: &Value) {
        for exposure in self.reader.exposures(key, value) {
            self.warning(line, &exposure);
        }
    }

    /// Whether it still has this key.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entries
            .iter()
            .any(|entry| entry.key.eq_ignore_ascii_case(key))
    }

    /// Names a key that it does not have, for one that resembles it.
    pub(super) fn leave_out(&mut self, key: &'static str) {
        self.known.push(key);
    }

    /// Takes a key out of it, if it is there in upper or lower case.
    pub(super) fn take(&mut self, key: &'static str) -> Option<Entry> {
        self.known.push(key);
        let is_it = |entry: &Entry| entry.key.eq_ignore_ascii_case(key);
        let at = self.entries.iter().position(is_it)?;
        let found = self.entries.remove(at);
        if let Some(twin) = self.entries.iter().position(is_it) {
            let twin = self.entries.remove(twin);
            let message = format!(
                "{} is set twice, with different capitalisation; keep one",
                twin.key
            );
            self.problem(twin.line, &message);
        }
        Some(found)
    }

    /// Reads a key, with its line. `None`: it is not there, or faulty, which is reported. `read` converts the value; its
    /// error says what is needed, as the end of a sentence that begins with the key.
    pub(super) fn get<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&Value) -> Result<T, String>,
    ) -> Option<(T, usize)> {
        let Entry { line, value, .. } = self.take(key)?;
        if !value.is_resolved() {
            self.reader.doubt(self.section);
            return None;
        }
        match read(&value) {
            Ok(read) => {
                let shown = if value.referred() {
                    "\"***\"".to_owned()
                } else {
                    value.to_toml()
                };
                self.shown.push((key.to_owned(), shown));
                Some((read, line))
            }
            Err(needed) => {
                let message = format!("{key} {}", value.masked_in(needed));
                self.problem(line, &message);
                None
            }
        }
    }

    /// Takes a table below it whose keys the operator chose: without the rows whose references cannot be resolved, which are
    /// reported already, and without further spellings of a key.
    pub(super) fn table_without_twins(&mut self, key: &'static str) -> Vec<Entry> {
        let Some(Entry { line, value, .. }) = self.take(key) else {
            return Vec::new();
        };
        match value {
            Value::Table(entries) => {
                if !entries.iter().all(|entry| entry.value.is_resolved()) {
                    self.reader.doubt(self.section);
                }
                let name = format!("{}.{key}", self.section);
                let entries = self.reader.without_twins(&name, entries);
                let entries = entries.into_iter().filter(|entry| entry.value.is_resolved());
                entries.collect()
            }
            other => {
                let message = format!("{key} must be a table, not {}", other.kind());
                self.problem(line, &message);
                Vec::new()
            }
        }
    }

    /// Ends a row of a list, as [`Row::finish`] does.
    pub(super) fn finish_in_list(mut self, list: &str) {
        self.report_unknown();
        self.reader.show_rows(&format!("[[{list}]]"), &self.shown);
    }

    /// Ends the row, and shows what was read of it under its header, with the tables below it. Keys that were not read
    /// are unknown.
    pub(super) fn finish(mut self, tables: &[(String, Vec<(String, String)>)]) {
        self.report_unknown();
        self.reader.show_rows(&self.header, &self.shown);
        for (header, rows) in tables {
            self.reader.show_rows(header, rows);
        }
    }

    fn report_unknown(&mut self) {
        for entry in std::mem::take(&mut self.entries) {
            let near = nearest(&entry.key, &self.known);
            let hint = near.map_or_else(String::new, |near| format!("; did you mean {near}?"));
            let message = format!("{} is not a setting{hint}", entry.key);
            self.problem(entry.line, &message);
        }
    }
}
