//! The files of a new crate: `examples/custom-backend` with its names replaced. The tests build, load and send through
//! that example, so what an author gets is known to work.

use super::{Naming, vendor};

/// The files of the example.
const TEMPLATE: [(&str, &str); 6] = [
    (
        "Cargo.toml",
        include_str!("../../../../../examples/custom-backend/Cargo.toml"),
    ),
    (
        "acme.tape.toml",
        include_str!("../../../../../examples/custom-backend/acme.tape.toml"),
    ),
    (
        "src/lib.rs",
        include_str!("../../../../../examples/custom-backend/src/lib.rs"),
    ),
    (
        "src/backend.rs",
        include_str!("../../../../../examples/custom-backend/src/backend.rs"),
    ),
    (
        "src/sandbox.rs",
        include_str!("../../../../../examples/custom-backend/src/sandbox.rs"),
    ),
    (
        "src/tests.rs",
        include_str!("../../../../../examples/custom-backend/src/tests.rs"),
    ),
];

/// The author's crate as the example's manifest names it.
const PATH_IN_EXAMPLE: &str = "path = \"../../plugin-api\"";

/// The files, each as its path and content. `plugin_api` is the folder of the author's crate; `None`: its sources are
/// written into the new crate.
pub(super) fn files(naming: &Naming, plugin_api: Option<&str>) -> Vec<(String, String)> {
    let mut files: Vec<(String, String)> = TEMPLATE
        .iter()
        .map(|(path, text)| (naming.rename(path), naming.rename(text)))
        .collect();
    let path = toml::Value::from(plugin_api.unwrap_or(vendor::CRATE));
    if let Some((_, manifest)) = files.iter_mut().find(|(path, _)| path == "Cargo.toml") {
        *manifest = manifest
            .replace(
                "A backend of your own for phone-verify: copy this folder and begin",
                &format!("Sends SMS for phone-verify through {}", naming.type_name()),
            )
            .replace(
                "# In a folder of your own, name the version instead: phone-verify-plugin-api = \"0.1\"\n",
                "",
            )
            .replace(PATH_IN_EXAMPLE, &format!("path = {path}"));
        if plugin_api.is_none() {
            manifest.push_str(&format!("exclude = [{:?}]\n", vendor::FOLDER));
        }
    }
    files.push((".gitignore".to_owned(), "/target\n".to_owned()));
    if plugin_api.is_none() {
        files.extend(vendor::files());
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_the_example_is_left_but_what_it_says() {
        let files = files(&Naming::new("best_sms"), None);
        for (path, text) in files.iter().filter(|(path, _)| !path.starts_with("vendor/")) {
            for left in ["acme", "Acme", "../..", "copy this folder"] {
                assert!(
                    !text.contains(left) && !path.contains(left),
                    "{path} holds {left}: {text}"
                );
            }
        }
        let text_of = |path: &str| files.iter().find(|(known, _)| known == path).unwrap().1.as_str();
        let manifest: toml::Table = text_of("Cargo.toml").parse().unwrap();
        assert_eq!(manifest["package"]["name"].as_str(), Some("best_sms"));
        let dependency = &manifest["dependencies"]["phone-verify-plugin-api"];
        assert_eq!(dependency["path"].as_str(), Some("vendor/plugin-api"));
        assert_eq!(manifest["workspace"]["exclude"][0].as_str(), Some("vendor"));
        assert!(text_of("src/backend.rs").contains("pub struct BestSmsBackend"));
        assert!(text_of("src/backend.rs").contains("https://api.best-sms.example"));
        assert!(text_of("best_sms.tape.toml").contains("best_sms-1"));
    }
}
