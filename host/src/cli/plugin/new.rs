//! `phone-verify plugin new`: writes the start of a backend in Rust or C, from one of the examples with its names
//! replaced.
//!
//! Invariant: the folder appears complete or not at all.

mod in_c;
mod in_rust;
mod vendor;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use clap::{Args, ValueEnum};
use phone_verify_plugin_host::files;
use serde_json::json;

use crate::{
    cli::output::{Failure, Output},
    daemon::Problem,
};

/// Names that cargo or the compiler reserves, and the keywords of Rust.
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
    /// The language to write it in
    #[arg(long, value_enum, default_value_t = Language::Rust)]
    lang: Language,
    /// The folder to make; else ./NAME
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
    /// Put the sources of phone-verify-plugin-api beside the crate, as is done unless --plugin-api is given
    #[arg(long, conflicts_with = "plugin_api")]
    vendor: bool,
    /// Depend on the phone-verify-plugin-api in this folder
    #[arg(long, value_name = "PATH")]
    plugin_api: Option<PathBuf>,
    /// Print the result as JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Language {
    Rust,
    C,
}

impl New {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let name = self.name.as_str();
        if let Some(problem) = unfit(name) {
            return Err(Failure::wrong([problem]));
        }
        let naming = Naming::new(name);
        let plugin_api = self.plugin_api()?;
        let mut backends = vec![format!("{name}.{}Backend", naming.type_name())];
        // The options for the author's crate mean nothing in C, so they are refused rather than ignored.
        let files = match self.lang {
            Language::C if self.vendor || plugin_api.is_some() => {
                let problem = "a backend in C needs the header alone, which is put beside it: leave out --vendor and --plugin-api";
                return Err(Failure::wrong([problem.to_owned()]));
            }
            Language::C => in_c::files(&naming),
            Language::Rust => {
                backends.push(format!("{name}.{}SandboxBackend", naming.type_name()));
                in_rust::files(&naming, plugin_api.as_deref())
            }
        };
        let directory = self.directory.clone().unwrap_or_else(|| PathBuf::from(name));
        write(&directory, &files).map_err(|problem| Failure::of([problem]))?;
        let result = json!({ "library": name, "directory": directory, "backends": backends });
        Output { json: self.json }.result(&result, || self.next_steps(&naming, &directory))?;
        Ok(())
    }

    /// The absolute path of the author's crate. The new crate may be in any folder, so a relative path would not be
    /// valid there.
    fn plugin_api(&self) -> Result<Option<String>, Failure> {
        let Some(path) = &self.plugin_api else {
            return Ok(None);
        };
        // Links are not resolved: on Windows, that adds a prefix to the path that not every tool understands.
        let absolute = std::path::absolute(path)
            .ok()
            .filter(|path| path.join("Cargo.toml").is_file());
        let absolute = absolute.ok_or_else(|| {
            Failure::wrong([format!(
                "{} holds no crate: name the folder of phone-verify-plugin-api",
                path.display()
            )])
        })?;
        Ok(Some(absolute.display().to_string()))
    }

    /// What to print after the files are written: how to go on.
    fn next_steps(&self, naming: &Naming, directory: &Path) -> String {
        let (prefix, suffix) = (std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
        let name = naming.library();
        let (source, build, folder) = match self.lang {
            Language::Rust => (
                "src/backend.rs".to_owned(),
                "cargo test\n  cargo build --release".to_owned(),
                "target/release/",
            ),
            Language::C => (format!("{name}.c"), in_c::build_line(naming), ""),
        };
        format!(
            "{directory} holds a backend that sends to a provider that does not exist; make it yours in {source}\n  \
             cd {directory}\n  {build}\n  phone-verify plugin check {folder}{prefix}{name}{suffix}",
            directory = directory.display()
        )
    }
}

/// The names of a new backend, which replace those of the example.
struct Naming(String);

impl Naming {
    fn new(library: &str) -> Self {
        Self(library.to_owned())
    }

    fn library(&self) -> &str {
        &self.0
    }

    /// The name for types: `AcmeSms` for `acme_sms`.
    fn type_name(&self) -> String {
        self.0
            .split('_')
            .flat_map(|word| {
                let mut characters = word.chars();
                let first = characters.next().map(|first| first.to_ascii_uppercase());
                first.into_iter().chain(characters)
            })
            .collect()
    }

    /// Replaces the example's name in a text or path.
    fn rename(&self, text: &str) -> String {
        // A host name cannot have an underscore.
        let host = format!("api.{}.example", self.0.replace('_', "-"));
        text.replace("api.acme.example", &host)
            .replace("Acme", &self.type_name())
            .replace("acme", &self.0)
    }
}

/// Why a crate and its library cannot have this name; `None`: they can.
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

/// Writes the files into a temporary folder next to the target, and renames it when it is complete.
fn write(directory: &Path, files: &[(String, String)]) -> Result<(), Problem> {
    if directory.symlink_metadata().is_ok() {
        return Err(Problem::lasting(format!(
            "{} is there already; name another folder with --directory",
            directory.display()
        )));
    }
    let parent = match directory.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let problem = |error: io::Error| {
        let told = files::told(&error, "choose another folder with --directory");
        Problem {
            sentence: format!("{} cannot be written: {told}", directory.display()),
            may_pass: files::may_pass(&error),
        }
    };
    let mut aside = tempfile::Builder::new();
    aside.prefix(".phone-verify-new-");
    // With the permissions of a folder that `mkdir` makes: a temporary folder is private otherwise.
    #[cfg(unix)]
    aside.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o777));
    let aside = aside.tempdir_in(parent).map_err(problem)?;
    for (path, text) in files {
        let file = aside.path().join(path);
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder).map_err(problem)?;
        }
        fs::write(file, text).map_err(problem)?;
    }
    fs::rename(aside.path(), directory).map_err(problem)?;
    // The folder was renamed, so there is nothing left to remove.
    let _ = aside.keep();
    Ok(())
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
    fn a_folder_that_is_there_stays_as_it_is() {
        let home = tempfile::tempdir().unwrap();
        let problem = write(home.path(), &in_rust::files(&Naming::new("acme"), None)).unwrap_err();
        assert!(problem.sentence.contains("is there already"), "{problem:?}");
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_cannot_be_finished_leaves_nothing() {
        let home = tempfile::tempdir().unwrap();
        // A path cannot be a file and a folder.
        let files = ["a", "a/b"].map(|path| (path.to_owned(), String::new()));
        let problem = write(&home.path().join("acme"), &files).unwrap_err();
        assert!(problem.sentence.contains("acme cannot be written"), "{problem:?}");
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
    }
}
