//! `nexmo.NexmoBackend`: the name by which settings choose a backend.

use std::fmt;

use super::refusal::{Refusal, code};

/// The longest library or backend name.
pub(super) const MAX_NAME_LENGTH: usize = 64;

/// A library and the name of a backend that it exports.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BackendName {
    /// The file's stem: `nexmo` of `libnexmo.so`.
    pub library: String,
    /// The export: `NexmoBackend`.
    pub backend: String,
}

impl BackendName {
    /// Reads a dotted path. The last segment is the backend, the one before it the library; what stands
    /// before that is ignored, so that `phone_verify.backends.nexmo.NexmoBackend` works unchanged. The error
    /// says what was found and what was needed.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let refused = |sentence: String| Refusal::new(code::NOT_A_NAME, sentence);
        let text = text.trim();
        let needed = "a backend is named `<library>.<Backend>`, such as `nexmo.NexmoBackend`";
        let mut segments = text.rsplit('.');
        let (Some(backend), Some(library)) = (segments.next(), segments.next()) else {
            return Err(refused(format!("{text:?} has no dot; {needed}")));
        };
        if backend.is_empty() || library.is_empty() {
            return Err(refused(format!("{text:?} has an empty part; {needed}")));
        }
        if !is_library_name(library) {
            return Err(refused(format!(
                "{library:?} is not a library name (1 to {MAX_NAME_LENGTH} of a-z, 0-9 and _); {needed}"
            )));
        }
        let word = |character: char| character.is_ascii_alphanumeric() || character == '_';
        if backend.len() > MAX_NAME_LENGTH || !backend.chars().all(word) {
            return Err(refused(format!(
                "{backend:?} is not a backend name (1 to {MAX_NAME_LENGTH} letters, digits and _); {needed}"
            )));
        }
        Ok(Self {
            library: library.to_owned(),
            backend: backend.to_owned(),
        })
    }
}

impl fmt::Display for BackendName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.library, self.backend)
    }
}

/// Whether a file of this stem is looked at in a plugin directory.
pub(super) fn is_library_name(stem: &str) -> bool {
    (1..=MAX_NAME_LENGTH).contains(&stem.len())
        && stem
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_two_segments_name_library_and_backend() {
        for text in [
            "nexmo.NexmoBackend",
            "phone_verify.backends.nexmo.NexmoBackend",
            " nexmo.NexmoBackend ",
        ] {
            let name = BackendName::parse(text).unwrap();
            assert_eq!(
                (name.library.as_str(), name.backend.as_str()),
                ("nexmo", "NexmoBackend")
            );
            assert_eq!(name.to_string(), "nexmo.NexmoBackend");
        }
    }

    #[test]
    fn a_name_that_cannot_be_is_refused_with_what_was_needed() {
        for (text, found) in [
            ("NexmoBackend", "\"NexmoBackend\" has no dot"),
            ("", "\"\" has no dot"),
            ("nexmo.", "\"nexmo.\" has an empty part"),
            (".NexmoBackend", "\".NexmoBackend\" has an empty part"),
            ("Nexmo.NexmoBackend", "\"Nexmo\" is not a library name"),
            (
                "../../tmp/evil.NexmoBackend",
                "\"/tmp/evil\" is not a library name",
            ),
            ("nexmo.Nexmo-Backend", "\"Nexmo-Backend\" is not a backend name"),
        ] {
            let refusal = BackendName::parse(text).unwrap_err().sentence;
            assert!(refusal.starts_with(found), "{refusal}");
            assert!(refusal.ends_with("such as `nexmo.NexmoBackend`"), "{refusal}");
        }
        assert!(BackendName::parse(&format!("{}.B", "x".repeat(65))).is_err());
    }
}
