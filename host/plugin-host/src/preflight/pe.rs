//! What the headers of a DLL of Windows say about whether it can be loaded here.
//!
//! Invariant: as for ELF; nothing is read that lies outside of the file, and no name is longer than a bound, however
//! often a file points to it.

use object::{
    FileKind, LittleEndian as LE,
    pe::{self, ImageDosHeader, ImageImportDescriptor, ImageNtHeaders32, ImageNtHeaders64},
    read::{
        ReadRef,
        pe::{ImageNtHeaders, ImageOptionalHeader, PeFile, SectionTable},
    },
};

use super::{
    format::{Platform, damaged},
    linkage::{Linkage, MAX_DEPENDENCIES, dependency},
};
use crate::refusal::{Refusal, code};

/// Windows loads no file with more of them.
const MAX_SECTIONS: usize = 96;

/// Refuses what cannot be loaded on `platform`; `file` names the library in a refusal.
pub(super) fn check(file: &str, bytes: &[u8], platform: &Platform) -> Result<Linkage, Refusal> {
    match FileKind::parse(bytes) {
        Ok(FileKind::Pe64) => check_class::<ImageNtHeaders64>(file, bytes, platform),
        _ => check_class::<ImageNtHeaders32>(file, bytes, platform),
    }
}

/// Whether a file that begins as a DLL ends before its headers do.
pub(super) fn is_cut_off(bytes: &[u8]) -> bool {
    bytes.starts_with(b"MZ")
        && ImageDosHeader::parse(bytes).map_or(true, |header| {
            let end = u64::from(header.nt_headers_offset()) + size_of::<ImageNtHeaders32>() as u64;
            end > bytes.len() as u64
        })
}

fn check_class<Pe: ImageNtHeaders>(
    file: &str,
    bytes: &[u8],
    platform: &Platform,
) -> Result<Linkage, Refusal> {
    let parsed = PeFile::<Pe, &[u8]>::parse(bytes).map_err(|_| damaged(file, bytes))?;
    let headers = parsed.nt_headers();
    platform.check_architecture(file, &architecture(headers.file_header().machine.get(LE)))?;
    if !is_dll(headers) {
        return Err(Refusal::new(
            code::NOT_SHARED,
            format!(
                "{file} is a Windows program and not a DLL; build it as one, with -shared in C, or crate-type = [\"cdylib\"] in Rust"
            ),
        ));
    }
    if !is_whole(&parsed, bytes) {
        return Err(damaged(file, bytes));
    }
    let needed = imports(&parsed, bytes).ok_or_else(|| damaged(file, bytes))?;
    Ok(Linkage {
        needed,
        ..Linkage::default()
    })
}

/// Whether it is a DLL, and for which processor.
pub(super) fn about(bytes: &[u8]) -> (bool, Vec<String>) {
    fn read<Pe: ImageNtHeaders>(bytes: &[u8]) -> Option<(bool, Vec<String>)> {
        let mut offset = ImageDosHeader::parse(bytes).ok()?.nt_headers_offset().into();
        let (headers, _) = Pe::parse(bytes, &mut offset).ok()?;
        let architecture = architecture(headers.file_header().machine.get(LE));
        Some((is_dll(headers), vec![architecture]))
    }
    read::<ImageNtHeaders64>(bytes)
        .or_else(|| read::<ImageNtHeaders32>(bytes))
        .unwrap_or_default()
}

/// The DLLs that a DLL needs when it is loaded, and for which processor it is; `None` if it is none, or damaged.
pub(super) fn needed(bytes: &[u8]) -> Option<(String, Vec<String>)> {
    fn read<Pe: ImageNtHeaders>(bytes: &[u8]) -> Option<(String, Vec<String>)> {
        let parsed = PeFile::<Pe, &[u8]>::parse(bytes).ok()?;
        let machine = parsed.nt_headers().file_header().machine.get(LE);
        Some((architecture(machine), imports(&parsed, bytes)?))
    }
    read::<ImageNtHeaders64>(bytes).or_else(|| read::<ImageNtHeaders32>(bytes))
}

fn is_dll<Pe: ImageNtHeaders>(headers: &Pe) -> bool {
    let characteristics = headers.file_header().characteristics.get(LE);
    characteristics.contains(pe::IMAGE_FILE_DLL)
}

/// In the words of the other formats.
fn architecture(machine: pe::Machine) -> String {
    match machine {
        pe::IMAGE_FILE_MACHINE_AMD64 => "64-bit x86_64".to_owned(),
        pe::IMAGE_FILE_MACHINE_I386 => "32-bit x86".to_owned(),
        pe::IMAGE_FILE_MACHINE_ARM64 | pe::IMAGE_FILE_MACHINE_ARM64X => "64-bit aarch64".to_owned(),
        pe::IMAGE_FILE_MACHINE_ARM64EC => "64-bit arm64ec".to_owned(),
        pe::IMAGE_FILE_MACHINE_ARM | pe::IMAGE_FILE_MACHINE_THUMB | pe::IMAGE_FILE_MACHINE_ARMNT => {
            "32-bit arm".to_owned()
        }
        machine => format!("the Windows machine {:#06x}", machine.0),
    }
}

