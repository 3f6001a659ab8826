//! Reads a library's file and judges it before any of its code runs: opening a library runs its
//! constructors, and a wrong one fails there late or ends the process.
//!
//! Invariant: any file at all leads to a verdict, never to a panic; at most 64 MiB of it are read.

mod dlls;
mod elf;
mod format;
mod grammar;
mod linkage;
mod mach_o;
mod manifest;
mod needs;
mod pe;
#[cfg(test)]
mod tests;

use std::path::Path;

use object::{FileKind, Object, ObjectSection, ObjectSegment, ObjectSymbol};
use phone_verify_plugin_abi::{
    MANIFEST_SYMBOL, abi_stable::library::ROOT_MODULE_LOADER_NAME, c::ENTRY_SYMBOL,
};

use self::format::Format;
pub use self::manifest::OptionInfo;
pub(super) use self::{
    format::Platform,
    linkage::{Linkage, explained},
    manifest::{BackendInfo, Manifest},
};
use super::{
    discover::Found,
    refusal::{Refusal, code},
    stage,
    trust::Signed,
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
    /// Who signed it, once that is judged.
    pub(super) signed: Option<Signed>,
}

/// A refused file, with what is known of it.
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
            signed: None,
        }),
        Err(refusal) => Err(Refused {
            refusal,
            size_bytes: Some(bytes.len() as u64),
            sha256: Some(sha256),
        }),
    }
}

/// Who can have written it was judged before, where that matters.
pub(super) fn read(path: &Path, file: &str) -> Result<Vec<u8>, Refusal> {
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
        let told = files::told(error, &files::readable_cure(path, error));
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
    let format = kind.and_then(Format::of);
    let (bytes, linkage) = match platform.format {
        Format::Pe if pe::is_cut_off(bytes) => return Err(format::damaged(file, bytes)),
        here if format != Some(here) || format::is_java(bytes) => {
            return Err(platform.foreign(file, bytes, kind));
        }
        Format::Elf => (bytes, elf::check(file, bytes, platform)?),
        Format::Pe => (bytes, pe::check(file, bytes, platform)?),
        Format::MachO => {
            let part = mach_o::part(file, bytes, platform)?;
            (part, mach_o::check(file, part, platform)?)
        }
    };
    let object = object::File::parse(bytes).map_err(|error| {
        Refusal::new(
            code::TRUNCATED,
            format!("{file} is damaged or cut off: {error}; copy it there again"),
        )
    })?;
    let text = manifest_text(&object, bytes, platform.format).ok_or_else(|| {
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
        .any(|name| exported(&object, bytes, platform.format, name).is_some())
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

/// The manifest of a library of whatever system, without a judgement whether it would load here. All parts of a
/// universal library are of one name and version, so that a signature for these is right whichever part is loaded.
pub(super) fn manifest_of(file: &str, bytes: &[u8]) -> Result<Manifest, Refusal> {
    if format::is_java(bytes) {
        return Err(no_library(file));
    }
    let parts = mach_o::every_part(file, bytes)?.into_iter();
    let mut manifests = parts.map(|part| manifest_of_part(file, part));
    let first = manifests.next().unwrap_or_else(|| Err(no_library(file)))?;
    for other in manifests {
        let other = other?;
        if (&other.library, &other.version) != (&first.library, &first.version) {
            return Err(Refusal::new(
                code::BAD_MANIFEST,
                format!(
                    "{file} is a universal library of {} {} and {} {}; build its parts from the same sources, and join them \
                     again with lipo -create",
                    first.library, first.version, other.library, other.version
                ),
            ));
        }
    }
    Ok(first)
}

fn no_library(file: &str) -> Refusal {
    Refusal::new(
        code::NOT_AN_OBJECT,
        format!("{file} is no shared library; name the built library"),
    )
}

fn manifest_of_part(file: &str, bytes: &[u8]) -> Result<Manifest, Refusal> {
    let format = FileKind::parse(bytes).ok().and_then(Format::of);
    let (Some(format), Ok(object)) = (format, object::File::parse(bytes)) else {
        return Err(no_library(file));
    };
    let text = manifest_text(&object, bytes, format).ok_or_else(|| {
        Refusal::new(
            code::NO_MANIFEST,
            format!("{file} is no backend library: it exports no {MANIFEST_SYMBOL}; name the built library"),
        )
    })?;
    Manifest::parse(file, text)
}

/// Some linkers pad a section.
fn unpadded(data: &[u8]) -> &[u8] {
    let data = data.trim_ascii_end();
    let padding = data.iter().rev().take_while(|byte| **byte == 0).count();
    &data[..data.len() - padding]
}

/// The manifest as it lies in the file: in its section, or where the exported symbol points.
fn manifest_text<'data>(
    object: &object::File<'data>,
    bytes: &'data [u8],
    format: Format,
) -> Option<&'data [u8]> {
    if let Some(section) = object.section_by_name(format.manifest_section()) {
        return section.data().ok().map(unpadded);
    }
    let found = exported(object, bytes, format, MANIFEST_SYMBOL)?;
    let end = found.iter().position(|byte| *byte == 0);
    Some(&found[..end.unwrap_or(found.len())])
}

/// What the export of that name points to: as much as it says, or all up to the end of its section.
fn exported<'data>(
    object: &object::File<'data>,
    bytes: &'data [u8],
    format: Format,
    name: &str,
) -> Option<&'data [u8]> {
    match format {
        Format::Elf => {
            let symbol = named(object.dynamic_symbols().filter(ObjectSymbol::is_definition), name)?;
            object
                .segments()
                .find_map(|segment| segment.data_range(symbol.address(), symbol.size()).ok().flatten())
        }
        Format::Pe => pe::exported(bytes, name),
        Format::MachO => mach_o::exported(bytes, name),
    }
}

/// The symbol of that name. A damaged file may have millions of them that all begin within one endless name: so only so
/// much of names is read as a whole library can have.
fn named<'data, S: ObjectSymbol<'data>>(symbols: impl Iterator<Item = S>, name: &str) -> Option<S> {
    const MAX_READ: usize = 1 << 28;
    let mut read = 0;
    for symbol in symbols {
        let found = symbol.name_bytes().ok()?;
        if found == name.as_bytes() {
            return Some(symbol);
        }
        read += found.len();
        if read > MAX_READ {
            return None;
        }
    }
    None
}
