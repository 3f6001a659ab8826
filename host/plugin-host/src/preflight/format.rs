//! Which kind of file a library is, and which kind this host loads. All kinds are read on every system, so that a file
//! from another one is told by its name, and so that all of it can be tested anywhere.

use object::FileKind;

use super::{elf, mach_o, pe};
use crate::{
    load,
    model::quantity,
    refusal::{Refusal, code, list},
};

/// The formats of shared libraries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Elf,
    /// Windows.
    Pe,
    /// macOS.
    MachO,
}

impl Format {
    const HERE: Self = if cfg!(windows) {
        Self::Pe
    } else if cfg!(target_vendor = "apple") {
        Self::MachO
    } else {
        Self::Elf
    };

    pub(super) fn of(kind: FileKind) -> Option<Self> {
        match kind {
            FileKind::Elf32 | FileKind::Elf64 => Some(Self::Elf),
            FileKind::Pe32 | FileKind::Pe64 => Some(Self::Pe),
            FileKind::MachO32 | FileKind::MachO64 | FileKind::MachOFat32 | FileKind::MachOFat64 => {
                Some(Self::MachO)
            }
            _ => None,
        }
    }

    /// Where a library keeps its manifest: the `MANIFEST_SECTION` of the ABI, on that system.
    pub(super) fn manifest_section(self) -> &'static str {
        match self {
            Self::Elf => ".pv_plugin",
            Self::Pe => ".pvplug",
            Self::MachO => "__pv_plugin",
        }
    }

    fn library(self) -> &'static str {
        match self {
            Self::Elf => "an ELF library",
            Self::Pe => "a Windows DLL",
            Self::MachO => "a macOS library",
        }
    }

    /// What a file of this format is, as far as its headers can be read.
    fn describe(self, bytes: &[u8]) -> String {
        let (is_library, architectures) = match self {
            Self::Elf => elf::about(bytes),
            Self::Pe => pe::about(bytes),
            Self::MachO => mach_o::about(bytes),
        };
        let kind = match self {
            _ if is_library => self.library(),
            Self::Elf => "an ELF file",
            Self::Pe => "a Windows program",
            Self::MachO => "a macOS program or object file",
        };
        if architectures.is_empty() {
            return kind.to_owned();
        }
        format!("{kind} for {}", list(&architectures))
    }
}

/// What a library must fit.
pub(crate) struct Platform {
    pub(super) format: Format,
    /// Such as `64-bit x86_64`.
    pub(super) architecture: String,
    /// `None`: another C library.
    pub(super) glibc: Option<(u32, u32)>,
}

impl Platform {
    pub(crate) fn here() -> Self {
        Self {
            format: Format::HERE,
            architecture: own_architecture(),
            glibc: load::glibc_version(),
        }
    }

    /// Refuses a library for other processors than this host's.
    pub(super) fn check_architecture(&self, file: &str, found: &str) -> Result<(), Refusal> {
        if found == self.architecture {
            return Ok(());
        }
        Err(Refusal::new(
            code::WRONG_ARCHITECTURE,
            format!(
                "{file} is built for {found}, this host runs on {}; build the library for {}",
                self.architecture, self.architecture
            ),
        ))
    }

    /// Why a file of another kind is not taken.
    pub(super) fn foreign(&self, file: &str, bytes: &[u8], kind: Option<FileKind>) -> Refusal {
        let sentence = match kind.and_then(Format::of) {
            Some(format) if !is_java(bytes) => format!(
                "{file} is {}, and this host needs {} for {}; build the library for this system",
                format.describe(bytes),
                self.format.library(),
                self.architecture
            ),
            _ => format!(
                "{file} is {}, and a shared library of this system was needed; put the built library there",
                describe(kind, bytes)
            ),
        };
        Refusal::new(code::NOT_AN_OBJECT, sentence)
    }
}

/// A library whose headers and bytes do not fit each other.
pub(super) fn damaged(file: &str, bytes: &[u8]) -> Refusal {
    Refusal::new(
        code::TRUNCATED,
        format!(
            "{file} is damaged or cut off: its headers do not fit its {}; copy it there again",
            quantity(bytes.len(), "byte", "bytes")
        ),
    )
}

/// A class of Java begins as a universal library of macOS does; but that has a few parts, and Java has version 45 or
/// later.
pub(super) fn is_java(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0xca, 0xfe, 0xba, 0xbe])
        && bytes
            .get(4..8)
            .and_then(|version| version.try_into().ok())
            .is_some_and(|version| u32::from_be_bytes(version) >= 45)
}

/// The architecture that this host was built for, in the words of the formats.
fn own_architecture() -> String {
    let bits = if cfg!(target_pointer_width = "64") { 64 } else { 32 };
    let name = match std::env::consts::ARCH {
        "powerpc64" if cfg!(target_endian = "little") => "powerpc64le",
        "riscv64" | "riscv32" => "riscv",
        "loongarch64" => "loongarch",
        other => other,
    };
    format!("{bits}-bit {name}")
}

/// What a file is that is no library of any system.
fn describe(kind: Option<FileKind>, bytes: &[u8]) -> &'static str {
    match kind {
        Some(FileKind::Archive) => "an archive of object files",
        Some(FileKind::Coff | FileKind::CoffBig) => "an object file that is not linked yet",
        Some(FileKind::CoffImport) => "an import library, which only names what a DLL has",
        _ if bytes.is_empty() => "empty",
        _ if is_java(bytes) => "a class of Java",
        _ if bytes.starts_with(b"\x7fELF") => "the beginning of an ELF file, cut off",
        _ if bytes.starts_with(b"MZ") && bytes.len() < 64 => "the beginning of a Windows DLL, cut off",
        _ if bytes.starts_with(b"MZ") => "a program for MS-DOS, or a damaged Windows DLL",
        _ if mach_o::begins_as_one(bytes) => "the beginning of a macOS library, cut off",
        _ if std::str::from_utf8(bytes).is_ok() => "a text file",
        _ => "not an object file",
    }
}

#[cfg(test)]
mod tests {
    use phone_verify_plugin_abi::MANIFEST_SECTION;

    use super::*;

    #[test]
    fn the_section_of_this_system_is_the_one_of_the_abi() {
        let section = MANIFEST_SECTION.rsplit(',').next();
        assert_eq!(section, Some(Format::HERE.manifest_section()));
    }
}
