//! Takes settings out of a file one by one, with the defaults below it, and gathers every problem.
//!
//! Each key is removed when it is read. What is left at the end of a section is therefore unknown, so probably
//! misspelt, and no list of keys has to be kept elsewhere. The effective settings are written in the same pass, so
//! every setting that is read is shown.

use std::{
    ops::RangeInclusive,
    path::{Path, PathBuf},
};

use phone_verify_plugin_host::files::{self, Fault};

use super::{
    Problem,
    changes::Fingerprints,
    document::{Document, Entry, Value},
    doubts::{Doubts, WHOLE_SECTION, folded},
    reference::ReferredFile,
};

/// Reads the user's file and the defaults section by section.
pub(super) struct Reader {
    /// The user's file; `None`: there are only the defaults.
    user: Option<Document>,
    defaults: Document,
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
    /// The sections read so far, as candidates for a misspelt section.
    sections: Vec<&'static str>,
    /// The effective settings so far, as TOML.
    effective: String,
    /// Those settings again, as they are and not as they are shown.
    fingerprints: Fingerprints,
    doubts: Doubts,
    missing: Vec<Missing>,
    /// For each unknown key that resembles a known one: the section and the known key.
    meant: Vec<(&'static str, &'static str)>,
    /// Sections that the file does not have.
    absent: Vec<&'static str>,
}

/// A required setting that the file does not have under its right name.
struct Missing {
    section: &'static str,
    key: &'static str,
    /// The index of its message in `Reader::problems`, so that the message can be withdrawn.
    at: usize,
}

/// The result of reading a whole file, without the settings themselves.
pub(super) struct Outcome {
    pub(super) problems: Vec<Problem>,
    pub(super) doubts: Doubts,
    pub(super) warnings: Vec<Problem>,
    pub(super) effective: String,
    pub(super) fingerprints: Fingerprints,
}

