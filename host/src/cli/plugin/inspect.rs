//! `phone-verify plugin inspect`: shows the manifest and the options of a library, read from its file.
//!
//! Invariant: no code of the library runs, so an untrusted library can be inspected.

use std::path::{Path, PathBuf};

use clap::Args;
use phone_verify_plugin_host::{FileNaming, LibraryReport};

use crate::{
    cli::output::{Failure, Output},
    model::quantity,
};

#[derive(Args)]
pub(super) struct Inspect {
    /// The library's file
    #[arg(value_name = "FILE")]
    library: PathBuf,
    /// Print the result as JSON
    #[arg(long)]
    pub(super) json: bool,
}

impl Inspect {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let report = report(&self.library)?;
        Output { json: self.json }.result_of(report.is_loadable, &report, || text(&report))?;
        if report.is_loadable {
            Ok(())
        } else {
            Err(Failure::told())
        }
    }
}

/// Reads what the file says about itself. A file that no host would load by its name is a wrong argument.
pub(super) fn report(library: &Path) -> Result<LibraryReport, Failure> {
    super::must_exist(library)?;
    LibraryReport::of_file(library).ok_or_else(|| {
        Failure::wrong([format!(
            "{} is not named as a library: a host looks for {}, and a name has 1 to 64 of {}",
            library.display(),
            FileNaming::HERE.file_of("<name>"),
            FileNaming::HERE.characters()
        )])
    })
}

/// The report as text. Ends early for a file without a readable manifest.
fn text(report: &LibraryReport) -> String {
    let mut text = report.path.display().to_string();
    if let (Some(sha256), Some(size)) = (&report.sha256, report.size_bytes) {
        text.push_str(&format!(
            "\nsha256      {sha256}\nsize        {}",
            quantity(size, "byte", "bytes")
        ));
    }
    if let Some(refusal) = &report.refusal {
        text.push_str(&format!("\ncannot be loaded: {refusal}"));
    }
    let Some(about) = &report.about else {
        return text;
    };
    for (name, value) in [
        ("version", &about.version),
        ("licence", &about.license),
        ("repository", &about.repository),
        ("ABI", &about.abi),
        ("built with", &about.built_with()),
    ] {
        let value = if value.is_empty() { "not said" } else { value };
        text.push_str(&format!("\n{name:<11} {value}"));
    }
    for warning in &about.warnings {
        text.push_str(&format!("\nwarning     {warning}"));
    }
    for backend in &about.backends {
        text.push_str(&format!("\n\n{backend}"));
    }
    text
}
