//! What the headers of a library of macOS say about whether it can be loaded here; of a universal one, what the part
//! for this processor says.
//!
//! Invariant: as for ELF; and the table of exports, a graph in which a name is looked for letter by letter, is followed
//! along that name alone: a damaged one may have more ways through it than could ever be walked.

use object::{
    Endianness, FileKind, Object, ObjectSymbol,
    macho::{self, FatArch32, FatArch64, MachHeader32, MachHeader64},
    read::{
        ReadRef,
        macho::{FatArch, LoadCommandData, MachHeader, MachOFatFile, MachOFile, Segment},
    },
};

use super::{
    format::{Platform, damaged},
    linkage::{Linkage, MAX_DEPENDENCIES, dependency},
};
use crate::refusal::{Refusal, code, list};

/// Whether it begins as a library of macOS, however little of it is there.
pub(super) fn begins_as_one(bytes: &[u8]) -> bool {
    const MAGIC: [[u8; 4]; 6] = [
        [0xfe, 0xed, 0xfa, 0xce],
        [0xfe, 0xed, 0xfa, 0xcf],
        [0xce, 0xfa, 0xed, 0xfe],
        [0xcf, 0xfa, 0xed, 0xfe],
        [0xca, 0xfe, 0xba, 0xbe],
        [0xca, 0xfe, 0xba, 0xbf],
    ];
    MAGIC.iter().any(|magic| bytes.starts_with(magic))
}

/// The part of the file that the system would load on `platform`: all of it, unless it is universal.
pub(super) fn part<'data>(
    file: &str,
    bytes: &'data [u8],
    platform: &Platform,
) -> Result<&'data [u8], Refusal> {
    let Some(parts) = parts(bytes) else {
        return Ok(bytes);
    };
    let parts = parts.ok_or_else(|| damaged(file, bytes))?;
    let Some(part) = parts
        .iter()
        .find(|part| part.architecture == platform.architecture)
    else {
        let architectures: Vec<String> = parts.into_iter().map(|part| part.architecture).collect();
        let found = format!("{} (a universal library)", list(&architectures));
        return Err(platform
            .check_architecture(file, &found)
            .err()
            .unwrap_or_else(|| damaged(file, bytes)));
    };
    part.of(file, bytes)
}

/// Every part of a universal library, at least one; any other file is one part.
pub(super) fn every_part<'data>(file: &str, bytes: &'data [u8]) -> Result<Vec<&'data [u8]>, Refusal> {
    let Some(parts) = parts(bytes) else {
        return Ok(vec![bytes]);
    };
    let parts = parts.ok_or_else(|| damaged(file, bytes))?;
    parts.iter().map(|part| part.of(file, bytes)).collect()
}

/// A part of a universal library.
struct Part {
    architecture: String,
    offset: u64,
    size: u64,
}

impl Part {
    fn of<'data>(&self, file: &str, bytes: &'data [u8]) -> Result<&'data [u8], Refusal> {
        bytes
            .read_bytes_at(self.offset, self.size)
            .map_err(|()| damaged(file, bytes))
    }
}

/// The parts; `None` for a library that is not universal, and `Some(None)` for a damaged one.
#[allow(clippy::option_option)]
fn parts(bytes: &[u8]) -> Option<Option<Vec<Part>>> {
    fn read<Fat: FatArch>(bytes: &[u8]) -> Option<Vec<Part>> {
        /// There are not that many processors.
        const MAX_PARTS: usize = 32;
        let file = MachOFatFile::<Fat>::parse(bytes).ok()?;
        let parts = file.arches();
        (1..=MAX_PARTS).contains(&parts.len()).then(|| {
            let part = |part: &Fat| Part {
                architecture: architecture(part.cputype(), part.cpusubtype()),
                offset: part.offset().into(),
                size: part.size().into(),
            };
            parts.iter().map(part).collect()
        })
    }
    match FileKind::parse(bytes) {
        Ok(FileKind::MachOFat32) => Some(read::<FatArch32>(bytes)),
        Ok(FileKind::MachOFat64) => Some(read::<FatArch64>(bytes)),
        _ => None,
    }
}

/// Refuses what cannot be loaded on `platform`; `file` names the library in a refusal, and `bytes` are its [`part`].
pub(super) fn check(file: &str, bytes: &[u8], platform: &Platform) -> Result<Linkage, Refusal> {
    match FileKind::parse(bytes) {
        Ok(FileKind::MachO64) => check_class::<MachHeader64<Endianness>>(file, bytes, platform),
        Ok(FileKind::MachO32) => check_class::<MachHeader32<Endianness>>(file, bytes, platform),
        _ => Err(damaged(file, bytes)),
    }
}