/// A section that is being read.
pub(super) struct Section<'a> {
    reader: &'a mut Reader,
    name: &'static str,
    /// The line of the section's header; `None` if the file does not have the section.
    line: Option<usize>,
    /// The entries of the file that were not read yet.
    user: Vec<Entry>,
    defaults: Vec<Entry>,
    /// Whether keys match in upper and lower case.
    any_case: bool,
    /// The keys read so far, as candidates for a misspelt key.
    known: Vec<&'static str>,
    /// Those of the known keys that the file does not have.
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
            fingerprints: Fingerprints::default(),
            doubts: Doubts::default(),
            missing: Vec::new(),
            meant: Vec::new(),
            absent: Vec::new(),
        }
    }

    /// Begins a section. With `any_case`, its keys may be written in upper or lower case.
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

    /// Takes the rows of a section whose keys the operator chooses, such as `[backends]`.
    pub(super) fn rows(&mut self, name: &'static str) -> Vec<Entry> {
        match self.take(name) {
            Some(Entry {
                value: Value::Table(entries),
                ..
            }) => entries,
            Some(Entry { line, value, .. }) => {
                let message = format!("{name} must be a section, not {}", value.kind());
                self.report(name, Some(line), message);
                Vec::new()
            }
            None => Vec::new(),
        }
    }

    /// Takes the tables of a list, such as `[[routes]]`, each with its first line that is known.
    pub(super) fn list(&mut self, name: &'static str) -> Vec<(usize, Value)> {
        match self.take(name) {
            Some(Entry {
                line,
                value: Value::List(items),
                ..
            }) => items
                .into_iter()
                .map(|item| (item.line().unwrap_or(line), item))
                .collect(),
            Some(Entry { line, value, .. }) => {
                let message = format!(
                    "{name} must be a list, each of its items under [[{name}]], not {}",
                    value.kind()
                );
                self.report(name, Some(line), message);
                Vec::new()
            }
            None => Vec::new(),
        }
    }

    /// Takes a section out of the file, and out of the defaults.
    fn take(&mut self, name: &'static str) -> Option<Entry> {
        self.sections.push(name);
        let take = |document: &mut Document| {
            let at = document.entries.iter().position(|entry| entry.key == name)?;
            Some(document.entries.remove(at))
        };
        let default = take(&mut self.defaults);
        match &mut self.user {
            Some(user) => take(user),
            None => default,
        }
    }

    /// Whether the file has a section of this name with anything in it, which was not read yet.
    pub(super) fn has_rows(&self, name: &str) -> bool {
        let is_it = |entry: &Entry| {
            entry.key == name && matches!(&entry.value, Value::Table(entries) if !entries.is_empty())
        };
        self.user
            .as_ref()
            .is_some_and(|user| user.entries.iter().any(is_it))
    }

    /// Records a problem with a section, which is in doubt from then on.
    pub(super) fn report(&mut self, section: &str, line: Option<usize>, message: String) {
        self.doubt(section);
        self.problem(line, message);
    }

    /// Marks a section as in doubt, when the reason was reported already.
    pub(super) fn doubt(&mut self, section: &str) {
        self.doubts.add(section, WHOLE_SECTION);
    }

    /// Whether anything of a section is in doubt.
    pub(super) fn is_in_doubt(&self, section: &str) -> bool {
        self.doubts.has(section, WHOLE_SECTION)
    }

    /// Records something that is valid but should be looked at.
    pub(super) fn warn(&mut self, line: Option<usize>, message: String) {
        let file = self.file();
        self.warnings.push(Problem {
            file,
            line,
            message,
            may_pass: false,
        });
    }

    /// Adds a table to the effective settings, under its header as TOML has it.
    pub(super) fn show_rows(&mut self, header: &str, rows: &[(String, String)]) {
        self.effective.push_str(&format!("{header}\n"));
        for (key, value) in rows {
            self.effective.push_str(&format!("{key} = {value}\n"));
        }
        self.effective.push('\n');
    }

    /// Keeps the first of two spellings of one key, and reports the second.
    pub(super) fn without_twins(&mut self, section: &str, entries: Vec<Entry>) -> Vec<Entry> {
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

    /// Why others can read a value that may be a secret, if they can.
    pub(super) fn exposures(&self, key: &str, value: &Value) -> Vec<String> {
        let faults: Vec<Fault> = if value.referred() {
            let files = value.files().into_iter();
            files.filter_map(ReferredFile::exposure).collect()
        } else {
            self.own_exposure().into_iter().collect()
        };
        let told = |fault| format!("{key} may be a secret, and {fault}");
        faults.into_iter().map(told).collect()
    }

    /// Why others can read the settings file, if they can.
    fn own_exposure(&self) -> Option<Fault> {
        let user = self.user.as_ref()?;
        let name = Path::new(&user.file).file_name()?;
        files::exposure(&user.folder.join(name))
    }

    fn file(&self) -> String {
        self.user
            .as_ref()
            .map_or_else(|| self.defaults.file.clone(), |user| user.file.clone())
    }

    fn problem(&mut self, line: Option<usize>, message: String) {
        let file = self.file();
        self.problems.push(Problem {
            file,
            line,
            message,
            may_pass: false,
        });
    }

    /// Ends the reading, once every section was read. Sections that are left in the file are unknown.
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
            // The unknown section was probably meant as one that the file lacks. The settings of that one are then not
            // reported as missing.
            let near = nearest(&entry.key, &self.sections);
            let hint = near.map_or_else(String::new, |near| format!("; did you mean [{near}]?"));
            self.problem(
                Some(entry.line),
                format!("{open}{}{close} is not a section{hint}", entry.key),
            );
            self.meant.extend(near.map(|near| (near, WHOLE_SECTION)));
            if let Some(near) = near {
                self.doubts.add(near, WHOLE_SECTION);
            }
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
            fingerprints: self.fingerprints,
        }
    }

    /// Withdraws the messages about required settings that are in the file under a misspelt name. One mistake gets one
    /// message.
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

