//! References in texts of the settings file: `${env:NAME}` for an environment variable and `${file:PATH}` for the
//! content of a file. With them, the settings file needs to hold no secret.
//!
//! A path may hold references itself, as in `${file:${env:CREDENTIALS_DIRECTORY}/key}`: service managers pass the
//! folder of credentials in a variable. Variables are not expanded a second time.

use std::path::{Path, PathBuf};

use phone_verify_plugin_host::files::{self, Fault, Subject};

/// A text with its references replaced.
#[derive(Default)]
pub(super) struct Replaced {
    pub(super) text: String,
    /// Whether there were any references.
    pub(super) any: bool,
    /// The files that parts of the text come from.
    pub(super) files: Vec<ReferredFile>,
}

/// A file that a text refers to.
#[derive(Clone, Debug)]
pub(super) struct ReferredFile {
    path: PathBuf,
    /// The path as problems may show it.
    shown: PathBuf,
}

impl ReferredFile {
    /// Why this file would be refused as a key file, because others can read it.
    pub(super) fn refusal(&self) -> Option<Fault> {
        let judged = files::judge(&self.path, Subject::Secret).err();
        self.told(judged.filter(Fault::is_readable))
    }

    /// Why others can read a secret in this file, if they can.
    pub(super) fn exposure(&self) -> Option<Fault> {
        self.told(files::exposure(&self.path))
    }

    fn told(&self, fault: Option<Fault>) -> Option<Fault> {
        fault.map(|fault| fault.shown_as(&self.shown))
    }
}

/// Why a reference cannot be replaced.
pub(super) struct Unresolved {
    /// The end of a sentence that begins with the key. Names the variable or file that is missing, never a value.
    pub(super) told: String,
    /// Whether it may be otherwise a while later, without a change by anybody.
    pub(super) may_pass: bool,
}

impl From<String> for Unresolved {
    fn from(told: String) -> Self {
        let may_pass = false;
        Self { told, may_pass }
    }
}

/// Replaces the references in a text.
pub(super) fn replace(text: &str, folder: &Path) -> Result<Replaced, Vec<Unresolved>> {
    let (mut replaced, mut rest, mut problems) = (Replaced::default(), text, Vec::new());
    while let Some(begin) = rest.find("${") {
        let Some(end) = end_of(&rest[begin..]).map(|length| begin + length) else {
            if is_reference(&rest[begin + 2..]) {
                let told = format!("has {}, which lacks its closing brace", shown(&rest[begin..]));
                problems.push(told.into());
            }
            break;
        };
        let name = &rest[begin + 2..end];
        replaced.text.push_str(&rest[..begin]);
        match value(name, folder) {
            Some(Ok((value, file))) => {
                replaced.any = true;
                replaced.text.push_str(&value);
                replaced.files.extend(file);
            }
            Some(Err(unresolved)) => problems.extend(unresolved),
            None => replaced.text.push_str(&rest[begin..=end]),
        }
        rest = &rest[end + 1..];
    }
    replaced.text.push_str(rest);
    if problems.is_empty() {
        Ok(replaced)
    } else {
        Err(problems)
    }
}

/// What a reference stands for, and the file that it names.
type Value = (String, Option<ReferredFile>);

/// The value of a reference, from between its braces; `None` if this is no reference but, for example, a placeholder of
/// a message.
fn value(name: &str, folder: &Path) -> Option<Result<Value, Vec<Unresolved>>> {
    let wrong = |told: String| Some(Err(vec![told.into()]));
    match name.split_once(':') {
        Some(("env", name)) if name.contains("${") => wrong(format!(
            "refers to the environment variable {name}, and only the path of ${{file:PATH}} may hold references"
        )),
        Some(("env", name)) => match variable(name) {
            Ok(value) => Some(Ok((value, None))),
            Err(told) => wrong(told),
        },
        Some(("file", path)) => Some(file(path, folder)),
        Some((scheme, name)) => wrong(format!(
            "refers to {scheme}:{name}, but only ${{env:NAME}} and ${{file:PATH}} are known"
        )),
        // Written as in a shell or in another program's settings: refuse it, or the SMS or secret would hold it
        // literally.
        None if is_variable(name) => wrong(format!(
            "has ${{{name}}}, which stands for nothing; for an environment variable write ${{env:{name}}}"
        )),
        None => None,
    }
}

fn variable(name: &str) -> Result<String, String> {
    std::env::var(name).map_err(|error| match error {
        std::env::VarError::NotPresent => {
            format!("refers to the environment variable {name}, which is not set")
        }
        std::env::VarError::NotUnicode(_) => {
            format!("refers to the environment variable {name}, which is not UTF-8")
        }
    })
}

fn file(written: &str, folder: &Path) -> Result<Value, Vec<Unresolved>> {
    let Replaced { text, any, .. } = replace(written, folder)?;
    let path = folder.join(text);
    // The resolved path may contain a secret that was used in the wrong place, so show the path as written.
    let shown = if any { written.into() } else { path.clone() };
    match files::read_text(&path, Subject::Reference) {
        Ok(text) => Ok((without_line_break(text), Some(ReferredFile { path, shown }))),
        Err(fault) => Err(vec![Unresolved {
            told: unusable(&shown.display().to_string(), &fault, any),
            may_pass: fault.may_pass(),
        }]),
    }
}

fn unusable(path: &str, fault: &Fault, is_nested: bool) -> String {
    match fault.io() {
        Some(error) => format!("refers to the file {path}, which cannot be read: {error}"),
        None if is_nested => format!(
            "refers to the file {path}, which cannot be used: {}",
            fault.in_short()
        ),
        None => format!("refers to the file {path}, which cannot be used: {fault}"),
    }
}

/// The index of the brace that closes the reference at the beginning of `text`, which may hold nested references.
fn end_of(text: &str) -> Option<usize> {
    let mut open = 0_usize;
    for (at, character) in text.char_indices() {
        if text[at..].starts_with("${") {
            open += 1;
        } else if character == '}' {
            open -= 1;
            if open == 0 {
                return Some(at);
            }
        }
    }
    None
}

fn is_reference(name: &str) -> bool {
    name.starts_with("env:") || name.starts_with("file:")
}

/// The text for a message, cut to a bounded length.
fn shown(text: &str) -> String {
    const MAX_SHOWN: usize = 60;
    if text.chars().count() <= MAX_SHOWN {
        text.to_owned()
    } else {
        format!("{}…", text.chars().take(MAX_SHOWN).collect::<String>())
    }
}
/// Whether this looks like the name of an environment variable, in capitals. The placeholder `{app}` of a message does
/// not.
fn is_variable(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_uppercase() || first == '_')
        && name
            .bytes()
            .all(|byte| matches!(byte, b'A'..=b'Z' | b'0'..=b'9' | b'_'))
}

/// Removes one line break at the end, which most editors add to a file.
fn without_line_break(mut text: String) -> String {
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    text
}