fn check_class<Mach: MachHeader<Endian = Endianness>>(
    file: &str,
    bytes: &[u8],
    platform: &Platform,
) -> Result<Linkage, Refusal> {
    let parse = || {
        let header = Mach::parse(bytes, 0).ok()?;
        Some((header, header.endian().ok()?))
    };
    let (header, endian) = parse().ok_or_else(|| damaged(file, bytes))?;
    platform.check_architecture(
        file,
        &architecture(header.cputype(endian), header.cpusubtype(endian)),
    )?;
    if !is_library(header, endian) {
        return Err(Refusal::new(
            code::NOT_SHARED,
            format!(
                "{file} is a file of macOS but not a shared library; build it as one, with -dynamiclib in C, or crate-type = \
                 [\"cdylib\"] in Rust"
            ),
        ));
    }
    let commands = Commands::read(header, endian, bytes).ok_or_else(|| damaged(file, bytes))?;
    match commands.system {
        None | Some(macho::PLATFORM_MACOS | macho::PLATFORM_MACCATALYST) => {}
        Some(system) => {
            return Err(Refusal::new(
                code::NOT_AN_OBJECT,
                format!(
                    "{file} is built for {}, and this host needs a library for macOS; build the library for this system",
                    system_name(system)
                ),
            ));
        }
    }
    Ok(commands.linkage)
}

/// Whether it is a library, and for which processors.
pub(super) fn about(bytes: &[u8]) -> (bool, Vec<String>) {
    fn read<Mach: MachHeader<Endian = Endianness>>(bytes: &[u8]) -> Option<(bool, Vec<String>)> {
        let header = Mach::parse(bytes, 0).ok()?;
        let endian = header.endian().ok()?;
        let architecture = architecture(header.cputype(endian), header.cpusubtype(endian));
        Some((is_library(header, endian), vec![architecture]))
    }
    match parts(bytes) {
        Some(Some(parts)) => (true, parts.into_iter().map(|part| part.architecture).collect()),
        Some(None) => (false, Vec::new()),
        None => read::<MachHeader64<Endianness>>(bytes)
            .or_else(|| read::<MachHeader32<Endianness>>(bytes))
            .unwrap_or_default(),
    }
}

/// A bundle is what is called a plugin there, and can be opened as well.
fn is_library<Mach: MachHeader>(header: &Mach, endian: Mach::Endian) -> bool {
    [macho::MH_DYLIB, macho::MH_BUNDLE].contains(&header.filetype(endian))
}

/// In the words of the other formats.
fn architecture(cpu: macho::CpuType, subtype: macho::CpuSubtype) -> String {
    match cpu {
        macho::CPU_TYPE_X86_64 => "64-bit x86_64".to_owned(),
        // With signed pointers, which the system takes from its own libraries alone.
        macho::CPU_TYPE_ARM64 if subtype.id() == macho::CPU_SUBTYPE_ARM64E => "64-bit arm64e".to_owned(),
        macho::CPU_TYPE_ARM64 => "64-bit aarch64".to_owned(),
        macho::CPU_TYPE_X86 => "32-bit x86".to_owned(),
        macho::CPU_TYPE_ARM => "32-bit arm".to_owned(),
        macho::CPU_TYPE_POWERPC => "32-bit powerpc".to_owned(),
        macho::CPU_TYPE_POWERPC64 => "64-bit powerpc64".to_owned(),
        cpu => format!("the macOS processor {:#x}", cpu.0),
    }
}

fn system_name(system: macho::Platform) -> &'static str {
    match system {
        macho::PLATFORM_IOS => "iOS",
        macho::PLATFORM_TVOS => "tvOS",
        macho::PLATFORM_WATCHOS => "watchOS",
        macho::PLATFORM_IOSSIMULATOR => "the simulator of iOS",
        _ => "another system of Apple",
    }
}

/// What its load commands ask for.
#[derive(Default)]
struct Commands {
    linkage: Linkage,
    /// `None`: it does not say.
    system: Option<macho::Platform>,
}

impl Commands {
    /// `None` when they do not fit the file.
    fn read<Mach: MachHeader<Endian = Endianness>>(
        header: &Mach,
        endian: Endianness,
        bytes: &[u8],
    ) -> Option<Self> {
        let mut read = Self::default();
        let mut has_segment = false;
        let mut commands = header.load_commands(endian, bytes, 0).ok()?;
        while let Some(command) = commands.next().ok()? {
            if let Some((segment, _)) = Mach::Segment::from_command(command).ok()? {
                segment.data(endian, bytes).ok()?;
                has_segment = true;
            }
            if let Some((version, _)) = command.build_version(endian).ok()? {
                read.system = Some(version.platform.get(endian));
            }
            read.libraries(command, endian)?;
        }
        has_segment.then_some(read)
    }

