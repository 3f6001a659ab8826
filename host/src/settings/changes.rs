//! Which settings need a restart: a reload cannot change them in a running daemon.

use super::Settings;

/// Sections that are read only at the start.
const SECTIONS: [&str; 4] = ["server", "store", "dispatch", "log"];
/// Single keys that are read only at the start, in sections which a reload otherwise applies.
const KEYS: [(&str, &str); 2] = [("plugins", "staging_directory"), ("plugins", "lock_file")];

/// Lists the settings that differ and take effect only after a restart, each as `[section] key`.
///
/// Compares the effective settings, which hold secrets masked: a change of `[store] keys` from one list to another is
/// therefore not seen.
pub fn need_restart(at_start: &Settings, now: &Settings) -> Vec<String> {
    // The effective settings have every key, so a key that is missing in one file is compared by its default.
    let table = |settings: &Settings| settings.effective.parse::<toml::Table>().unwrap_or_default();
    let (before, now) = (table(at_start), table(now));
    let mut changed = Vec::new();
    for (section, values) in &now {
        let Some(values) = values.as_table() else { continue };
        for (key, value) in values {
            let is_fixed = SECTIONS.contains(&section.as_str()) || KEYS.contains(&(section, key));
            let was = before.get(section).and_then(|section| section.get(key));
            if is_fixed && was != Some(value) {
                changed.push(format!("[{section}] {key}"));
            }
        }
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_at_the_start_alone_is_told_by_name() {
        let before = Settings::defaults();
        let changed = |from: &str, to: &str| {
            let mut now = Settings::defaults();
            assert!(now.effective.contains(from), "{from} in {}", now.effective);
            now.effective = now.effective.replacen(from, to, 1);
            need_restart(&before, &now)
        };
        assert_eq!(changed("127.0.0.1:8000", "127.0.0.1:9000"), ["[server] listen"]);
        assert_eq!(
            changed("concurrency = 256", "concurrency = 8"),
            ["[dispatch] concurrency"]
        );
        assert_eq!(changed("level = \"info\"", "level = \"debug\""), ["[log] level"]);
        assert_eq!(
            changed("staging_directory = \"\"", "staging_directory = \"a\""),
            ["[plugins] staging_directory"]
        );
        assert_eq!(changed("TOKEN_LENGTH = 6", "TOKEN_LENGTH = 8"), [""; 0]);
        assert_eq!(changed("trust = \"tofu\"", "trust = \"any\""), [""; 0]);
    }
}
