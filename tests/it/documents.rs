//! What the documents say is what the program has.

use std::fs;

use phone_verify_tests::artifacts::workspace;

fn read(file: &str) -> String {
    fs::read_to_string(workspace().join(file)).unwrap()
}

/// The sections of `host/default.toml` with the comments before them, each as the page of the settings shows it.
fn sections() -> Vec<String> {
    let defaults = read("host/default.toml");
    let mut sections: Vec<(String, String)> = Vec::new();
    for paragraph in defaults.trim_end().split("\n\n") {
        let name = paragraph
            .lines()
            .find_map(|line| line.strip_prefix('[')?.strip_suffix(']'));
        match (name, sections.last_mut()) {
            (Some(name), _) => sections.push((name.to_owned(), paragraph.to_owned())),
            (None, Some((_, before))) => before.push_str(&format!("\n\n{paragraph}")),
            // What is said of the whole file, the page says in its own words.
            (None, None) => {}
        }
    }
    let shown = |(name, text)| format!("## `[{name}]`\n\n```toml\n{text}\n```\n");
    sections.into_iter().map(shown).collect()
}

#[test]
fn the_page_of_the_settings_has_all_of_them_as_they_are() {
    let page = read("host/docs/settings.md");
    let (_, shown) = page
        .split_once("\n## `[")
        .expect("the page has a heading for each section");
    let expected = sections().join("\n");
    assert_eq!(
        format!("## `[{shown}"),
        expected,
        "host/docs/settings.md is not what host/default.toml says: copy the changed sections there"
    );
}
