//! `phone-verify plugin new`: a crate for a backend of one's own. It is `examples/custom-backend` under another name,
//! so that what is written here is what the tests build, load and send through.
//!
//! Invariant: the folder appears whole or not at all.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use clap::Args;
use serde_json::json;

use crate::cli::output::{Failure, Output};

/// The files of the crate, as the example has them.
const TEMPLATE: [(&str, &str); 6] = [
    (
        "Cargo.toml",
        include_str!("../../../../examples/custom-backend/Cargo.toml"),
    ),
    (
        "acme.tape.toml",
        include_str!("../../../../examples/custom-backend/acme.tape.toml"),
    ),
    (
        "src/lib.rs",
        include_str!("../../../../examples/custom-backend/src/lib.rs"),
    ),
    (
        "src/backend.rs",
        include_str!("../../../../examples/custom-backend/src/backend.rs"),
    ),
    (
        "src/sandbox.rs",
        include_str!("../../../../examples/custom-backend/src/sandbox.rs"),
    ),
    (
        "src/tests.rs",
        include_str!("../../../../examples/custom-backend/src/tests.rs"),
    ),
];

/// Where the example finds the author's crate.
const PATH_IN_EXAMPLE: &str = "path = \"../../plugin-api\"";

/// What cargo or the compiler keeps for itself, beside the language's keywords.
const RESERVED: [&str; 59] = [
    "abstract",
    "alloc",
    "as",
    "async",
    "await",
    "become",
    "box",
    "break",
    "build",
    "const",
    "continue",
    "core",
    "crate",
    "deps",
    "do",
    "dyn",
    "else",
    "enum",
    "examples",
    "extern",
    "false",
    "final",
    "fn",
    "for",
    "gen",
    "if",
    "impl",
    "in",
    "incremental",
    "let",
    "loop",
    "macro",
    "match",
    "mod",
    "move",
    "mut",
    "override",
    "phone_verify_plugin_api",
    "priv",
    "proc_macro",
    "pub",
    "ref",
    "return",
    "self",
    "static",
    "std",
    "struct",
    "super",
    "test",
    "trait",
    "true",
    "try",
    "type",
    "typeof",
    "unsafe",
    "use",
    "virtual",
    "where",
    "while",
];

#[derive(Args)]
pub(super) struct New {
    /// The library's name: the backends will be NAME.…Backend, the file libNAME.so
    name: String,
    /// The folder to make; else ./NAME
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
    /// Depend on the phone-verify-plugin-api in this folder, instead of on its published version
    #[arg(long, value_name = "PATH")]
    plugin_api: Option<PathBuf>,
    /// Print the result as JSON
    #[arg(long)]
    pub(super) json: bool,
}

impl New {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let name = self.name.as_str();
        if let Some(problem) = unfit(name) {
            return Err(Failure::wrong([problem]));
        }
        let dependency = self.dependency()?;
        let directory = self.directory.clone().unwrap_or_else(|| PathBuf::from(name));
        write(&directory, &files(name, &dependency)).map_err(|problem| Failure::wrong([problem]))?;
        let result = json!({
            "library": name,
            "directory": directory,
            "backends": [format!("{name}.{}Backend", type_name(name)), format!("{name}.{}SandboxBackend", type_name(name))],
        });
        Output { json: self.json }.result(&result, || next_steps(name, &directory))?;
        Ok(())
    }

    /// How the author's crate is named in `Cargo.toml`: `version = "0.1"`, or a path.
    fn dependency(&self) -> Result<String, Failure> {
        let Some(path) = &self.plugin_api else {
            let (major, minor) = (env!("CARGO_PKG_VERSION_MAJOR"), env!("CARGO_PKG_VERSION_MINOR"));
            return Ok(format!("version = \"{major}.{minor}\""));
        };
        let absolute = path
            .canonicalize()
            .ok()
            .filter(|path| path.join("Cargo.toml").is_file());
        let absolute = absolute.ok_or_else(|| {
            Failure::wrong([format!(
                "{} holds no crate: name the folder of phone-verify-plugin-api",
                path.display()
            )])
        })?;
        Ok(format!(
            "path = {}",
            toml::Value::from(absolute.display().to_string())
        ))
    }
}

/// Why a crate and its library cannot have this name.
fn unfit(name: &str) -> Option<String> {
    let is_word = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_');
    if !(1..=64).contains(&name.len())
        || !name.bytes().all(is_word)
        || !name.starts_with(|first: char| first.is_ascii_lowercase())
    {
        return Some(format!(
            "{name:?} cannot be the name of a library: it has 1 to 64 of a-z, 0-9 and _, and begins with a letter"
        ));
    }
    RESERVED.contains(&name).then(|| {
        format!("{name:?} cannot be the name of a library: Rust keeps it for itself; call it {name}_sms, for instance")
    })
}