    fn libraries(&mut self, command: LoadCommandData<'_, Endianness>, endian: Endianness) -> Option<()> {
        // One that is only wanted is not missed; others are loaded later.
        let is_needed = [macho::LC_LOAD_DYLIB, macho::LC_REEXPORT_DYLIB].contains(&command.cmd());
        let (text, into) = if let Some(library) = command.dylib().ok()?.filter(|_| is_needed) {
            (library.dylib.name, &mut self.linkage.needed)
        } else if command.cmd() == macho::LC_RPATH {
            let path: &macho::RpathCommand<Endianness> = command.data().ok()?;
            (path.path, &mut self.linkage.run_paths)
        } else {
            return Some(());
        };
        if into.len() == MAX_DEPENDENCIES {
            return None;
        }
        // It is ended by a zero, or by the end of its command.
        let text = command.string(endian, text).ok()?;
        into.push(dependency(&[text, b"\0"].concat())?);
        Some(())
    }
}

/// What the export of that name points to, up to the end of its segment.
pub(super) fn exported<'data>(bytes: &'data [u8], name: &str) -> Option<&'data [u8]> {
    fn read<'data, Mach: MachHeader<Endian = Endianness>>(
        bytes: &'data [u8],
        name: &str,
    ) -> Option<&'data [u8]> {
        let header = Mach::parse(bytes, 0).ok()?;
        let endian = header.endian().ok()?;
        let address = address_of(header, endian, bytes, name)?;
        let mut commands = header.load_commands(endian, bytes, 0).ok()?;
        while let Some(command) = commands.next().ok()? {
            let Some((segment, _)) = Mach::Segment::from_command(command).ok()? else {
                continue;
            };
            let start: u64 = segment.vmaddr(endian).into();
            let data = segment.data(endian, bytes).ok()?;
            let within = address.checked_sub(start).and_then(|at| usize::try_from(at).ok());
            if let Some(found) = within
                .and_then(|at| data.get(at..))
                .filter(|found| !found.is_empty())
            {
                return Some(found);
            }
        }
        None
    }
    // Every name has an underscore before it there.
    let name = format!("_{name}");
    match FileKind::parse(bytes) {
        Ok(FileKind::MachO64) => read::<MachHeader64<Endianness>>(bytes, &name),
        _ => read::<MachHeader32<Endianness>>(bytes, &name),
    }
}

/// The address of an export: by the table that the system's loader reads, or where there is none by the symbols.
fn address_of<Mach: MachHeader<Endian = Endianness>>(
    header: &Mach,
    endian: Endianness,
    bytes: &[u8],
    name: &str,
) -> Option<u64> {
    let mut table = None;
    let mut base = 0;
    let mut commands = header.load_commands(endian, bytes, 0).ok()?;
    while let Some(command) = commands.next().ok()? {
        if let Some(exports) = command.dyld_exports_trie().ok()? {
            table = Some((exports.dataoff.get(endian), exports.datasize.get(endian)));
        } else if let Some(info) = command.dyld_info().ok()?.filter(|_| table.is_none()) {
            table = Some((info.export_off.get(endian), info.export_size.get(endian)));
        }
        let segment = Mach::Segment::from_command(command).ok()?;
        let text = segment.filter(|(segment, _)| segment.name() == macho::SEG_TEXT.as_bytes());
        base = text.map_or(base, |(segment, _)| segment.vmaddr(endian).into());
    }
    if let Some((offset, size)) = table {
        let table = bytes.read_bytes_at(offset.into(), size.into()).ok()?;
        return Some(in_table(table, name.as_bytes())?.wrapping_add(base));
    }
    let file = MachOFile::<Mach, &[u8]>::parse(bytes).ok()?;
    let is_exported = |symbol: &_| ObjectSymbol::is_definition(symbol) && ObjectSymbol::is_global(symbol);
    Some(super::named(file.symbols().filter(is_exported), name)?.address())
}

/// Follows a name through the table of exports; see `<mach-o/loader.h>` on `LC_DYLD_INFO`. An edge of the graph has a
/// part of the name, which is never empty but in a damaged one.
fn in_table(table: &[u8], name: &[u8]) -> Option<u64> {
    /// Longer ones make no name of a backend library.
    const MAX_EDGE: usize = 4096;
    let (mut node, mut rest) = (0, name);
    loop {
        let mut data = table.get(node..)?;
        let size = usize::try_from(number(&mut data)?).ok()?;
        let (mut export, children) = data.split_at_checked(size)?;
        if rest.is_empty() {
            let flags = number(&mut export)?;
            // One that another library has in truth is not looked for there.
            return (flags & macho::EXPORT_SYMBOL_FLAGS_REEXPORT.0 == 0).then(|| number(&mut export))?;
        }
        let (count, mut children) = children.split_first()?;
        let mut next = None;
        for _ in 0..*count {
            let end = children.iter().take(MAX_EDGE).position(|byte| *byte == 0)?;
            let edge = &children[..end];
            children = &children[end + 1..];
            let child = number(&mut children)?;
            if let Some(rest) = rest.strip_prefix(edge).filter(|_| !edge.is_empty()) {
                next = Some((usize::try_from(child).ok()?, rest));
                break;
            }
        }
        (node, rest) = next?;
    }
}

/// Reads a number of the table (LEB128).
fn number(data: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = data.split_first()?;
        *data = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}
