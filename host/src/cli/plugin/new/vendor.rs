//! The sources of `phone-verify-plugin-api` that this program was built with, to be written into a new crate. The crate
//! is not published yet, so a new crate could not depend on it otherwise.
//!
//! Invariant: the written files build without anything else from this project.

use toml::{Table, Value};

/// Embeds source files, named by their path below `plugin-api`.
macro_rules! sources {
    ($($path:literal),+ $(,)?) => {
        &[$(($path, include_str!(concat!("../../../../../plugin-api/", $path)))),+]
    };
}

const SOURCES: &[(&str, &str)] = sources![
    "Cargo.toml",
    "abi/Cargo.toml",
    "abi/src/c.rs",
    "abi/src/lib.rs",
    "crypto/Cargo.toml",
    "crypto/src/lib.rs",
    "include/phone_verify_plugin.h",
    "macros/Cargo.toml",
    "macros/src/backend.rs",
    "macros/src/lib.rs",
    "macros/src/options.rs",
    "src/backend.rs",
    "src/call.rs",
    "src/crypto.rs",
    "src/error.rs",
    "src/gsm.rs",
    "src/hidden/glue.rs",
    "src/hidden/guard.rs",
    "src/hidden/manifest.rs",
    "src/hidden/mod.rs",
    "src/host.rs",
    "src/http.rs",
    "src/lib.rs",
    "src/money.rs",
    "src/option_value.rs",
    "src/options.rs",
    "src/sandbox_token.rs",
    "src/secret.rs",
    "src/testing/answer.rs",
    "src/testing/call.rs",
    "src/testing/host.rs",
    "src/testing/mod.rs",
    "src/testing/tested.rs",
    "src/testing/webhook.rs",
    "src/types.rs",
    "src/webhook.rs",
];
/// The manifest of the workspace from which the crates inherit settings.
const WORKSPACE: &str = include_str!("../../../../../Cargo.toml");
const LICENSES: [(&str, &str); 2] = [
    ("LICENSE-APACHE", include_str!("../../../../../LICENSE-APACHE")),
    ("LICENSE-MIT", include_str!("../../../../../LICENSE-MIT")),
];

const HEADER: &str = "include/phone_verify_plugin.h";

/// The folder for the sources inside the new crate. The new crate excludes it from its own workspace.
pub(super) const FOLDER: &str = "vendor";
/// The path of the author's crate, relative to the new crate.
pub(super) const CRATE: &str = "vendor/plugin-api";

/// The header for backends in C.
pub(super) fn header() -> &'static str {
    let header = SOURCES.iter().find(|(path, _)| *path == HEADER);
    header.map_or("", |(_, text)| text)
}

/// All files of this project that the new crate needs, by their path in the new crate.
pub(super) fn files() -> Vec<(String, String)> {
    let sources = SOURCES
        .iter()
        .map(|(path, text)| (format!("{CRATE}/{path}"), (*text).to_owned()));
    let licenses = LICENSES
        .iter()
        .map(|(path, text)| (format!("{FOLDER}/{path}"), (*text).to_owned()));
    let workspace = (format!("{FOLDER}/Cargo.toml"), workspace());
    sources.chain(licenses).chain([workspace]).collect()
}

/// The workspace's manifest, reduced to the members that are written, at the same relative paths.
fn workspace() -> String {
    let root: Table = WORKSPACE
        .parse()
        .expect("cargo read it when this program was built");
    let mut workspace = root
        .get("workspace")
        .and_then(Value::as_table)
        .cloned()
        .unwrap_or_default();
    let members = [
        "plugin-api",
        "plugin-api/abi",
        "plugin-api/crypto",
        "plugin-api/macros",
    ];
    workspace.insert("members".to_owned(), Value::from(members.to_vec()));
    workspace.remove("exclude");
    if let Some(Value::Table(dependencies)) = workspace.get_mut("dependencies") {
        dependencies.retain(|_, dependency| {
            let path = dependency.get("path").and_then(Value::as_str);
            path.is_none_or(|path| members.contains(&path))
        });
    }
    let comment =
        "# The sources of phone-verify-plugin-api, as `phone-verify plugin new` wrote them: do not edit.\n";
    format!(
        "{comment}{}",
        Table::from_iter([("workspace".to_owned(), Value::Table(workspace))])
    )
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        path::{Path, PathBuf},
    };

    use super::*;

    fn sources_below(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() && !["tests", "target", "docs"].contains(&name) {
                sources_below(&path, found);
            } else if path
                .extension()
                .is_some_and(|kind| ["toml", "rs", "h"].iter().any(|known| kind == *known))
            {
                found.push(path);
            }
        }
    }

    #[test]
    fn no_source_of_the_authors_crate_is_left_out() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugin-api");
        let mut found = Vec::new();
        sources_below(&root, &mut found);
        let mut found: Vec<&str> = found
            .iter()
            .map(|path| path.strip_prefix(&root).unwrap().to_str().unwrap())
            .collect();
        found.sort_unstable();
        let mut carried: Vec<&str> = SOURCES.iter().map(|(path, _)| *path).collect();
        carried.sort_unstable();
        assert_eq!(found, carried);
    }
}
