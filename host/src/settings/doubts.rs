//! Which settings of a faulty file have no known value.
//!
//! All problems of a file are reported at once, so reading goes on after the first one, with the default in place of
//! each faulty value. A check that compares two settings must then be skipped if one of them is in doubt: it would
//! blame a value that is not in the file.

use std::collections::BTreeSet;

/// The settings in doubt, each a section and a key: they are wrong, or missing, or may be what an unknown key was meant
/// to be.
#[derive(Clone, Debug, Default)]
pub struct Doubts(BTreeSet<(String, String)>);

/// Stands for every key of a section, where a key is expected.
pub const WHOLE_SECTION: &str = "";

impl Doubts {
    /// Marks a setting as in doubt, or with [`WHOLE_SECTION`] all of its section.
    pub(super) fn add(&mut self, section: &str, key: &str) {
        self.0.insert((section.to_owned(), folded(key)));
    }

    /// Whether this setting is in doubt.
    pub(super) fn has(&self, section: &str, key: &str) -> bool {
        !self.among(&[(section, key)]).is_empty()
    }

    /// Those of `needed`, each a section and a key, that are in doubt, in the form for messages: `[store] url`.
    pub fn among(&self, needed: &[(&str, &str)]) -> Vec<String> {
        let is_in_doubt = |section: &str, key: &str| {
            let mut doubts = self.0.iter().filter(|(of, _)| of == section);
            doubts.any(|(_, doubt)| [doubt.as_str(), key].contains(&WHOLE_SECTION) || *doubt == folded(key))
        };
        let found = needed.iter().filter(|(section, key)| is_in_doubt(section, key));
        found
            .map(|(section, key)| format!("[{section}] {key}").trim_end().to_owned())
            .collect()
    }
}

/// The form in which keys are compared: `TOKEN_LENGTH`, `token_length` and `token-length` are one key.
pub(super) fn folded(key: &str) -> String {
    key.to_lowercase().replace('-', "_")
}
