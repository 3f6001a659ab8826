//! References in texts of the settings file: `${env:NAME}` for an environment variable and `${file:PATH}` for the
//! content of a file. With them, the settings file needs to hold no secret.
//!
//! A path may hold references itself, as in `${file:${env:CREDENTIALS_DIRECTORY}/key}`: service managers pass the
//! folder of credentials in a variable. Variables are not expanded a second time.

use std::path::Path;

use phone_verify_plugin_host::files::{self, Fault, Subject};

/// Replaces the references in a text; the flag says whether there were any. The errors name the variable or file that
/// is missing, never a value.
pub(super) fn replace(text: &str, folder: &Path) -> Result<(String, bool), Vec<String>> {
    let (mut replaced, mut rest, mut problems) = (String::new(), text, Vec::new());
    let mut any = false;
    while let Some(begin) = rest.find("${") {
        let Some(end) = end_of(&rest[begin..]).map(|length| begin + length) else {
            if is_reference(&rest[begin + 2..]) {
                problems.push(format!(
                    "has {}, which lacks its closing brace",
                    shown(&rest[begin..])
                ));
            }
            break;
        };
        let name = &rest[begin + 2..end];
        replaced.push_str(&rest[..begin]);
        match value(name, folder) {
            Some(Ok(value)) => {
                any = true;
                replaced.push_str(&value);
            }
            Some(Err(told)) => problems.extend(told),
            None => replaced.push_str(&rest[begin..=end]),
        }
        rest = &rest[end + 1..];
    }
    replaced.push_str(rest);
    if problems.is_empty() {
        Ok((replaced, any))
    } else {
        Err(problems)
    }
}

/// The value of a reference, from between its braces; `None` if this is no reference but, for example, a placeholder of
/// a message.
fn value(name: &str, folder: &Path) -> Option<Result<String, Vec<String>>> {
    match name.split_once(':') {
        Some(("env", name)) if name.contains("${") => Some(Err(vec![format!(
            "refers to the environment variable {name}, and only the path of ${{file:PATH}} may hold references"
        )])),
        Some(("env", name)) => Some(variable(name).map_err(|told| vec![told])),
        Some(("file", path)) => Some(file(path, folder)),
        Some((scheme, name)) => Some(Err(vec![format!(
            "refers to {scheme}:{name}, but only ${{env:NAME}} and ${{file:PATH}} are known"
        )])),
        // Written as in a shell or in another program's settings: refuse it, or the SMS or secret would hold it
        // literally.
        None if is_variable(name) => Some(Err(vec![format!(
            "has ${{{name}}}, which stands for nothing; for an environment variable write ${{env:{name}}}"
        )])),
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

fn file(written: &str, folder: &Path) -> Result<String, Vec<String>> {
    let (path, is_nested) = replace(written, folder)?;
    let path = folder.join(path);
    files::read_text(&path, Subject::Reference)
        .map(without_line_break)
        .map_err(|fault| {
            // The resolved path may contain a secret that was used in the wrong place, so show the path as written.
            let shown = if is_nested {
                written.to_owned()
            } else {
                path.display().to_string()
            };
            vec![unusable(&shown, &fault, is_nested)]
        })
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
