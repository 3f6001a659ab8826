//! The manifest: what a library says about itself, as a JSON text in the file.
//!
//! Invariant: a [`Manifest`] has schema 1, the host's ABI major, and at least one backend; every list is bounded; and
//! no text of it does anything to a terminal but to be read there, for operators look at a library before they trust
//! it.

use std::fmt;

use phone_verify_plugin_abi::{ABI_MAJOR, ABI_MINOR};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::grammar;
use crate::{
    model::is_harmful,
    refusal::{Refusal, code, hint, list},
};

/// A manifest is a page of text; more is a mistake or an attack.
pub(super) const MAX_LENGTH: usize = 256 * 1024;
const SCHEMA: u32 = 1;
const MAX_BACKENDS: usize = 64;
const MAX_OPTIONS: usize = 256;

/// What a library says about itself.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Manifest {
    /// The name that the library was built under; empty: not said.
    #[serde(default)]
    pub(crate) library: String,
    pub(crate) version: String,
    #[serde(default)]
    pub(crate) license: String,
    #[serde(default)]
    pub(crate) repository: String,
    pub(crate) abi: AbiVersion,
    /// Empty: it was built without the author's crate.
    #[serde(default)]
    pub(crate) plugin_api: String,
    pub(crate) backends: Vec<BackendInfo>,
    /// What its provider answers, for the conformance kit, which reads it: the lines of a text. A host looks at none of
    /// it.
    #[serde(default)]
    pub(crate) tape: Value,
    /// Warnings about unknown keys; a host ignores them.
    #[serde(skip)]
    pub(crate) unknown: Vec<String>,
}

/// The version of the ABI that a library was built against.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct AbiVersion {
    pub(crate) major: u16,
    pub(crate) minor: u16,
}

impl fmt::Display for AbiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// One backend of a library.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct BackendInfo {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) summary: String,
    #[serde(default)]
    pub(crate) sandbox: bool,
    /// Bits of the ABI's `overrides`; unknown bits are ignored.
    #[serde(default)]
    pub(crate) overrides: u64,
    /// The hosts that it calls.
    #[serde(default)]
    pub(crate) hosts: Vec<String>,
    /// Who makes sure that a request for its `receive` is the provider's: `signed`, the library, by a signature of every
    /// one; `secret`, or what is not known, the host, by a secret in the address. Empty: not said.
    #[serde(default)]
    pub(crate) webhook: String,
    /// Who says that a message is delivered: `carrier` or `handset`. Empty: not said.
    #[serde(default)]
    pub(crate) receipts: String,
    /// How its messages can go; empty: as SMS.
    #[serde(default)]
    pub(crate) channels: Vec<String>,
    /// Whether its provider makes and checks the codes.
    #[serde(default)]
    pub(crate) owns_code: bool,
    /// Whether it is to be told the code beside the text.
    #[serde(default)]
    pub(crate) wants_code: bool,
    #[serde(default)]
    pub(crate) options: Vec<OptionInfo>,
}

/// One option of a backend.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct OptionInfo {
    /// Its name; settings may write it in any case.
    pub name: String,
    /// Another name that is accepted, or empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub alias: String,
    /// `string`, `integer`, `bool`, `seconds`, `list`, or one that a later host knows.
    #[serde(rename = "type")]
    pub value_type: String,
    /// Whether it must be given.
    #[serde(default)]
    pub required: bool,
    /// Whether its value is masked everywhere.
    #[serde(default)]
    pub secret: bool,
    /// What it is when left out.
    #[serde(default)]
    pub default: Value,
    /// One sentence.
    #[serde(default)]
    pub help: String,
    /// A value as it may look.
    #[serde(default)]
    pub example: String,
}

/// What a manifest of any schema and ABI has.
#[derive(Deserialize)]
struct Envelope {
    schema: u32,
    abi: AbiVersion,
    #[serde(default)]
    plugin_api: String,
    #[serde(default)]
    panic: String,
}

