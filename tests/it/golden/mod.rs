//! The text of every refusal, word by word: what an operator or an author reads when a library is not taken. A changed
//! sentence is a changed snapshot; `INSTA_UPDATE=always` writes it.

mod files;
mod loading;
mod options;
mod trust;
#[cfg(unix)]
mod workers;

use std::{collections::BTreeSet, fs, path::Path};

use phone_verify_plugin_host::Refusal;
use phone_verify_tests::artifacts::workspace;

/// Refusals, a line each, without what is another on every machine.
struct Told {
    lines: Vec<String>,
}

impl Told {
    fn nothing() -> Self {
        Self { lines: Vec::new() }
    }

    /// Adds refusals; `folder` is where their files lie.
    fn refusals(&mut self, folder: &Path, refusals: Vec<Refusal>) {
        assert!(!refusals.is_empty());
        for refusal in refusals {
            self.line(folder, refusal.code, &refusal.sentence);
        }
    }

    fn line(&mut self, folder: &Path, code: &str, sentence: &str) {
        let sentence = sentence
            .replace(
                &folder.canonicalize().unwrap_or_default().display().to_string(),
                "…",
            )
            .replace(&folder.display().to_string(), "…")
            .replace(&workspace().display().to_string(), "…")
            .replace(std::env::consts::ARCH, "<arch>");
        assert!(
            !sentence.contains('\n') && sentence.len() > 20,
            "{code} is no sentence: {sentence}"
        );
        self.lines.push(format!("{code} {sentence}"));
    }

    fn text(self) -> String {
        self.lines.join("\n\n")
    }
}

/// The codes that a text names.
fn codes(text: &str, before: &str) -> BTreeSet<String> {
    text.split(before)
        .skip(1)
        .filter_map(|rest| rest.get(..4))
        .filter(|code| code.starts_with('P') && code[1..].bytes().all(|byte| byte.is_ascii_digit()))
        .map(str::to_owned)
        .collect()
}

/// All codes that the host can tell.
pub(crate) fn all_codes() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders = ["host/src", "host/plugin-host/src"]
        .map(|folder| workspace().join(folder))
        .to_vec();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.extend(codes(&fs::read_to_string(&path).unwrap_or_default(), "\""));
            }
        }
    }
    found
}

#[test]
fn every_code_has_its_golden_text() {
    let folder = workspace().join("tests/it/golden/snapshots");
    let mut golden = BTreeSet::new();
    for entry in fs::read_dir(folder).unwrap() {
        golden.extend(codes(&fs::read_to_string(entry.unwrap().path()).unwrap(), "\n"));
    }
    let all = all_codes();
    assert!(all.len() > 40, "{all:?}");
    assert_eq!(
        all, golden,
        "left: the codes of the host; right: those whose text is held"
    );
}

#[test]
fn every_code_is_in_the_guide_with_cause_and_cure() {
    let guide = fs::read_to_string(workspace().join("plugin-api/docs/refusals.md")).unwrap();
    assert_eq!(
        all_codes(),
        codes(&guide, "\n| "),
        "left: the codes of the host; right: those of the guide"
    );
}
