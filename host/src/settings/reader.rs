//! Takes settings out of the file one by one, over the defaults, and gathers what is wrong.

use std::{
    ops::RangeInclusive,
    path::{Path, PathBuf},
};

use super::{
    Problem,
    document::{Document, Entry, Value},
    doubts::{Doubts, WHOLE_SECTION, folded},
};

/// Reads the file and the defaults section by section.
pub(super) struct Reader {
    user: Option<Document>,
    defaults: Document,
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
    sections: Vec<&'static str>,
    effective: String,
    doubts: Doubts,
    missing: Vec<Missing>,
    /// What unknown keys were probably meant to be, each with its section.
    meant: Vec<(&'static str, &'static str)>,
    /// Sections that the file does not have.
    absent: Vec<&'static str>,
}

/// A setting that the file must have, and does not under its right name.
struct Missing {
    section: &'static str,
    key: &'static str,
    /// Its place among the problems.
    at: usize,
}

/// What a whole file comes to.
pub(super) struct Outcome {
    pub(super) problems: Vec<Problem>,
    pub(super) doubts: Doubts,
    pub(super) warnings: Vec<Problem>,
    pub(super) effective: String,
}

/// One section.
pub(super) struct Section<'a> {
    reader: &'a mut Reader,
    name: &'static str,
    /// The line of its head, if it is there.
    line: Option<usize>,
    user: Vec<Entry>,
    defaults: Vec<Entry>,
    any_case: bool,
    known: Vec<&'static str>,
    /// Those of the known ones that the file does not have.
    absent: Vec<&'static str>,
}

impl Reader {
    pub(super) fn new(mut user: Option<Document>, defaults: Document) -> Self {
        let problems = user
            .as_mut()
            .map_or_else(Vec::new, |user| std::mem::take(&mut user.problems));
        Self {
            user,
            defaults,
            problems,
            warnings: Vec::new(),
            sections: Vec::new(),
            effective: String::new(),
            doubts: Doubts::default(),
            missing: Vec::new(),
            meant: Vec::new(),
            absent: Vec::new(),
        }
    }