impl Manifest {
    /// Reads a manifest; `file` names the library in a refusal.
    pub(crate) fn parse(file: &str, text: &[u8]) -> Result<Self, Refusal> {
        // What the author's crate writes names that crate; a C compiler takes the text as its author wrote it.
        let is_rust = text.windows(12).any(|part| part == b"\"plugin_api\"");
        let cure = if is_rust {
            "rebuild the library with phone-verify-plugin-api"
        } else {
            "correct the JSON of PV_MANIFEST, and rebuild the library"
        };
        let unreadable = |why: String| {
            let sentence = format!("the manifest of {file} cannot be read: {why}; {cure}");
            Refusal::new(code::BAD_MANIFEST, sentence)
        };
        if text.len() > MAX_LENGTH {
            return Err(unreadable(format!(
                "it has {} bytes, and {MAX_LENGTH} are allowed",
                text.len()
            )));
        }
        let whole: Value = serde_json::from_slice(text).map_err(|error| unreadable(no_json(text, &error)))?;
        let fits = |keys| match grammar::faults(&whole, keys) {
            faults if faults.is_empty() => Ok(()),
            faults => Err(unreadable(faults.join("; "))),
        };
        // Before all else, for what another version of the ABI or the schema has may look otherwise.
        fits(grammar::ENVELOPE)?;
        let envelope: Envelope =
            serde_json::from_slice(text).map_err(|error| unreadable(error.to_string()))?;
        if envelope.abi.major != ABI_MAJOR {
            return Err(other_abi(file, &envelope, is_rust));
        }
        if envelope.schema != SCHEMA {
            return Err(unreadable(format!(
                "its schema is {}, this host reads {SCHEMA}",
                envelope.schema
            )));
        }
        if envelope.panic == "abort" {
            return Err(Refusal::new(
                code::PANIC_ABORT,
                format!(
                    "{file} is built with panic = \"abort\", so that a panic in it would end the host; rebuild it \
                     without that line in its Cargo.toml"
                ),
            ));
        }
        // The tape holds what a provider answers, which may be anything, and is never shown.
        let shown = whole.as_object().into_iter().flatten();
        if !shown
            .filter(|(key, _)| *key != "tape")
            .all(|(_, value)| is_readable(value))
        {
            let why = "it holds control characters, or such as turn the direction of text";
            return Err(unreadable(why.to_owned()));
        }
        fits(grammar::MANIFEST)?;
        // What fits and is refused all the same has a key twice.
        let mut manifest: Self =
            serde_json::from_slice(text).map_err(|error| unreadable(error.to_string()))?;
        manifest.unknown = grammar::unknown(&whole);
        if manifest.backends.is_empty() {
            return Err(unreadable("it names no backend".to_owned()));
        }
        let options = manifest
            .backends
            .iter()
            .map(|backend| backend.options.len())
            .max();
        if manifest.backends.len() > MAX_BACKENDS || options > Some(MAX_OPTIONS) {
            return Err(unreadable(format!(
                "it names more than {MAX_BACKENDS} backends or {MAX_OPTIONS} options"
            )));
        }
        Ok(manifest)
    }

    /// What a version of the ABI that is newer than the host's means. It is no reason against the library: a minor
    /// version only adds, and what is not there a library does without.
    pub(crate) fn newer_abi(&self) -> Option<String> {
        (self.abi.minor > ABI_MINOR).then(|| {
            format!(
                "the library is built for version {} of the backend ABI, and this phone-verify speaks \
                 {ABI_MAJOR}.{ABI_MINOR}: it runs, without what the later versions added",
                self.abi
            )
        })
    }

    /// The methods that any of its backends overrides: bits of the ABI's `overrides`.
    pub(crate) fn overrides(&self) -> u64 {
        self.backends
            .iter()
            .fold(0, |bits, backend| bits | backend.overrides)
    }

    /// The row of one backend, which this host can use.
    pub(crate) fn backend(&self, file: &str, name: &str) -> Result<&BackendInfo, Refusal> {
        let mut backends = self.backends.iter();
        let backend = backends.find(|backend| backend.name == name).ok_or_else(|| {
            let names: Vec<String> = self.backends.iter().map(|backend| backend.name.clone()).collect();
            Refusal::new(
                code::UNKNOWN_BACKEND,
                format!(
                    "{file} has no backend {name}, only {}{}; correct BACKEND",
                    list(&names),
                    hint(name, names.iter().map(String::as_str)),
                ),
            )
        })?;
        let needed = [
            (backend.owns_code, "owns_code"),
            (backend.wants_code, "wants_code"),
        ];
        match needed.into_iter().find(|(is_needed, _)| *is_needed) {
            Some((_, key)) => Err(Refusal::new(
                code::NOT_OFFERED,
                format!(
                    "{name} of {file} has {key} in its manifest, and this phone-verify makes and words all codes itself; use \
                     a backend without that, or a later phone-verify"
                ),
            )),
            None => Ok(backend),
        }
    }
}

