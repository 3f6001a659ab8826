//! Property tests: any change to a settings file leads either to valid settings, or to problems with file and line.
//! Neither the effective settings, nor a warning, nor a problem may repeat a secret.
//!
//! `PROPTEST_CASES` sets how many files are generated.

use std::sync::LazyLock;

use proptest::{collection::vec, prelude::*, sample::Index};

use super::{DEFAULTS, Settings};

/// A reference to the secret, as an operator writes it in the settings file.
const REFERENCE: &str = "\"${file:secret}\"";
/// The secret that the reference is replaced with.
const SECRET: &str = "s3cret-Zq7vX2mKc9";
/// What the effective settings show instead of a secret.
const MASK: &str = "\"***\"";

static FOLDER: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("secret"), SECRET).unwrap();
    folder
});

/// Values, and pieces of TOML, that a person may write by mistake in place of the right one.
const SCRAPS: [&str; 25] = [
    REFERENCE,
    "",
    "0",
    "-1",
    "5",
    "9223372036854775807",
    "1e308",
    "nan",
    "true",
    "\"\"",
    "\"x\"",
    "[]",
    "[1, \"a\"]",
    "{}",
    "{ a = 1 }",
    "2026-01-01",
    "[[server]]",
    "[phone_verification]",
    "\"${env:HOME}\"",
    "\"${file:/nowhere}\"",
    "\"${\"",
    "\"\u{0}\"",
    "\"\"\"",
    "ключ",
    "\u{feff}",
];

/// A change to one line of the settings file.
#[derive(Clone, Debug)]
enum Change {
    Value(&'static str),
    Key(String),
    Drop,
    Double,
    Insert(&'static str),
    Comment,
}

fn change() -> impl Strategy<Value = Change> {
    let scrap = || prop::sample::select(SCRAPS.to_vec());
    prop_oneof![
        6 => scrap().prop_map(Change::Value),
        2 => "[A-Za-z_.\" -]{0,30}".prop_map(Change::Key),
        1 => Just(Change::Drop),
        1 => Just(Change::Double),
        2 => scrap().prop_map(Change::Insert),
        1 => Just(Change::Comment),
    ]
}

/// The documented defaults without their comments, with a secret added to the backend's options.
fn lines() -> Vec<String> {
    let options = format!("[phone_verification.OPTIONS]\nKEY = \"key\"\nANY = {REFERENCE}");
    let text = DEFAULTS.replace("[phone_verification.OPTIONS]", &options);
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(str::to_owned).collect()
}

fn changed(changes: &[(Index, Change)]) -> String {
    let mut lines = lines();
    for (at, change) in changes {
        let at = at.index(lines.len());
        let (key, value) = lines[at].split_once('=').unwrap_or((&lines[at], ""));
        let line = match change {
            Change::Value(scrap) => format!("{key}= {scrap}"),
            Change::Key(name) => format!("{name} ={value}"),
            Change::Drop => String::new(),
            Change::Double => format!("{0}\n{0}", lines[at]),
            Change::Insert(scrap) => format!("{scrap}\n{}", lines[at]),
            Change::Comment => format!("# {}", lines[at]),
        };
        lines[at] = line;
    }
    lines.join("\n")
}

/// Whether every masked value of these effective settings is an option of the backend.
fn masks_options_alone(effective: &str) -> bool {
    let mut section = "";
    effective.lines().all(|line| {
        if line.starts_with('[') {
            section = line;
        }
        section == "[phone_verification.OPTIONS]" || !line.contains(MASK)
    })
}

/// Reads a file and asserts the property; `true` if it leads to settings, `false` if it leads to problems.
fn judged(text: &[u8]) -> Result<bool, TestCaseError> {
    match Settings::parse("test.toml", text, FOLDER.path()) {
        Ok(settings) => {
            let told = format!("{}{:?}", settings.effective, settings.warnings);
            prop_assert!(!told.contains(SECRET), "{}", told);
            // The effective settings must be readable again. Not tested where a value is masked that is no option: only
            // an option may hold any text, so a mask in place of another setting, such as a key, is rightly refused.
            if masks_options_alone(&settings.effective) {
                let again = Settings::parse("effective.toml", settings.effective.as_bytes(), FOLDER.path());
                prop_assert!(again.is_ok(), "{:?} in\n{}", again.err(), settings.effective);
            }
            Ok(true)
        }
        Err(problems) => {
            prop_assert!(!problems.is_empty());
            for problem in problems {
                let told = problem.to_string();
                prop_assert!(
                    told.starts_with("test.toml") && !problem.message.is_empty(),
                    "{}",
                    told
                );
                prop_assert!(!told.contains(SECRET), "{}", told);
            }
            Ok(false)
        }
    }
}

#[test]
fn what_is_changed_is_good_before() {
    let text = lines().join("\n");
    assert!(judged(text.as_bytes()).unwrap());
    let settings = Settings::parse("test.toml", text.as_bytes(), FOLDER.path()).unwrap();
    assert!(masks_options_alone(&settings.effective), "{}", settings.effective);
}

proptest! {
    #[test]
    fn a_changed_file_leads_to_settings_or_problems(changes in vec((any::<Index>(), change()), 1..6)) {
        judged(changed(&changes).as_bytes())?;
    }

    #[test]
    fn a_damaged_file_leads_to_settings_or_problems(damage in vec((any::<Index>(), any::<u8>()), 1..6)) {
        let mut bytes = lines().join("\n").into_bytes();
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        judged(&bytes)?;
    }
}
