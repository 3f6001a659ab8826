//! Reads a library's file and judges it before any of its code runs: opening a library runs its
//! constructors, and a wrong one fails there late or ends the process.
//!
//! Invariant: any file at all leads to a verdict, never to a panic; at most 64 MiB of it are read.

mod elf;
mod grammar;
mod linkage;
mod manifest;
#[cfg(test)]
mod tests;

use std::path::Path;

use object::{FileKind, Object, ObjectSection, ObjectSegment, ObjectSymbol};
use phone_verify_plugin_abi::{
    MANIFEST_SECTION, MANIFEST_SYMBOL, abi_stable::library::ROOT_MODULE_LOADER_NAME, c::ENTRY_SYMBOL,
};

pub use self::manifest::OptionInfo;
pub(super) use self::{
    linkage::{Linkage, explained},
    manifest::{BackendInfo, Manifest},
};
use super::{
    discover::Found,
    load,
    refusal::{Refusal, code},
    stage,
};
use crate::files::{self, Fault, Subject};

/// A file that looks as a backend library should.
#[derive(Debug)]
pub(super) struct Candidate {
    /// Its name in a refusal: the path.
    pub(super) file: String,
    pub(super) bytes: Vec<u8>,
    pub(super) sha256: String,
    pub(super) manifest: Manifest,
    pub(super) linkage: Linkage,
}

/// What a library must fit.
pub(super) struct Platform {
    architecture: String,
    /// `None`: another C library.
    glibc: Option<(u32, u32)>,
}

impl Platform {
    pub(super) fn here() -> Self {
        Self {
            architecture: elf::own_architecture(),
            glibc: load::glibc_version(),
        }
    }
}

/// A refused file, with what could be told about it.
pub(super) struct Refused {
    pub(super) refusal: Refusal,
    pub(super) size_bytes: Option<u64>,
    pub(super) sha256: Option<String>,
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self {
            refusal,
            size_bytes: None,
            sha256: None,
        }
    }
}

/// Reads and judges one file.
pub(super) fn check(found: &Found, platform: &Platform) -> Result<Candidate, Refused> {
    let file = found.path.display().to_string();
    let bytes = read(&found.path, &file)?;
    let sha256 = stage::sha256(&bytes);
    match judge(&file, &bytes, platform) {
        Ok((manifest, linkage)) => Ok(Candidate {
            file,
            bytes,
            sha256,
            manifest,
            linkage,
        }),
        Err(refusal) => Err(Refused {
            refusal,
            size_bytes: Some(bytes.len() as u64),
            sha256: Some(sha256),
        }),
    }
}

/// Who can have written it was judged before, where that matters.
fn read(path: &Path, file: &str) -> Result<Vec<u8>, Refusal> {
    let refused = |fault: Fault| {
        if fault.is_no_file() {
            let sentence = format!("{file} is not a file; put the library itself there");
            return Refusal::new(code::NOT_A_FILE, sentence);
        }
        if let Some((size, limit)) = fault.too_big() {
            let sentence = format!(
                "{file} has {size} bytes, and a library may have {limit}; strip it of debug information"
            );
            return Refusal::new(code::TOO_BIG, sentence);
        }
        let Some(error) = fault.io() else {
            return Refusal::of_fault(code::UNREADABLE_FILE, &fault);
        };
        let told = files::told(error, "make it readable for the user that runs phone-verify");
        // Links followed, it may have a name that nobody knows.
        Refusal::of_error(
            code::UNREADABLE_FILE,
            format!("{file} cannot be read: {told}"),
            error,
        )
    };
    files::read(path, Subject::AnyLibrary).map_err(refused)
}