/// Of a library of another major version of the ABI. An author in C has a header, and no crate.
fn other_abi(file: &str, envelope: &Envelope, is_rust: bool) -> Refusal {
    let (found, built_with, cure) = (
        envelope.abi,
        short(&envelope.plugin_api),
        format!("{ABI_MAJOR}.x"),
    );
    let sentence = if is_rust {
        format!(
            "{file} speaks version {found} of the backend ABI (phone-verify-plugin-api {built_with}), this host speaks \
             {ABI_MAJOR}.{ABI_MINOR}; rebuild the library against plugin-api {cure} or use a host of its version"
        )
    } else {
        format!(
            "{file} speaks version {found} of the backend ABI, by abi in its PV_MANIFEST, this host speaks \
             {ABI_MAJOR}.{ABI_MINOR}; rebuild the library with the phone_verify_plugin.h whose PV_ABI_MAJOR is {ABI_MAJOR}, \
             and with \"abi\": {{\"major\": {ABI_MAJOR}, \"minor\": {ABI_MINOR}}} in PV_MANIFEST, or use a host of its \
             version"
        )
    };
    Refusal::new(code::ABI_MAJOR, sentence)
}

/// Where a text ceases to be JSON: by what stands before that, for a compiler put the text into one line, and its
/// author never saw that line.
fn no_json(text: &[u8], error: &serde_json::Error) -> String {
    let before = before(text, error.line(), error.column());
    if error.is_eof() {
        return format!("it is no whole JSON: it ends after {before}");
    }
    let place = format!(" at line {} column {}", error.line(), error.column());
    let words = error.to_string();
    let words = words.strip_suffix(&place).unwrap_or(&words);
    format!("it is no JSON from the end of {before} on: {words}")
}

/// The last of a text up to a place, which is counted in bytes from 1.
fn before(text: &[u8], line: usize, column: usize) -> String {
    const SHOWN: usize = 40;
    let lines = text.split_inclusive(|byte| *byte == b'\n');
    let above: usize = lines.take(line.saturating_sub(1)).map(<[u8]>::len).sum();
    let all = String::from_utf8_lossy(&text[..(above + column).min(text.len())]).into_owned();
    let plain = all.chars().filter(|character| !is_harmful(*character));
    let plain: Vec<char> = plain.collect();
    let first = plain.len().saturating_sub(SHOWN);
    let cut = if first > 0 { "…" } else { "" };
    format!("`{cut}{}`", plain[first..].iter().collect::<String>())
}