/// `AcmeSms` for `acme_sms`.
fn type_name(name: &str) -> String {
    name.split('_')
        .flat_map(|word| {
            let mut characters = word.chars();
            let first = characters.next().map(|first| first.to_ascii_uppercase());
            first.into_iter().chain(characters)
        })
        .collect()
}

fn files(name: &str, dependency: &str) -> Vec<(String, String)> {
    // In a host name there is no underscore.
    let host = format!("api.{}.example", name.replace('_', "-"));
    let rename = |text: &str| {
        text.replace("api.acme.example", &host)
            .replace("Acme", &type_name(name))
            .replace("acme", name)
    };
    let mut files: Vec<(String, String)> = TEMPLATE
        .iter()
        .map(|(path, text)| (rename(path), rename(text)))
        .collect();
    if let Some((_, manifest)) = files.iter_mut().find(|(path, _)| path == "Cargo.toml") {
        *manifest = manifest
            .replace(
                "A backend of your own for phone-verify: copy this folder and begin",
                &format!("Sends SMS for phone-verify through {}", type_name(name)),
            )
            .replace(
                "# In a folder of your own, name the version instead: phone-verify-plugin-api = \"0.1\"\n",
                "",
            )
            .replace(PATH_IN_EXAMPLE, dependency);
    }
    files.push((".gitignore".to_owned(), "/target\n".to_owned()));
    files
}

/// Writes the files aside, and puts the folder in its place when it is whole.
fn write(directory: &Path, files: &[(String, String)]) -> Result<(), String> {
    if directory.symlink_metadata().is_ok() {
        return Err(format!(
            "{} is there already; name another folder with --directory",
            directory.display()
        ));
    }
    let parent = match directory.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let problem = |error: io::Error| format!("{} cannot be written: {error}", directory.display());
    let mut aside = tempfile::Builder::new();
    aside.prefix(".phone-verify-new-");
    // As a folder made by hand, not as one that nobody else may see.
    #[cfg(unix)]
    aside.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o777));
    let aside = aside.tempdir_in(parent).map_err(problem)?;
    fs::create_dir(aside.path().join("src")).map_err(problem)?;
    for (path, text) in files {
        fs::write(aside.path().join(path), text).map_err(problem)?;
    }
    fs::rename(aside.path(), directory).map_err(problem)?;
    // It is not there any more.
    let _ = aside.keep();
    Ok(())
}

fn next_steps(name: &str, directory: &Path) -> String {
    let (prefix, suffix) = (std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    format!(
        "{directory} holds a backend that sends to a provider that does not exist; make it yours in src/backend.rs\n  \
         cd {directory}\n  cargo test\n  cargo build --release\n  phone-verify plugin check \
         target/release/{prefix}{name}{suffix}",
        directory = directory.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_that_of_a_library_and_of_a_crate() {
        for good in ["acme", "acme_sms", "a", "sms4you", &"x".repeat(64)] {
            assert_eq!(unfit(good), None, "{good}");
        }
        for bad in [
            "",
            "Acme",
            "acme-sms",
            "4you",
            "_x",
            "../x",
            "acme.so",
            "è",
            &"x".repeat(65),
        ] {
            assert!(unfit(bad).unwrap().contains("1 to 64 of a-z"), "{bad}");
        }
        for kept in RESERVED {
            assert!(unfit(kept).unwrap().contains("Rust keeps it"), "{kept}");
        }
    }

    #[test]
    fn nothing_of_the_example_is_left_but_what_it_says() {
        let files = files("best_sms", "version = \"0.1\"");
        for (path, text) in &files {
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
        assert_eq!(dependency["version"].as_str(), Some("0.1"));
        assert!(text_of("src/backend.rs").contains("pub struct BestSmsBackend"));
        assert!(text_of("src/backend.rs").contains("https://api.best-sms.example"));
        assert!(text_of("best_sms.tape.toml").contains("best_sms-1"));
    }

    #[test]
    fn a_folder_that_is_there_stays_as_it_is() {
        let home = tempfile::tempdir().unwrap();
        let problem = write(home.path(), &files("acme", "")).unwrap_err();
        assert!(problem.contains("is there already"), "{problem}");
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_cannot_be_finished_leaves_nothing() {
        let home = tempfile::tempdir().unwrap();
        let files = [("no/such/folder".to_owned(), String::new())];
        let problem = write(&home.path().join("acme"), &files).unwrap_err();
        assert!(problem.contains("acme cannot be written"), "{problem}");
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
    }
}
