//! `phone-verify plugin inspect`: the manifest and the options of a library, read off its file.
//!
//! Invariant: nothing of the library runs.

use std::{
    env::consts::{DLL_PREFIX, DLL_SUFFIX},
    path::{Path, PathBuf},
};

use clap::Args;

use crate::{
    backends::{BackendReport, LibraryReport, OptionInfo},
    cli::output::{Failure, Output},
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
        Output { json: self.json }.result(&report, || text(&report));
        if report.is_loadable {
            Ok(())
        } else {
            Err(Failure::told())
        }
    }
}

/// What the file says about itself; a file that no host would look at is a wrong argument.
pub(super) fn report(library: &Path) -> Result<LibraryReport, Failure> {
    if !library.exists() {
        let place = if library.components().count() == 1 && library.extension().is_none() {
            format!(
                "; name the file of the library, such as plugins/{DLL_PREFIX}{}{DLL_SUFFIX}",
                library.display()
            )
        } else {
            String::new()
        };
        return Err(Failure::wrong([format!(
            "{} does not exist{place}",
            library.display()
        )]));
    }
    LibraryReport::of_file(library).ok_or_else(|| {
        Failure::wrong([format!(
            "{} is not named as a library: a host looks for {DLL_PREFIX}<name>{DLL_SUFFIX}, and a name has 1 to 64 of \
             a-z, 0-9 and _",
            library.display()
        )])
    })
}

fn text(report: &LibraryReport) -> String {
    let mut text = report.path.display().to_string();
    if let (Some(sha256), Some(size)) = (&report.sha256, report.size_bytes) {
        text.push_str(&format!("\nsha256      {sha256}\nsize        {size} bytes"));
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
    for backend in &about.backends {
        text.push_str(&backend_text(backend));
    }
    text
}

fn backend_text(backend: &BackendReport) -> String {
    let sandbox = if backend.sandbox { " (sandbox)" } else { "" };
    let mut text = format!("\n\n{}{sandbox}\n  {}", backend.name, backend.summary);
    for (what, names) in [
        ("overrides", backend.overrides.join(", ")),
        ("hosts", backend.hosts.join(", ")),
    ] {
        let names = if names.is_empty() { "none" } else { &names };
        text.push_str(&format!("\n  {what:<10}{names}"));
    }
    if backend.options.is_empty() {
        text.push_str("\n  options   none");
    }
    let rows: Vec<[String; 4]> = backend.options.iter().map(row).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths = [0, 1, 2].map(|column| width(column).unwrap_or(0));
    for [name, kind, need, help] in &rows {
        let row = format!(
            "  {name:<0$}  {kind:<1$}  {need:<2$}  {help}",
            widths[0], widths[1], widths[2]
        );
        text.push('\n');
        text.push_str(row.trim_end());
    }
    text
}

fn row(option: &OptionInfo) -> [String; 4] {
    let mut name = option.name.clone();
    if !option.alias.is_empty() {
        name.push_str(&format!(" (or {})", option.alias));
    }
    let secret = if option.secret { ", secret" } else { "" };
    let need = match &option.default {
        serde_json::Value::Null if option.required => "required".to_owned(),
        serde_json::Value::Null => "optional".to_owned(),
        default => format!("default {default}"),
    };
    let mut help = option.help.clone();
    if !option.example.is_empty() {
        help.push_str(&format!(" Example: {}", option.example));
    }
    [name, format!("{}{secret}", option.value_type), need, help]
}
