//! Which settings a faulty file leaves in doubt. Their defaults are read in their place, so that the rest of the file can be
//! judged; what depends on one of them is not, or it would accuse a value that is not in the file.

use std::collections::BTreeSet;

/// Settings that are wrong, or missing, or perhaps meant by a key that is unknown.
#[derive(Clone, Debug, Default)]
pub struct Doubts(BTreeSet<(String, String)>);

/// In the place of a key: all of its section.
pub const WHOLE_SECTION: &str = "";

impl Doubts {
    /// Adds one, or all of a section.
    pub(super) fn add(&mut self, section: &str, key: &str) {
        self.0.insert((section.to_owned(), folded(key)));
    }

    /// Whether this setting is in doubt.
    pub(super) fn has(&self, section: &str, key: &str) -> bool {
        !self.among(&[(section, key)]).is_empty()
    }

    /// Those of `needed`, each a section and a key, that are in doubt, as a person writes them: `[store] url`.
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

/// How two spellings of one key are known to be one.
pub(super) fn folded(key: &str) -> String {
    key.to_lowercase().replace('-', "_")
}