    /// Begins a section; `any_case`: its keys may be written in upper or lower case.
    pub(super) fn section(&mut self, name: &'static str, any_case: bool) -> Section<'_> {
        self.sections.push(name);
        self.effective.push_str(&format!("[{name}]\n"));
        let take = |document: &mut Document| {
            let at = document.entries.iter().position(|entry| entry.key == name)?;
            Some(document.entries.remove(at))
        };
        let (mut line, mut user) = (None, Vec::new());
        if let Some(entry) = self.user.as_mut().and_then(take) {
            line = Some(entry.line);
            match entry.value {
                Value::Table(entries) => user = entries,
                other => {
                    self.doubts.add(name, WHOLE_SECTION);
                    self.problem(
                        Some(entry.line),
                        format!("{name} must be a section, not {}", other.kind()),
                    );
                }
            }
        } else {
            self.absent.push(name);
        }
        let defaults = match take(&mut self.defaults).map(|entry| entry.value) {
            Some(Value::Table(entries)) => entries,
            _ => Vec::new(),
        };
        if any_case {
            user = self.without_twins(name, user);
        }
        Section {
            reader: self,
            name,
            line,
            user,
            defaults,
            any_case,
            known: Vec::new(),
            absent: Vec::new(),
        }
    }

    /// Of two spellings of one key, the second is a problem.
    fn without_twins(&mut self, section: &str, entries: Vec<Entry>) -> Vec<Entry> {
        let mut kept: Vec<Entry> = Vec::new();
        for entry in entries {
            if kept.iter().any(|other| folded(&other.key) == folded(&entry.key)) {
                let message = format!(
                    "[{section}] {} is set twice, with different capitalisation; keep one",
                    entry.key
                );
                match section.rsplit_once('.') {
                    Some((section, table)) => self.doubts.add(section, table),
                    None => self.doubts.add(section, &entry.key),
                }
                self.problem(Some(entry.line), message);
            } else {
                kept.push(entry);
            }
        }
        kept
    }

    fn file(&self) -> String {
        self.user
            .as_ref()
            .map_or_else(|| self.defaults.file.clone(), |user| user.file.clone())
    }

    fn problem(&mut self, line: Option<usize>, message: String) {
        let file = self.file();
        self.problems.push(Problem { file, line, message });
    }

    /// What the file comes to, once all sections are read.
    pub(super) fn finish(mut self) -> Outcome {
        let left: Vec<_> = self
            .user
            .iter_mut()
            .flat_map(|user| std::mem::take(&mut user.entries))
            .collect();
        for entry in left {
            let (open, close) = if matches!(entry.value, Value::Table(_)) {
                ("[", "]")
            } else {
                ("", "")
            };
            let near = nearest(&entry.key, &self.sections);
            let hint = near.map_or_else(String::new, |near| format!("; did you mean [{near}]?"));
            self.problem(
                Some(entry.line),
                format!("{open}{}{close} is not a section{hint}", entry.key),
            );
            self.meant.extend(near.map(|near| (near, WHOLE_SECTION)));
            for section in &self.absent {
                self.doubts.add(section, WHOLE_SECTION);
            }
        }
        self.forgive_misspelt();
        Outcome {
            problems: self.problems,
            doubts: self.doubts,
            warnings: self.warnings,
            effective: self.effective,
        }
    }

    /// What is there under a misspelt name is not missing as well.
    fn forgive_misspelt(&mut self) {
        let is_meant = |missing: &&Missing| {
            let is_it = |meant: &&(_, _)| {
                **meant == (missing.section, missing.key)
                    || **meant == (missing.section, WHOLE_SECTION) && self.absent.contains(&missing.section)
            };
            self.meant.iter().any(|meant| is_it(&meant))
        };
        let forgiven: Vec<usize> = self
            .missing
            .iter()
            .filter(is_meant)
            .map(|missing| missing.at)
            .collect();
        let mut at = 0..;
        self.problems
            .retain(|_| !at.next().is_some_and(|at: usize| forgiven.contains(&at)));
    }
}

fn nearest<'a>(key: &str, known: &[&'a str]) -> Option<&'a str> {
    let distance = |near: &str| strsim::damerau_levenshtein(&folded(key), &folded(near));
    known
        .iter()
        .copied()
        .min_by_key(|near| distance(near))
        .filter(|near| distance(near) <= 3)
}

