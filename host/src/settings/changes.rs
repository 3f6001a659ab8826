//! Which settings need a restart: a reload cannot change them in a running daemon.

use std::{
    collections::{BTreeMap, hash_map::DefaultHasher},
    fmt,
    hash::{Hash, Hasher},
};

use super::{Keys, Settings};

/// Sections that are read only at the start.
const SECTIONS: [&str; 5] = ["server", "store", "dispatch", "events", "log"];
/// Single keys that are read only at the start, in sections which a reload otherwise applies.
const KEYS: [(&str, &str); 2] = [("plugins", "staging_directory"), ("plugins", "lock_file")];
/// A reload exchanges keys for others. Only whether the settings have keys at all is read at the start.
const STORE_KEYS: (&str, &str) = ("store", "keys");

/// A hash of the value of each setting, by section and key, so that a change of a value is seen which the effective
/// settings mask. Kept in memory only; never printed, since the hash of a short secret tells the secret to somebody who
/// tries all.
#[derive(Default)]
pub(super) struct Fingerprints(BTreeMap<(&'static str, &'static str), u64>);

impl Fingerprints {
    /// Adds a setting with its value as TOML, secrets included.
    pub(super) fn add(&mut self, section: &'static str, key: &'static str, value: &str) {
        let mut hasher = DefaultHasher::new();
        value.hash(&mut hasher);
        self.0.insert((section, key), hasher.finish());
    }

    /// The settings of these sections.
    pub(super) fn of_sections(&self, sections: &[&str]) -> Vec<(&(&'static str, &'static str), &u64)> {
        let all = self.0.iter();
        all.filter(|((section, _), _)| sections.contains(section))
            .collect()
    }
}

impl fmt::Debug for Fingerprints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Lists the settings that differ and take effect only after a restart, each as `[section] key`.
pub fn need_restart(at_start: &Settings, now: &Settings) -> Vec<String> {
    let has_changed = |at: &(&'static str, &'static str)| {
        if *at == STORE_KEYS {
            let are_given = |settings: &Settings| matches!(settings.store.keys, Keys::Given(_));
            return are_given(at_start) != are_given(now);
        }
        at_start.fingerprints.0.get(at) != now.fingerprints.0.get(at)
    };
    // Both have every setting: one that a file leaves out has its default there.
    let fixed = now
        .fingerprints
        .0
        .keys()
        .filter(|at| SECTIONS.contains(&at.0) || KEYS.contains(at));
    fixed
        .filter(|at| has_changed(at))
        .map(|(section, key)| format!("[{section}] {key}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{super::tests, *};

    /// Settings with these lines besides the required ones.
    fn with(lines: &str) -> Settings {
        tests::parse(&format!("{}{lines}\n", tests::REQUIRED)).unwrap()
    }

    #[test]
    fn what_is_read_at_the_start_alone_is_told_by_name() {
        let before = with("");
        let changed = |lines: &str| need_restart(&before, &with(lines));
        assert_eq!(
            changed("[server]\nlisten = \"127.0.0.1:9000\""),
            ["[server] listen"]
        );
        assert_eq!(changed("[dispatch]\nconcurrency = 8"), ["[dispatch] concurrency"]);
        assert_eq!(changed("[log]\nlevel = \"debug\""), ["[log] level"]);
        assert_eq!(
            changed("[plugins]\nstaging_directory = \"a\""),
            ["[plugins] staging_directory"]
        );
        assert_eq!(changed("[plugins]\ntrust = \"any\""), [""; 0]);
        assert_eq!(changed("[limits]\nnumber_per_hour = 2"), [""; 0]);
    }

    #[test]
    fn a_value_that_is_not_shown_is_told_when_it_changes() {
        let folder = tempfile::tempdir().unwrap();
        let address = |address: &str| {
            std::fs::write(folder.path().join("address"), address).unwrap();
            let text = format!("{}[server]\nlisten = \"${{file:address}}\"\n", tests::REQUIRED);
            Settings::parse("test.toml", text.as_bytes(), folder.path()).unwrap()
        };
        let before = address("127.0.0.1:8000");
        assert_eq!(need_restart(&before, &address("127.0.0.1:8000")), [""; 0]);
        assert_eq!(
            need_restart(&before, &address("127.0.0.1:9000")),
            ["[server] listen"]
        );
    }

    #[test]
    fn keys_are_exchanged_by_a_reload_but_not_begun_to_be_given() {
        let keys = |keys: &str| with(&format!("[store]\nkeys = [{keys}]"));
        let (one, other) = ("1f".repeat(32), "2e".repeat(32));
        let (one, other) = (keys(&format!("\"{one}\"")), keys(&format!("\"{other}\"")));
        assert_eq!(need_restart(&one, &other), [""; 0]);
        assert_eq!(need_restart(&keys(""), &one), ["[store] keys"]);
        assert_eq!(need_restart(&one, &keys("")), ["[store] keys"]);
    }
}
