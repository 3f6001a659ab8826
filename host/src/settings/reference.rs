//! `${env:NAME}` and `${file:PATH}` in a text, so that no secret needs to stand in the settings file.

use std::path::Path;

/// The text with its references replaced, and whether there were any. The errors name what is missing.
pub(super) fn replace(text: &str, folder: &Path) -> Result<(String, bool), Vec<String>> {
    let (mut replaced, mut rest, mut problems) = (String::new(), text, Vec::new());
    let mut any = false;
    while let Some(begin) = rest.find("${") {
        let Some(length) = rest[begin..].find('}') else {
            break;
        };
        let name = &rest[begin + 2..begin + length];
        let value = match name.split_once(':') {
            Some(("env", name)) => Some(
                std::env::var(name)
                    .map_err(|_| format!("refers to the environment variable {name}, which is not set")),
            ),
            Some(("file", path)) => {
                let path = folder.join(path);
                Some(
                    std::fs::read_to_string(&path)
                        .map(without_line_break)
                        .map_err(|error| {
                            format!(
                                "refers to the file {}, which cannot be read: {error}",
                                path.display()
                            )
                        }),
                )
            }
            Some((scheme, name)) => Some(Err(format!(
                "refers to {scheme}:{name}, but only ${{env:NAME}} and ${{file:PATH}} are known"
            ))),
            // As a shell or another program's settings would have it.
            None if is_variable(name) => Some(Err(format!(
                "has ${{{name}}}, which stands for nothing; for an environment variable write ${{env:{name}}}"
            ))),
            None => None,
        };
        replaced.push_str(&rest[..begin]);
        match value {
            Some(Ok(value)) => {
                any = true;
                replaced.push_str(&value);
            }
            Some(Err(problem)) => problems.push(problem),
            None => replaced.push_str(&rest[begin..=begin + length]),
        }
        rest = &rest[begin + length + 1..];
    }
    replaced.push_str(rest);
    if problems.is_empty() {
        Ok((replaced, any))
    } else {
        Err(problems)
    }
}

/// Whether this is how environment variables are named: `{app}` of a message is not.
fn is_variable(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_uppercase() || first == '_')
        && name
            .bytes()
            .all(|byte| matches!(byte, b'A'..=b'Z' | b'0'..=b'9' | b'_'))
}

fn without_line_break(mut text: String) -> String {
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    text
}