impl Section<'_> {
    fn position(entries: &[Entry], key: &str, any_case: bool) -> Option<usize> {
        let is_it = |entry: &Entry| entry.key == key || (any_case && folded(&entry.key) == folded(key));
        entries.iter().position(is_it)
    }

    /// The value in the file, if it is there.
    fn given(&mut self, key: &'static str) -> Option<Entry> {
        self.known.push(key);
        let at = Self::position(&self.user, key, self.any_case);
        if at.is_none() {
            self.absent.push(key);
        }
        at.map(|at| self.user.remove(at))
    }

    fn default(&mut self, key: &'static str) -> Value {
        let at = Self::position(&self.defaults, key, false);
        at.map_or(Value::Other("nothing"), |at| self.defaults.remove(at).value)
    }

    fn show(&mut self, key: &str, value: &str) {
        self.reader.effective.push_str(&format!("{key} = {value}\n"));
    }

    /// Notes that something is wrong with the setting `key`.
    pub(super) fn problem(&mut self, key: &str, line: Option<usize>, message: &str) {
        self.doubt(key);
        let message = format!("[{}] {message}", self.name);
        self.reader.problem(line.or(self.line), message);
    }

    /// Notes that the value of the setting `key` is not known; why is reported already.
    pub(super) fn doubt(&mut self, key: &str) {
        self.reader.doubts.add(self.name, key);
    }

    /// Whether all of these settings are as the file has them, so that one can be held against another.
    pub(super) fn are_known(&self, keys: &[&str]) -> bool {
        !keys.iter().any(|key| self.reader.doubts.has(self.name, key))
    }

    fn missing(&mut self, key: &'static str) {
        let at = self.reader.problems.len();
        self.reader.missing.push(Missing {
            section: self.name,
            key,
            at,
        });
        self.problem(key, None, &format!("{key} is missing"));
    }

    pub(super) fn warning(&mut self, line: Option<usize>, message: &str) {
        let (file, message) = (self.reader.file(), format!("[{}] {message}", self.name));
        self.reader.warnings.push(Problem {
            file,
            line: line.or(self.line),
            message,
        });
    }

    /// Paths in the file are relative to it.
    pub(super) fn folder(&self) -> PathBuf {
        self.reader
            .user
            .as_ref()
            .map_or_else(PathBuf::new, |user| user.folder.clone())
    }

    /// A setting; where the file does not have it, its default. `read` says what was needed.
    pub(super) fn get<T>(&mut self, key: &'static str, read: impl Fn(&Value) -> Result<T, String>) -> T {
        self.get_with_line(key, read).0
    }

    /// The same with its line in the file.
    pub(super) fn get_with_line<T>(
        &mut self,
        key: &'static str,
        read: impl Fn(&Value) -> Result<T, String>,
    ) -> (T, Option<usize>) {
        self.get_and_show(key, |_| false, read)
    }

    /// A setting whose value is never shown, wherever it came from.
    pub(super) fn get_secret<T>(
        &mut self,
        key: &'static str,
        read: impl Fn(&Value) -> Result<T, String>,
    ) -> (T, Option<usize>) {
        self.get_and_show(key, |_| true, read)
    }

    /// A setting that is an address, whose value is not shown where it holds a user's name or password.
    pub(super) fn get_address<T>(
        &mut self,
        key: &'static str,
        read: impl Fn(&Value) -> Result<T, String>,
    ) -> (T, Option<usize>) {
        let holds_credentials = |value: &Value| text(value).is_ok_and(|text| text.contains('@'));
        self.get_and_show(key, holds_credentials, read)
    }

    fn get_and_show<T>(
        &mut self,
        key: &'static str,
        is_secret: fn(&Value) -> bool,
        read: impl Fn(&Value) -> Result<T, String>,
    ) -> (T, Option<usize>) {
        let default = self.default(key);
        let entry = self.given(key);
        let line = entry.as_ref().map(|entry| entry.line);
        if let Some(entry) = entry.filter(|entry| entry.value.is_resolved()) {
            match read(&entry.value) {
                Ok(value) => {
                    let shown = if entry.value.referred() || is_secret(&entry.value) {
                        "\"***\"".into()
                    } else {
                        entry.value.to_toml()
                    };
                    self.show(key, &shown);
                    return (value, line);
                }
                Err(needed) => {
                    let needed = entry.value.masked_in(needed);
                    self.problem(key, line, &format!("{key} {needed}"));
                }
            }
        } else {
            if line.is_some() {
                self.doubt(key);
            }
            self.show(key, &default.to_toml());
        }
        (
            read(&default).expect("a test holds that default.toml has a valid default for every setting"),
            line,
        )
    }

    /// A setting that the file must have.
    pub(super) fn required<T>(
        &mut self,
        key: &'static str,
        read: impl Fn(&Value) -> Result<T, String>,
    ) -> (T, Option<usize>) {
        if self.reader.user.is_some() && Self::position(&self.user, key, self.any_case).is_none() {
            self.missing(key);
        }
        self.get_with_line(key, read)
    }

    /// A setting under a name that it had before; its default is that of its present name.
    pub(super) fn older_name<T>(
        &mut self,
        older: &'static str,
        name: &'static str,
        read: impl Fn(&Value) -> Result<T, String>,
    ) -> (T, Option<usize>) {
        let entry = self.given(older);
        let line = entry.as_ref().map(|entry| entry.line);
        if let Some(mut entry) = entry
            && Self::position(&self.user, name, self.any_case).is_none()
        {
            name.clone_into(&mut entry.key);
            self.user.push(entry);
        }
        (self.get(name, read), line)
    }

    pub(super) fn has(&self, key: &str) -> bool {
        Self::position(&self.user, key, self.any_case).is_some()
    }

    /// A table of its own below this section; its keys are free, and matched without regard to case. A row that refers to
    /// what is not there is reported already, and left out.
    pub(super) fn table(&mut self, key: &'static str, required: bool, name: &'static str) -> Vec<Entry> {
        let _ = self.default(key);
        let Some(entry) = self.given(key) else {
            if required && self.reader.user.is_some() {
                self.missing(key);
            }
            return Vec::new();
        };
        match entry.value {
            Value::Table(entries) => {
                let is_known = |entry: &Entry| entry.value.is_resolved();
                if !entries.iter().all(is_known) {
                    self.doubt(key);
                }
                let entries = self.reader.without_twins(name, entries);
                entries.into_iter().filter(is_known).collect()
            }
            other => {
                self.problem(
                    key,
                    Some(entry.line),
                    &format!("{key} must be a table, not {}", other.kind()),
                );
                Vec::new()
            }
        }
    }

    /// Shows a table among the effective settings.
    pub(super) fn show_table(&mut self, name: &str, rows: &[(String, String)]) {
        self.reader.effective.push_str(&format!("\n[{name}]\n"));
        for (key, value) in rows {
            self.show(key, value);
        }
    }

    /// Ends the section: what is left in it is unknown.
    pub(super) fn finish(mut self) {
        for entry in std::mem::take(&mut self.user) {
            let near = nearest(&entry.key, &self.known);
            let hint = near.map_or_else(String::new, |near| format!("; did you mean {near}?"));
            self.problem(
                &entry.key,
                Some(entry.line),
                &format!("{} is not a setting{hint}", entry.key),
            );
            self.reader.meant.extend(near.map(|near| (self.name, near)));
            // It may stand for any of those.
            for key in &self.absent {
                self.reader.doubts.add(self.name, key);
            }
        }
        self.reader.effective.push('\n');
    }
}