/// Judges the content of a file.
fn judge(file: &str, bytes: &[u8], platform: &Platform) -> Result<(Manifest, Linkage), Refusal> {
    let kind = FileKind::parse(bytes).ok();
    let is_native = match kind {
        Some(FileKind::Elf32 | FileKind::Elf64) => cfg!(not(any(windows, target_vendor = "apple"))),
        Some(FileKind::MachO32 | FileKind::MachO64) => cfg!(target_vendor = "apple"),
        Some(FileKind::Pe32 | FileKind::Pe64) => cfg!(windows),
        _ => false,
    };
    if !is_native {
        return Err(Refusal::new(
            code::NOT_AN_OBJECT,
            format!(
                "{file} is {}, and a shared library of this system was needed; put the built library there",
                describe(kind, bytes)
            ),
        ));
    }
    let linkage = if matches!(kind, Some(FileKind::Elf32 | FileKind::Elf64)) {
        elf::check(file, bytes, platform)?
    } else {
        Linkage::default()
    };
    let object = object::File::parse(bytes).map_err(|error| {
        Refusal::new(
            code::TRUNCATED,
            format!("{file} is damaged or cut off: {error}; copy it there again"),
        )
    })?;
    let text = manifest_text(&object).ok_or_else(|| {
        Refusal::new(
            code::NO_MANIFEST,
            format!(
                "{file} is a shared library but not a phone-verify backend: it exports no {MANIFEST_SYMBOL}; build it \
                 against phone-verify-plugin-api, with export_backends!, or in C with PV_MANIFEST"
            ),
        )
    })?;
    let manifest = Manifest::parse(file, text)?;
    if ![ROOT_MODULE_LOADER_NAME, ENTRY_SYMBOL]
        .iter()
        .any(|name| exports(&object, name))
    {
        return Err(Refusal::new(
            code::NO_HEADER,
            format!(
                "{file} has a manifest but exports neither a root module nor {ENTRY_SYMBOL}; rebuild it with \
                 export_backends! or with phone_verify_plugin.h, and do not hide its symbols"
            ),
        ));
    }
    Ok((manifest, linkage))
}

fn describe(kind: Option<FileKind>, bytes: &[u8]) -> &'static str {
    match kind {
        Some(FileKind::Elf32 | FileKind::Elf64) => "an ELF file",
        Some(FileKind::Pe32 | FileKind::Pe64) => "a Windows library or program",
        Some(FileKind::MachO32 | FileKind::MachO64 | FileKind::MachOFat32 | FileKind::MachOFat64) => {
            "a macOS library or program"
        }
        Some(FileKind::Archive) => "an archive of object files",
        _ if bytes.is_empty() => "empty",
        _ if bytes.starts_with(b"\x7fELF") => "the beginning of an ELF file, cut off",
        _ if std::str::from_utf8(bytes).is_ok() => "a text file",
        _ => "not an object file",
    }
}

/// The manifest as it lies in the file: in its section, or where the exported symbol points.
fn manifest_text<'data>(object: &object::File<'data>) -> Option<&'data [u8]> {
    let (_, section) = MANIFEST_SECTION
        .rsplit_once(',')
        .unwrap_or(("", MANIFEST_SECTION));
    if let Some(section) = object.section_by_name(section) {
        // Some linkers pad a section.
        return section.data().ok().map(<[u8]>::trim_ascii_end).map(|data| {
            let padding = data.iter().rev().take_while(|byte| **byte == 0).count();
            &data[..data.len() - padding]
        });
    }
    let symbol = object
        .dynamic_symbols()
        .find(|symbol| symbol.name() == Ok(MANIFEST_SYMBOL))?;
    object
        .segments()
        .find_map(|segment| segment.data_range(symbol.address(), symbol.size()).ok().flatten())
}

fn exports(object: &object::File<'_>, name: &str) -> bool {
    object.exports().is_ok_and(|exports| {
        exports.flatten().any(|export| {
            let export = export.name();
            let found = export.name().unwrap_or_default();
            // Mach-O puts an underscore before every name.
            found == name.as_bytes() || found.strip_prefix(b"_") == Some(name.as_bytes())
        })
    })
}
