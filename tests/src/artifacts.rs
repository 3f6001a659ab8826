//! Builds what the tests run: the program and the backend libraries. Each is built once per process, in the profile of
//! the tests themselves. Cargo's output says where the files are, so no target path is fixed here.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

/// The file of a backend library of the workspace, such as `…/libnoop.so` for `noop`.
///
/// # Panics
///
/// When the workspace has no such library, or it does not build.
pub fn library(name: &str) -> PathBuf {
    let built = built();
    built
        .get(name)
        .unwrap_or_else(|| panic!("the workspace builds no library {name}, only {:?}", built.keys()))
        .clone()
}

/// The `phone-verify` program.
///
/// # Panics
///
/// When it does not build.
pub fn program() -> PathBuf {
    built()
        .get("phone-verify")
        .expect("the workspace has a program")
        .clone()
}

/// The example of `phone-verify-plugin-host`, a program that uses no other part of this project.
///
/// # Panics
///
/// When it does not build.
pub fn loading_example() -> PathBuf {
    built()
        .get("load")
        .expect("the workspace has the example")
        .clone()
}

/// The programs and all libraries. They are built together with the whole workspace, because cargo chooses the features
/// of shared crates by the selected packages. With the same selection as for the tests, it reuses the crates that are
/// already built.
fn built() -> &'static HashMap<String, PathBuf> {
    static BUILT: OnceLock<HashMap<String, PathBuf>> = OnceLock::new();
    let targets = [
        "--workspace",
        "--lib",
        "--bin",
        "phone-verify",
        "--example",
        "load",
    ];
    BUILT.get_or_init(|| build(&workspace(), &targets))
}

/// Runs `cargo build` in `directory` and returns what it built by the name of the target.
///
/// # Panics
///
/// When the build fails. Cargo's messages are on the standard error.
pub fn build(directory: &Path, arguments: &[&str]) -> HashMap<String, PathBuf> {
    build_by(None, directory, arguments)
}

/// The same with this compiler.
///
/// # Panics
///
/// When the build fails. Cargo's messages are on the standard error.
pub fn build_by(compiler: Option<&Path>, directory: &Path, arguments: &[&str]) -> HashMap<String, PathBuf> {
    let output = cargo()
        .envs(compiler.map(|compiler| ("RUSTC", compiler)))
        .current_dir(directory)
        .args([
            "build",
            "--quiet",
            "--message-format=json",
            "--profile",
            &profile(),
        ])
        .args(arguments)
        .stderr(Stdio::inherit())
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "cargo build {arguments:?} failed in {}",
        directory.display()
    );
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["reason"] == "compiler-artifact")
        .filter_map(|artifact| {
            let kinds = artifact["target"]["crate_types"].as_array()?;
            let is_wanted = kinds.iter().any(|kind| kind == "cdylib" || kind == "bin");
            let file = artifact["filenames"].as_array()?.first()?.as_str()?;
            let name = artifact["target"]["name"].as_str()?;
            is_wanted.then(|| (name.to_owned(), PathBuf::from(file)))
        })
        .collect()
}

/// A cargo command without the variables that cargo sets for the package under test. With them, dependencies such as
/// `ring` would be rebuilt here, and again by the next call from outside.
#[must_use]
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| env!("CARGO").into()));
    for (name, _) in std::env::vars_os() {
        let is_of_a_package =
            |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
        if name.to_str().is_some_and(is_of_a_package) {
            command.env_remove(name);
        }
    }
    command
}

/// The folder above that of a profile: `<target>/<profile>/libnoop.so`.
///
/// # Panics
///
/// When the libraries do not build.
pub fn target_folder() -> PathBuf {
    let noop = library("noop");
    let folder = noop.ancestors().nth(2);
    folder.expect("a library lies two folders deep").to_owned()
}

/// The workspace's folder.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("this package lies in the workspace's folder")
        .to_owned()
}

/// The profile that this program was built with, from its path: `<profile>/deps/<program>`.
fn profile() -> String {
    let this = std::env::current_exe().expect("this program has a path");
    let folder = this
        .ancestors()
        .skip(1)
        .find(|folder| folder.file_name().is_some_and(|name| name != "deps"))
        .and_then(Path::file_name)
        .and_then(|name| name.to_str())
        .expect("a built program lies in a folder named after its profile");
    match folder {
        "debug" => "dev".to_owned(),
        profile => profile.to_owned(),
    }
}
