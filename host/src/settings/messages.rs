//! The texts of SMS in `[phone_verification]`: `MESSAGE`, `MESSAGES` for other languages, and the autofill line that
//! phones and browsers look for at the end of each.

use super::reader::{Section, text};
use crate::model::{
    Autofill, CodeFormat, Language, Messages,
    autofill::{AppHash, MAX_BYTES_FOR_AN_APP, OriginHost},
    segments::Size,
};

/// How many characters a warning names as examples.
const MAX_NAMED: usize = 3;

/// The texts that were read.
pub(super) struct Texts {
    /// The templates. If `MESSAGE` is faulty, a problem is recorded and a template of only the code replaces it.
    pub(super) messages: Messages,
    /// The language of `MESSAGE`, as a tag in the operator's spelling.
    pub(super) language: String,
    /// The rows of `MESSAGES` for the effective settings.
    pub(super) shown: Vec<(String, String)>,
}

/// Reads the texts, and warns about texts that cost more than one segment or that an Android app cannot read.
pub(super) fn read(section: &mut Section<'_>, code_format: CodeFormat) -> Texts {
    let (message, line) = section.required("MESSAGE", text);
    let (app_name, _) = section.required("APP_NAME", text);
    let (written_in, language) = section.get("LANGUAGE", |value| {
        let tag = text(value)?;
        let language = Language::of_tag(&tag);
        let language =
            language.ok_or_else(|| format!("must be a language tag such as en or pt-BR, not {tag}"))?;
        Ok((tag, language))
    });
    let host = section.get("ORIGIN_HOST", |value| optional(&text(value)?, OriginHost::parse));
    let app = section.get("ANDROID_APP_HASH", |value| {
        optional(&text(value)?, AppHash::parse)
    });
    let has_app = app.is_some();
    // Reading goes on with a valid text, so that the problems of other languages are reported too.
    let made = Messages::new(&message, language.clone(), &app_name).or_else(|bad| {
        section.problem("MESSAGE", line, &format!("MESSAGE cannot be used: {bad}"));
        Messages::new("{security_code}", language, &app_name)
    });
    let mut messages = made
        .expect("the placeholder of the code alone is a whole template")
        .with_autofill(Autofill { host, app });
    let mut lines = vec![line];
    let mut shown = Vec::new();
    let rows = section.table("MESSAGES", false, "phone_verification.MESSAGES");
    for row in rows {
        shown.push((row.key.clone(), row.value.to_toml()));
        let added = text(&row.value).and_then(|template| {
            let added = messages.add_language(&row.key, &template);
            added
                .map(|twin| twin.map(|twin| same_language(twin, &written_in)))
                .map_err(|bad| format!("cannot be used: {bad}"))
        });
        match added {
            Ok(twin) => {
                lines.push(Some(row.line));
                if let Some(warning) = twin {
                    section.warning(Some(row.line), &format!("MESSAGES {} {warning}", row.key));
                }
            }
            Err(needed) => {
                let message = format!("MESSAGES {} {needed}", row.key);
                section.problem("MESSAGES", Some(row.line), &message);
            }
        }
    }
    // With an example code of the right length, each text has the size that will be paid for.
    for ((language, text), line) in messages.all(&code_format.example()).into_iter().zip(lines) {
        let name = language.map_or_else(|| "MESSAGE".to_owned(), |language| format!("MESSAGES {language}"));
        for warning in warnings(&text, has_app) {
            section.warning(line, &format!("{name} {warning}"));
        }
    }
    Texts {
        messages,
        language: written_in,
        shown,
    }
}

/// The warning that a row of `MESSAGES` has the same language as another row (`twin`), or as `MESSAGE` (`None`).
fn same_language(twin: Option<&str>, written_in: &str) -> String {
    match twin {
        Some(twin) => format!("is never sent: it is the same language as MESSAGES {twin}; keep one"),
        None => format!(
            "is in the language that MESSAGE is in by LANGUAGE, {written_in}: it is sent to those who want that language, \
             and MESSAGE to those who want none that there is; remove it, or set LANGUAGE to what MESSAGE is in"
        ),
    }
}

/// Parses a text, of which the empty one means that the setting is off.
fn optional<T>(text: &str, parse: impl Fn(&str) -> Result<T, String>) -> Result<Option<T>, String> {
    if text.is_empty() {
        Ok(None)
    } else {
        parse(text).map(Some)
    }
}

/// What the operator should know about a text before paying for it. `text` is complete, with an example code.
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

#[cfg(test)]
mod tests {
    use crate::settings::tests::{REQUIRED, parse, problems};

