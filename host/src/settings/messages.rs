//! The texts of `[phone_verification]`: `MESSAGE`, `MESSAGES`, and the last line below each.

use super::reader::{Section, text};
use crate::model::{
    Autofill, CodeFormat, Messages,
    autofill::{AppHash, MAX_BYTES_FOR_AN_APP, OriginHost},
    segments::Size,
};

/// Characters that a warning names.
const MAX_NAMED: usize = 3;

/// The texts and the rows of `MESSAGES` as they are shown. `None`: something is wrong, and the reader has it.
pub(super) fn read(
    section: &mut Section<'_>,
    code_format: CodeFormat,
) -> (Option<Messages>, Vec<(String, String)>) {
    let (message, line) = section.required("MESSAGE", text);
    let (app_name, _) = section.required("APP_NAME", text);
    let host = section.get("ORIGIN_HOST", |value| optional(&text(value)?, OriginHost::parse));
    let app = section.get("ANDROID_APP_HASH", |value| {
        optional(&text(value)?, AppHash::parse)
    });
    let has_app = app.is_some();
    let mut messages = Messages::new(&message, &app_name)
        .map(|messages| messages.with_autofill(Autofill { host, app }))
        .map_err(|bad| section.problem(line, &format!("MESSAGE cannot be used: {bad}")))
        .ok();
    let mut lines = vec![line];
    let mut shown = Vec::new();
    let rows = section.table("MESSAGES", false, "phone_verification.MESSAGES");
    for row in rows.into_iter().filter(|row| row.value.is_resolved()) {
        shown.push((row.key.clone(), row.value.to_toml()));
        let added = text(&row.value).and_then(|template| match &mut messages {
            Some(messages) => messages
                .add_language(&row.key, &template)
                .map_err(|bad| format!("cannot be used: {bad}")),
            None => Ok(()),
        });
        match added {
            Ok(()) => lines.push(Some(row.line)),
            Err(needed) => section.problem(Some(row.line), &format!("MESSAGES {} {needed}", row.key)),
        }
    }
    if let Some(messages) = &messages {
        for ((language, text), line) in messages.all(&code_format.example()).into_iter().zip(lines) {
            let name =
                language.map_or_else(|| "MESSAGE".to_owned(), |language| format!("MESSAGES {language}"));
            for warning in warnings(&text, has_app) {
                section.warning(line, &format!("{name} {warning}"));
            }
        }
    }
    (messages, shown)
}

/// An empty text is none.
fn optional<T>(text: &str, parse: impl Fn(&str) -> Result<T, String>) -> Result<Option<T>, String> {
    if text.is_empty() {
        Ok(None)
    } else {
        parse(text).map(Some)
    }
}

/// What should be known of a text before it is paid for.
fn warnings(text: &str, has_app: bool) -> Vec<String> {
    let mut warnings = Vec::new();
    let size = Size::of(text);
    if size.segments > 1 {
        let named: Vec<String> = size
            .beyond
            .iter()
            .take(MAX_NAMED)
            .map(|one| format!("\"{one}\""))
            .collect();
        let why = if named.is_empty() {
            String::new()
        } else {
            format!(", since the GSM alphabet lacks {}", named.join(", "))
        };
        warnings.push(format!(
            "is sent in {} segments, each of which is paid for: it takes {} characters, and one segment has {}{why}",
            size.segments, size.characters, size.room
        ));
    }
    if has_app && text.len() > MAX_BYTES_FOR_AN_APP {
        warnings.push(format!(
            "has {} bytes, and an Android app gets an SMS of at most {MAX_BYTES_FOR_AN_APP} by ANDROID_APP_HASH",
            text.len()
        ));
    }
    warnings
}
