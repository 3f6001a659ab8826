//! `phone-verify plugin …`: tools for the authors of backends, which use neither the settings nor the network, and
//! commands for operators that decide about the libraries in use.

mod check;
mod crashes;
mod inspect;
mod keygen;
mod new;
mod rollback;
mod serve_tape;
mod sign;
mod trust;
mod verify;

use std::{ffi::OsStr, path::Path};

use clap::{Args, Subcommand};
use phone_verify_plugin_host::{BackendName, FileNaming};

use super::{Common, output::Failure};

#[derive(Args)]
pub(super) struct Plugin {
    #[command(subcommand)]
    command: Tool,
}

#[derive(Subcommand)]
enum Tool {
    /// Write a crate for a backend of your own, which builds, tests itself and passes the checks
    New(new::New),
    /// Run the conformance checks on a built library, offline, and print a score card
    Check(check::Check),
    /// Print what a library says about itself, and its options, without running its code
    Inspect(inspect::Inspect),
    /// Play a tape as a provider on this machine, to see a registration go through the daemon
    ServeTape(serve_tape::ServeTape),
    /// Make a key pair to sign libraries with, as minisign has them
    Keygen(keygen::Keygen),
    /// Sign a built library: the signature, by minisign, goes into a file beside it
    Sign(sign::Sign),
    /// Verify the signature of a library
    Verify(verify::Verify),
    /// Trust a library as it lies in the plugin directory now; a running daemon takes it up
    Trust(trust::Trust),
    /// List what is kept of crashes of libraries, or write one for the library's author
    Crashes(crashes::Crashes),
    /// Go back to the version of a library that was used before; a running daemon takes it up
    Rollback(rollback::Rollback),
}

/// Refuses a file that does not exist. The user may have given the name of a library, as the commands for operators
/// take it, so the message names the file.
fn must_exist(library: &Path) -> Result<(), Failure> {
    if library.exists() {
        return Ok(());
    }
    let place = if library.components().count() == 1 && library.extension().is_none() {
        let file = FileNaming::HERE.file_of(&library.display().to_string());
        format!("; name the file of the library, such as plugins/{file}")
    } else {
        String::new()
    };
    Err(Failure::wrong([format!(
        "{} does not exist{place}",
        library.display()
    )]))
}

/// Parses the name of a library. A user may well give its file instead, as the tools for authors take it, or a backend
/// in it; the message then says the right name.
fn library_name(text: &str) -> Result<String, String> {
    if FileNaming::HERE.library_of(text).is_none()
        && let Ok(name) = BackendName::parse(text)
        && name.to_string() == text
        && !Path::new(text).exists()
    {
        return Err(format!("this is a backend; name its library: {}", name.library));
    }
    if text.contains(['/', '\\', '.']) {
        let path = Path::new(text);
        let of_file = |name: &OsStr| FileNaming::HERE.library_on_any_system(name.to_str()?);
        let stem = || {
            path.file_stem()
                .and_then(OsStr::to_str)
                .unwrap_or(text)
                .to_owned()
        };
        return Err(format!(
            "this is a file; name the library as settings do, without folder and ending: {}",
            path.file_name().and_then(of_file).unwrap_or_else(stem)
        ));
    }
    Ok(text.to_owned())
}

impl Plugin {
    pub(super) fn run(&self) -> Result<(), Failure> {
        match &self.command {
            Tool::New(new) => new.run(),
            Tool::Check(check) => check.run(),
            Tool::Inspect(inspect) => inspect.run(),
            Tool::ServeTape(serve) => serve.run(),
            Tool::Keygen(keygen) => keygen.run(),
            Tool::Sign(sign) => sign.run(),
            Tool::Verify(verify) => verify.run(),
            Tool::Trust(trust) => trust.run(),
            Tool::Crashes(crashes) => crashes.run(),
            Tool::Rollback(rollback) => rollback.run(),
        }
    }

    pub(super) fn json(&self) -> bool {
        match &self.command {
            Tool::New(new) => new.json,
            Tool::Check(check) => check.json(),
            Tool::Inspect(inspect) => inspect.json,
            Tool::ServeTape(serve) => serve.json,
            Tool::Keygen(keygen) => keygen.json,
            Tool::Sign(sign) => sign.json,
            Tool::Verify(verify) => verify.json,
            Tool::Trust(trust) => trust.common.json,
            Tool::Crashes(crashes) => crashes.common.json,
            Tool::Rollback(rollback) => rollback.common.json,
        }
    }
}