fn is_readable(value: &Value) -> bool {
    let is_plain = |text: &str| !text.chars().any(is_harmful);
    match value {
        Value::String(text) => is_plain(text),
        Value::Array(items) => items.iter().all(is_readable),
        Value::Object(members) => members
            .iter()
            .all(|(name, value)| is_plain(name) && is_readable(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => true,
    }
}

/// A text of a foreign file, fit for a sentence.
fn short(text: &str) -> String {
    let text: String = text
        .chars()
        .filter(|character| !is_harmful(*character))
        .take(32)
        .collect();
    if text.is_empty() {
        "unknown".to_owned()
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(manifest: &Value) -> Result<Manifest, Refusal> {
        Manifest::parse("libacme.so", manifest.to_string().as_bytes())
    }

    fn manifest() -> Value {
        json!({
            "schema": 1, "library": "acme", "version": "1.2.3", "license": "MIT", "repository": "",
            "abi": {"major": 1, "minor": 7}, "plugin_api": "1.7.0", "panic": "unwind", "later": true,
            "backends": [{"name": "AcmeBackend", "options": [{"name": "KEY", "type": "string", "later": 1}]}],
        })
    }

    #[test]
    fn what_a_later_library_adds_is_ignored() {
        let manifest = parse(&manifest()).unwrap();
        assert_eq!(manifest.abi.minor, 7);
        assert_eq!(
            manifest.newer_abi().unwrap(),
            "the library is built for version 1.7 of the backend ABI, and this phone-verify speaks 1.1: it runs, without \
             what the later versions added"
        );
        assert_eq!(
            manifest
                .backend("libacme.so", "AcmeBackend")
                .unwrap()
                .options
                .len(),
            1
        );
    }

    #[test]
    fn a_backend_that_needs_what_this_host_does_not_offer_is_refused_and_no_other_of_its_library() {
        for key in ["owns_code", "wants_code"] {
            let mut manifest = manifest();
            manifest["backends"][0][key] = true.into();
            let usual = json!({"name": "UsualBackend"});
            manifest["backends"].as_array_mut().unwrap().push(usual);
            let manifest = parse(&manifest).unwrap();
            let refusal = manifest.backend("libacme.so", "AcmeBackend").unwrap_err();
            assert_eq!(refusal.code, code::NOT_OFFERED);
            assert_eq!(
                refusal.sentence,
                format!(
                    "AcmeBackend of libacme.so has {key} in its manifest, and this phone-verify makes and words all codes \
                     itself; use a backend without that, or a later phone-verify"
                )
            );
            assert!(manifest.backend("libacme.so", "UsualBackend").is_ok());
        }
    }

    #[test]
    fn another_abi_is_refused_whatever_else_changed() {
        let refusal =
            parse(&json!({"schema": 9, "abi": {"major": 2, "minor": 1}, "plugin_api": "2.1.0"})).unwrap_err();
        assert_eq!(refusal.code, code::ABI_MAJOR);
        assert_eq!(
            refusal.sentence,
            "libacme.so speaks version 2.1 of the backend ABI (phone-verify-plugin-api 2.1.0), this host speaks 1.1; \
             rebuild the library against plugin-api 1.x or use a host of its version"
        );
        // An author in C has a header, and no crate.
        let refusal = parse(&json!({"schema": 1, "abi": {"major": 2, "minor": 0}})).unwrap_err();
        assert_eq!(refusal.code, code::ABI_MAJOR);
        assert_eq!(
            refusal.sentence,
            "libacme.so speaks version 2.0 of the backend ABI, by abi in its PV_MANIFEST, this host speaks 1.1; rebuild the \
             library with the phone_verify_plugin.h whose PV_ABI_MAJOR is 1, and with \"abi\": {\"major\": 1, \"minor\": 1} \
             in PV_MANIFEST, or use a host of its version"
        );
    }

    #[test]
    fn a_manifest_that_cannot_be_is_refused() {
        let mut schema = manifest();
        schema["schema"] = 2.into();
        let mut empty = manifest();
        empty["backends"] = json!([]);
        let mut wrong = manifest();
        wrong["backends"][0]["name"] = 1.into();
        let (mut clears, mut turns) = (manifest(), manifest());
        clears["backends"][0]["summary"] = "\u{1b}[2J".into();
        turns["backends"][0]["options"][0]["help"] = "\u{202e}".into();
        let mut abort = manifest();
        abort["panic"] = "abort".into();
        for (manifest, code, found) in [
            (
                schema,
                code::BAD_MANIFEST,
                "its schema is 2, this host reads 1; rebuild",
            ),
            (empty, code::BAD_MANIFEST, "it names no backend; rebuild"),
            (
                wrong,
                code::BAD_MANIFEST,
                "cannot be read: backends[0].name is another number, and must be a text; rebuild",
            ),
            (clears, code::BAD_MANIFEST, "it holds control characters, or"),
            (turns, code::BAD_MANIFEST, "it holds control characters, or"),
            (abort, code::PANIC_ABORT, "is built with panic = \"abort\""),
            (
                json!("text"),
                code::BAD_MANIFEST,
                "cannot be read: it is a text, and must be an object; correct the JSON of PV_MANIFEST",
            ),
        ] {
            let refusal = parse(&manifest).unwrap_err();
            assert_eq!(refusal.code, code);
            assert!(refusal.sentence.contains(found), "{refusal}");
        }
        for (text, found) in [
            (
                "{\"schema\": 1",
                "it is no whole JSON: it ends after `{\"schema\": 1`; correct",
            ),
            (
                "{\"schema\": 1,}",
                "it is no JSON from the end of `{\"schema\": 1,}` on: trailing comma; correct",
            ),
            (
                r#"{"schema": 1, "schema": 1, "abi": {"major": 1, "minor": 0}}"#,
                "duplicate field `schema`",
            ),
        ] {
            let refusal = Manifest::parse("libacme.so", text.as_bytes()).unwrap_err();
            assert_eq!(refusal.code, code::BAD_MANIFEST);
            assert!(refusal.sentence.contains(found), "{refusal}");
        }
        let refusal = Manifest::parse("libacme.so", &vec![b' '; MAX_LENGTH + 1]).unwrap_err();
        assert!(
            refusal
                .sentence
                .contains("it has 262145 bytes, and 262144 are allowed")
        );
    }

    #[test]
    fn an_unknown_backend_is_refused_with_those_that_are_there() {
        let manifest = parse(&manifest()).unwrap();
        let refusal = manifest.backend("libacme.so", "AcmeBackends").unwrap_err();
        assert_eq!(refusal.code, code::UNKNOWN_BACKEND);
        assert_eq!(
            refusal.sentence,
            "libacme.so has no backend AcmeBackends, only AcmeBackend; did you mean AcmeBackend?; correct BACKEND"
        );
    }
}
