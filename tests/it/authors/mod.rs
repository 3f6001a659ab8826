//! The tools of a backend's author: what `phone-verify plugin …` promises.

mod check;
mod inspect;
mod new;
mod serve_tape;
mod tutorial;

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

use phone_verify_tests::artifacts;

/// Runs `phone-verify plugin …` in a folder.
pub(crate) fn plugin(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(artifacts::program())
        .arg("plugin")
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap()
}

/// Runs cargo in the folder of a crate of its own, as offline as an author on a train. What the workspace has built
/// before is not built again.
fn cargo(folder: &Path, arguments: &[&str]) -> Output {
    artifacts::cargo()
        .args(arguments)
        .args(["--offline", "--target-dir", target().to_str().unwrap()])
        .current_dir(folder)
        .output()
        .unwrap()
}

/// The target folder of this workspace: `<target>/<profile>/libnoop.so`.
fn target() -> PathBuf {
    artifacts::library("noop").ancestors().nth(2).unwrap().to_owned()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