    #[test]
    fn a_text_that_costs_more_than_one_segment_is_told_with_what_makes_it_long() {
        let warnings = |message: &str, lines: &str| -> Vec<String> {
            let text = REQUIRED.replace("{app}: {security_code}", message);
            let text = text.replace("APP_NAME", &format!("{lines}\nAPP_NAME"));
            let warnings = parse(&text).unwrap().warnings;
            warnings.iter().map(ToString::to_string).collect()
        };
        let long = |letter: &str, times| format!("{} {{security_code}}", letter.repeat(times));
        assert_eq!(warnings(&long("a", 153), ""), [""; 0]);
        assert_eq!(
            warnings(&long("a", 154), ""),
            [
                "test.toml:5: [phone_verification] MESSAGE is sent in 2 segments, each of which is paid for: it takes 161 \
                 characters, and one segment has 160"
            ]
        );
        let table = format!("MESSAGES.es = \"óáóú{}\"", long("a", 60));
        assert_eq!(
            warnings("{security_code}", &table),
            [
                "test.toml:6: [phone_verification] MESSAGES es is sent in 2 segments, each of which is paid for: it takes \
                 71 characters, and one segment has 70, since the GSM alphabet lacks \"ó\", \"á\", \"ú\""
            ]
        );
        // The size includes the autofill line at the end.
        let host = "ORIGIN_HOST = \"example.com\"";
        assert_eq!(warnings(&long("a", 132), host), [""; 0]);
        assert_eq!(warnings(&long("a", 133), host).len(), 1);
        let app = "ANDROID_APP_HASH = \"FA+9qCX9VSu\"";
        assert_eq!(warnings(&long("a", 121), app), [""; 0]);
        assert_eq!(
            warnings(&long("a", 122), app),
            [
                "test.toml:5: [phone_verification] MESSAGE has 141 bytes, and an Android app gets an SMS of at most 140 by \
                 ANDROID_APP_HASH"
            ]
        );
    }

    #[test]
    fn two_texts_in_one_language_are_told() {
        let warnings = |lines: &str| -> Vec<String> {
            let text = REQUIRED.replace("APP_NAME", &format!("{lines}\nAPP_NAME"));
            let warnings = parse(&text).unwrap().warnings;
            warnings.iter().map(ToString::to_string).collect()
        };
        let (en, es) = (
            "MESSAGES.en = \"{security_code}\"",
            "MESSAGES.es = \"{security_code}\"",
        );
        assert_eq!(warnings(&format!("LANGUAGE = \"es\"\n{en}")), [""; 0]);
        assert_eq!(warnings("MESSAGES.en-GB = \"{security_code}\""), [""; 0]);
        for told in [warnings(en), warnings(&format!("LANGUAGE = \"ES\"\n{es}"))] {
            assert!(
                told.len() == 1 && told[0].contains("is in the language that MESSAGE is in by LANGUAGE"),
                "{told:?}"
            );
        }
        let older = "MESSAGES.he = \"{security_code}\"\nMESSAGES.iw = \"{security_code}\"";
        assert_eq!(
            warnings(older),
            [
                "test.toml:7: [phone_verification] MESSAGES iw is never sent: it is the same language as MESSAGES he; keep one"
            ]
        );
        assert_eq!(
            problems(&REQUIRED.replace("APP_NAME", "LANGUAGE = \"english language\"\nAPP_NAME")),
            [
                "test.toml:6: [phone_verification] LANGUAGE must be a language tag such as en or pt-BR, not english language"
            ]
        );
    }

    #[test]
    fn what_cannot_be_in_a_text_is_refused() {
        let refused = |lines: &str| problems(&REQUIRED.replace("APP_NAME", &format!("{lines}\nAPP_NAME")));
        assert_eq!(
            refused(
                "ORIGIN_HOST = \"https://example.com\"\nANDROID_APP_HASH = \"x\"\nMESSAGES.es = \"{code}\""
            ),
            [
                "test.toml:6: [phone_verification] ORIGIN_HOST must be a host such as example.com, without scheme, port and \
                 path, not https://example.com",
                "test.toml:7: [phone_verification] ANDROID_APP_HASH must be the 11 characters of the app's hash, such as \
                 FA+9qCX9VSu, not x",
                "test.toml:8: [phone_verification] MESSAGES es cannot be used: it has the placeholder {code}, but only \
                 {app} and {security_code} are filled in",
            ]
        );
        assert_eq!(
            refused("MESSAGES.castellano = \"{security_code}\""),
            [
                "test.toml:6: [phone_verification] MESSAGES castellano cannot be used: its name is no language tag \
                 such as es or pt-BR"
            ]
        );
    }
}