/// Whether all that the headers speak of lies in the file.
fn is_whole<Pe: ImageNtHeaders>(file: &PeFile<'_, Pe>, bytes: &[u8]) -> bool {
    let length = bytes.len() as u64;
    let lies_within = |start: u32, size: u32| u64::from(start) + u64::from(size) <= length;
    let headers = file.nt_headers();
    let sections = file.section_table();
    let signature = file
        .data_directory(pe::IMAGE_DIRECTORY_ENTRY_SECURITY)
        .map_or((0, 0), pe::ImageDataDirectory::address_range);
    // Symbols are for debuggers alone, but what has lost them was cut off.
    let strings = headers
        .symbols(bytes)
        .ok()
        .zip(symbols_end(headers.file_header(), bytes));
    (1..=MAX_SECTIONS).contains(&sections.len())
        && lies_within(0, headers.optional_header().size_of_headers())
        && lies_within(signature.0, signature.1)
        && strings.is_some()
        && sections.iter().all(|section| {
            lies_within(
                section.pointer_to_raw_data.get(LE),
                section.size_of_raw_data.get(LE),
            )
        })
}

/// Where the texts behind the symbols end, if that lies in the file.
fn symbols_end(header: &pe::ImageFileHeader, bytes: &[u8]) -> Option<u64> {
    const SIZE_OF_SYMBOL: u64 = 18;
    let start = u64::from(header.pointer_to_symbol_table.get(LE));
    if start == 0 {
        return Some(0);
    }
    let strings = start + u64::from(header.number_of_symbols.get(LE)) * SIZE_OF_SYMBOL;
    let length = bytes.read_bytes_at(strings, 4).ok()?.try_into().ok()?;
    let end = strings + u64::from(u32::from_le_bytes(length));
    (end <= bytes.len() as u64).then_some(end)
}

/// The DLLs that are loaded with it; those that it loads when it first calls them are not missed before.
fn imports<Pe: ImageNtHeaders>(file: &PeFile<'_, Pe>, bytes: &[u8]) -> Option<Vec<String>> {
    let sections = file.section_table();
    let Some(directory) = file.data_directory(pe::IMAGE_DIRECTORY_ENTRY_IMPORT) else {
        return Some(Vec::new());
    };
    let (address, _) = directory.address_range();
    if address == 0 {
        return Some(Vec::new());
    }
    let descriptors = sections.pe_data_at(bytes, address)?;
    let mut needed = Vec::new();
    for descriptor in descriptors.chunks_exact(size_of::<ImageImportDescriptor>()) {
        let word = |at: usize| -> Option<u32> {
            Some(u32::from_le_bytes(descriptor.get(at..at + 4)?.try_into().ok()?))
        };
        // Windows ends at one without a name or without functions, whatever the size of the directory is.
        let (name, first_function) = (word(12)?, word(16)?);
        if name == 0 || first_function == 0 {
            return Some(needed);
        }
        if needed.len() == MAX_DEPENDENCIES {
            return None;
        }
        needed.push(dependency(sections.pe_data_at(bytes, name)?)?);
    }
    // It runs to the end of its section, which Windows fills up with zeros.
    Some(needed)
}

/// What the export of that name points to, up to the end of its section.
pub(super) fn exported<'data>(bytes: &'data [u8], name: &str) -> Option<&'data [u8]> {
    fn read<'data, Pe: ImageNtHeaders>(bytes: &'data [u8], name: &str) -> Option<&'data [u8]> {
        let parsed = PeFile::<Pe, &[u8]>::parse(bytes).ok()?;
        let sections = parsed.section_table();
        let table = parsed.export_table().ok()??;
        let (_, index) = table
            .name_iter()
            .find(|(address, _)| is_named(sections, bytes, *address, name))?;
        let address = table.address_by_index(index).ok()?;
        if table.is_forward(address) {
            return None;
        }
        sections.pe_data_at(bytes, address)
    }
    read::<ImageNtHeaders64>(bytes, name).or_else(|| read::<ImageNtHeaders32>(bytes, name))
}

/// Whether that text lies there. No more is read than it is long: many names may point into one endless text.
fn is_named(sections: SectionTable<'_>, bytes: &[u8], address: u32, name: &str) -> bool {
    let found = sections.pe_data_at(bytes, address);
    found
        .and_then(|found| found.strip_prefix(name.as_bytes()))
        .is_some_and(|rest| rest.starts_with(b"\0"))
}