/// The known key that `key` was probably meant to be: an edit distance of at most three.
pub(super) fn nearest<'a>(key: &str, known: &[&'a str]) -> Option<&'a str> {
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

    /// Takes the entry out of the file, if it is there.
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

    /// Records a problem with the setting `key`, and marks it as in doubt.
    pub(super) fn problem(&mut self, key: &str, line: Option<usize>, message: &str) {
        self.doubt(key);
        let message = format!("[{}] {message}", self.name);
        self.reader.problem(line.or(self.line), message);
    }

    /// Marks the setting `key` as in doubt, when the reason was reported already.
    pub(super) fn doubt(&mut self, key: &str) {
        self.reader.doubts.add(self.name, key);
    }

    /// Whether the values of all these settings are those of the file, so that they may be compared with each other.
    pub(super) fn are_known(&self, keys: &[&str]) -> bool {
        !keys.iter().any(|key| self.reader.doubts.has(self.name, key))
    }

    /// Reports a required setting as missing. The report may be withdrawn by [`Reader::forgive_misspelt`].
    fn missing(&mut self, key: &'static str) {
        let at = self.reader.problems.len();
        self.reader.missing.push(Missing {
            section: self.name,
            key,
            at,
        });
        self.problem(key, None, &format!("{key} is missing"));
    }

    /// Records something that is valid but should be looked at.
    pub(super) fn warning(&mut self, line: Option<usize>, message: &str) {
        let (file, message) = (self.reader.file(), format!("[{}] {message}", self.name));
        self.reader.warnings.push(Problem {
            file,
            line: line.or(self.line),
            message,
            may_pass: false,
        });
    }

    /// Warns of a value that may be a secret, if others can read the file that it stands in.
    pub(super) fn warn_if_exposed(&mut self, line: Option<usize>, key: &str, value: &Value) {
        for exposure in self.reader.exposures(key, value) {
            self.warning(line, &exposure);
        }
    }

    /// The folder of the settings file, to which paths in it are relative.
    pub(super) fn folder(&self) -> PathBuf {
        self.reader
            .user
            .as_ref()
            .map_or_else(PathBuf::new, |user| user.folder.clone())
    }

    /// Reads a setting from the file, or its default. `read` converts the value; its error says what is needed, as the
    /// end of a sentence that begins with the key.
    pub(super) fn get<T>(&mut self, key: &'static str, read: impl Fn(&Value) -> Result<T, String>) -> T {
        self.get_with_line(key, read).0
    }

    /// Reads a setting as [`Section::get`] does, and returns its line in the file too, for problems that are found
    /// later.
    pub(super) fn get_with_line<T>(
        &mut self,
        key: &'static str,
        read: impl Fn(&Value) -> Result<T, String>,
    ) -> (T, Option<usize>) {
        self.get_and_show(key, |_| false, read)
    }

    /// Reads a setting whose value is never shown, even if it is in the file itself. A list without items is no secret.
    pub(super) fn get_secret<T>(
        &mut self,
        key: &'static str,
        read: impl Fn(&Value) -> Result<T, String>,
    ) -> (T, Option<usize>) {
        let is_secret = |value: &Value| !matches!(value, Value::List(items) if items.is_empty());
        self.get_and_show(key, is_secret, read)
    }

    /// Reads a setting that is an address. Its value is masked if it may hold a user name or password.
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
                    if is_secret(&entry.value) {
                        self.warn_if_exposed(line, key, &entry.value);
                    }
                    let shown = if entry.value.referred() || is_secret(&entry.value) {
                        "\"***\"".into()
                    } else {
                        entry.value.to_toml()
                    };
                    self.show(key, &shown);
                    self.reader
                        .fingerprints
                        .add(self.name, key, &entry.value.to_toml());
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
            let default = default.to_toml();
            self.show(key, &default);
            self.reader.fingerprints.add(self.name, key, &default);
        }
        (
            read(&default).expect("a test holds that default.toml has a valid default for every setting"),
            line,
        )
    }

    /// Reads a setting that the file must have. Without a file, as in the demo mode, the default is used.
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

    /// Reads a setting under an older name. The default is the one of its present name.
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

    /// Leaves out a setting that the file does not have and need not have. It is not shown.
    pub(super) fn leave_out(&mut self, key: &'static str) {
        let _ = self.default(key);
        self.known.push(key);
    }

    /// Whether the file has another section of this name, with anything in it, which was not read yet.
    pub(super) fn is_beside(&self, section: &str) -> bool {
        self.reader.has_rows(section)
    }

    /// Whether the file still has this key.
    pub(super) fn has(&self, key: &str) -> bool {
        Self::position(&self.user, key, self.any_case).is_some()
    }

    /// Reads a table below this section, such as `OPTIONS`. Its keys are chosen by the operator, and are compared
    /// without regard to case. Rows with an unresolved reference are left out, since they were reported already.
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
                let all = Value::Table(entries.clone()).to_toml();
                self.reader.fingerprints.add(self.name, key, &all);
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

    /// Adds a table to the effective settings.
    pub(super) fn show_table(&mut self, name: &str, rows: &[(String, String)]) {
        self.reader.effective.push_str(&format!("\n[{name}]\n"));
        for (key, value) in rows {
            self.show(key, value);
        }
    }

    /// Ends the section. Keys that were not read are unknown, and are reported with the known key that they resemble.
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
            // The unknown key may have been meant as any of the absent ones, so the default is not certain for them.
            for key in &self.absent {
                self.reader.doubts.add(self.name, key);
            }
        }
        self.reader.effective.push('\n');
    }
}

/// Converts a text.
pub(super) fn text(value: &Value) -> Result<String, String> {
    match value {
        Value::Text { text, .. } => Ok(text.clone()),
        other => Err(format!("must be a text, not {}", other.kind())),
    }
}

/// Converts true or false.
pub(super) fn flag(value: &Value) -> Result<bool, String> {
    match value {
        Value::Flag(flag) => Ok(*flag),
        other => Err(format!("must be true or false, not {}", other.kind())),
    }
}

/// Converts a whole number within these bounds, both included.
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

/// Converts a list of texts. The error does not repeat the items: one may be a secret.
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

/// A path, relative to the folder of the settings file; `None` if the text is empty.
pub(super) fn path(folder: &Path, text: &str) -> Option<PathBuf> {
    (!text.is_empty()).then(|| folder.join(text))
}