pub(super) fn text(value: &Value) -> Result<String, String> {
    match value {
        Value::Text { text, .. } => Ok(text.clone()),
        other => Err(format!("must be a text, not {}", other.kind())),
    }
}

pub(super) fn flag(value: &Value) -> Result<bool, String> {
    match value {
        Value::Flag(flag) => Ok(*flag),
        other => Err(format!("must be true or false, not {}", other.kind())),
    }
}

pub(super) fn number(bounds: RangeInclusive<u32>) -> impl Fn(&Value) -> Result<u32, String> {
    move |value| match value {
        Value::Integer(number) => u32::try_from(*number)
            .ok()
            .filter(|number| bounds.contains(number))
            .ok_or_else(|| {
                format!(
                    "must be from {} to {}, not {number}",
                    bounds.start(),
                    bounds.end()
                )
            }),
        other => Err(format!("must be a whole number, not {}", other.kind())),
    }
}

pub(super) fn texts(value: &Value) -> Result<Vec<String>, String> {
    match value {
        Value::List(items) => items
            .iter()
            .map(text)
            .collect::<Result<_, _>>()
            .map_err(|_| "must be a list of texts".into()),
        other => Err(format!("must be a list of texts, not {}", other.kind())),
    }
}

/// A path relative to the settings file; `None` when it is empty.
pub(super) fn path(folder: &Path, text: &str) -> Option<PathBuf> {
    (!text.is_empty()).then(|| folder.join(text))
}
