//! The names of the log's fields: those that `host/docs/logging.md` lists, and no others.

use std::{collections::BTreeSet, fs};

use phone_verify_tests::artifacts::workspace;

/// The names in the table of the document.
pub(super) fn documented() -> BTreeSet<String> {
    let document = fs::read_to_string(workspace().join("host/docs/logging.md")).unwrap();
    let rows = document.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.filter_map(|row| Some(row.split_once('`')?.0.to_owned()))
        .collect()
}

/// What the formatter itself writes: of each line, of a request, and of lost lines.
const OF_THE_FORMATTER: [&str; 7] = [
    "timestamp",
    "level",
    "target",
    "message",
    "request_id",
    "trace_id",
    "lost",
];
const MACROS: [&str; 6] = ["error!(", "warn!(", "info!(", "debug!(", "trace!(", "event!("];

/// The arguments of a macro call up to its closing bracket.
fn arguments(text: &str) -> Vec<String> {
    let (mut depth, mut is_text, mut is_escaped) = (0_u32, false, false);
    let mut arguments = vec![String::new()];
    for character in text.chars() {
        if is_text {
            is_text = is_escaped || character != '"';
            is_escaped = !is_escaped && character == '\\';
        } else {
            match character {
                '"' => is_text = true,
                '(' | '[' | '{' => depth += 1,
                ')' if depth == 0 => break,
                ')' | ']' | '}' => depth -= 1,
                ',' if depth == 0 => {
                    arguments.push(String::new());
                    continue;
                }
                _ => {}
            }
        }
        arguments.last_mut().unwrap().push(character);
    }
    arguments
}

/// The names of the fields among the arguments, which end at the text.
fn names(arguments: &[String]) -> Vec<String> {
    arguments
        .iter()
        .map(|argument| argument.trim())
        .take_while(|argument| !argument.starts_with('"'))
        .filter(|argument| !argument.is_empty())
        .filter(|argument| !argument.starts_with("target:") && !argument.starts_with("tracing::Level"))
        .map(|argument| {
            let name = argument.split_once('=').map_or(argument, |(name, _)| name);
            name.trim().trim_start_matches(['%', '?']).to_owned()
        })
        .collect()
}

#[test]
fn the_document_lists_every_field_that_is_logged_and_no_other() {
    let mut logged: BTreeSet<String> = OF_THE_FORMATTER.map(str::to_owned).into();
    let sources = ["host/src", "host/domain/src", "host/plugin-host/src"].map(crate::architecture::sources);
    for (file, source) in sources.concat() {
        let code = crate::architecture::code(&source);
        // What only tests log is theirs.
        let calls = code.match_indices("tracing::").filter_map(|(at, word)| {
            let call = &code[at + word.len()..];
            MACROS.iter().find_map(|name| call.strip_prefix(name))
        });
        for call in calls {
            for name in names(&arguments(call)) {
                let is_name = name
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte == b'_' || byte.is_ascii_digit());
                assert!(is_name, "{file} logs a field whose name cannot be told: {name}");
                assert!(
                    !OF_THE_FORMATTER[..4].contains(&name.as_str()),
                    "{file} logs a field {name}, which each line has"
                );
                logged.insert(name);
            }
        }
    }
    assert_eq!(logged, documented());
}
