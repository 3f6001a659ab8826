//! What the headers of an ELF file say about whether it can be loaded here.
//!
//! Invariant: any bytes at all lead to a verdict, never to a panic; nothing is read that lies outside of
//! the file, and a file that its own headers reach beyond is refused, since mapping it would crash later.

use object::{
    Endianness,
    elf::{self, FileHeader32, FileHeader64},
    read::elf::{ElfFile, FileHeader, ProgramHeader, Sym},
};

use super::{
    format::{Platform, damaged},
    linkage::{Linkage, MAX_DEPENDENCIES, MAX_UNIQUE, dependency, sanitizer_of},
};
use crate::refusal::{Refusal, code};

/// Refuses what cannot be loaded on `platform`; `file` names the library in a refusal.
pub(super) fn check(file: &str, bytes: &[u8], platform: &Platform) -> Result<Linkage, Refusal> {
    // The fifth byte is the class: 1 is 32 bits, 2 is 64.
    match bytes.get(4) {
        Some(2) => check_class::<FileHeader64<Endianness>>(file, bytes, platform),
        _ => check_class::<FileHeader32<Endianness>>(file, bytes, platform),
    }
}

fn check_class<E: FileHeader<Endian = Endianness>>(
    file: &str,
    bytes: &[u8],
    platform: &Platform,
) -> Result<Linkage, Refusal> {
    let header = E::parse(bytes).map_err(|_| damaged(file, bytes))?;
    let endian = header.endian().map_err(|_| damaged(file, bytes))?;

    let found = architecture(
        header.e_machine(endian),
        header.is_class_64(),
        endian == Endianness::Big,
    );
    platform.check_architecture(file, &found)?;
    if header.e_type(endian) != elf::ET_DYN {
        return Err(not_shared(file));
    }
    if !is_whole(header, endian, bytes) {
        return Err(damaged(file, bytes));
    }

    let parsed = ElfFile::<E, &[u8]>::parse(bytes).map_err(|_| damaged(file, bytes))?;
    let needs = Needs::read(&parsed).ok_or_else(|| damaged(file, bytes))?;
    if needs.is_program {
        return Err(not_shared(file));
    }
    check_libc(file, &needs, platform)?;
    if parsed.elf_section_table().is_empty() {
        return Err(Refusal::new(
            code::NO_SECTIONS,
            format!(
                "{file} has no section headers, by which its manifest and its exports are read before it is opened; build it \
                 again, and make it smaller with strip, which keeps them"
            ),
        ));
    }
    let linkage = linkage(header, endian, bytes, &parsed, needs, platform);
    linkage.ok_or_else(|| damaged(file, bytes))
}

fn linkage<'data, E: FileHeader<Endian = Endianness>>(
    header: &E,
    endian: Endianness,
    bytes: &'data [u8],
    parsed: &ElfFile<'data, E, &'data [u8]>,
    needs: Needs,
    platform: &Platform,
) -> Option<Linkage> {
    let segments = header.program_headers(endian, bytes).ok()?;
    let stack = segments
        .iter()
        .find(|segment| segment.p_type(endian) == elf::PT_GNU_STACK);
    // glibc takes it that one that says nothing wants it.
    let has_executable_stack = stack.map_or(platform.glibc.is_some(), |stack| {
        stack.p_flags(endian).0 & elf::PF_X.0 != 0
    });
    let symbols = parsed.elf_dynamic_symbol_table();
    let unique = symbols
        .iter()
        .filter(|symbol| symbol.st_bind() == elf::STB_GNU_UNIQUE && !symbol.is_undefined(endian))
        .filter_map(|symbol| symbol.name(endian, symbols.strings()).ok())
        .take(MAX_UNIQUE)
        .map(|name| String::from_utf8_lossy(name).into_owned())
        .collect();
    let sanitizers = symbols
        .iter()
        .filter(|symbol| symbol.is_undefined(endian))
        .filter_map(|symbol| sanitizer_of(symbol.name(endian, symbols.strings()).ok()?));
    Some(Linkage {
        // The first of the table, for one that is asked for two things.
        sanitizer: sanitizers.min(),
        needed: needs.libraries,
        run_paths: needs.run_paths,
        has_executable_stack,
        unique,
    })
}

/// `64-bit x86_64`; machines that nobody has here keep their number.
fn architecture(machine: elf::Machine, is_64_bit: bool, is_big: bool) -> String {
    let name = match (machine, is_big) {
        (elf::EM_X86_64, false) => "x86_64",
        (elf::EM_386, false) => "x86",
        (elf::EM_AARCH64, false) => "aarch64",
        (elf::EM_ARM, false) => "arm",
        (elf::EM_RISCV, false) => "riscv",
        (elf::EM_LOONGARCH, false) => "loongarch",
        (elf::EM_PPC64, false) => "powerpc64le",
        (elf::EM_PPC64, true) => "powerpc64",
        (elf::EM_S390, true) => "s390x",
        (machine, _) => {
            let order = if is_big { "big" } else { "little" };
            let bits = if is_64_bit { 64 } else { 32 };
            return format!("{bits}-bit {order}-endian ELF machine {}", machine.0);
        }
    };
    format!("{}-bit {name}", if is_64_bit { 64 } else { 32 })
}

/// Whether it is a library or a program that may be loaded anywhere, and for which processor.
pub(super) fn about(bytes: &[u8]) -> (bool, Vec<String>) {
    fn read<E: FileHeader<Endian = Endianness>>(bytes: &[u8]) -> Option<(bool, Vec<String>)> {
        let header = E::parse(bytes).ok()?;
        let endian = header.endian().ok()?;
        let is_big = endian == Endianness::Big;
        let architecture = architecture(header.e_machine(endian), header.is_class_64(), is_big);
        Some((header.e_type(endian) == elf::ET_DYN, vec![architecture]))
    }
    read::<FileHeader64<Endianness>>(bytes)
        .or_else(|| read::<FileHeader32<Endianness>>(bytes))
        .unwrap_or_default()
}

/// What a library needs, and where it looks for that.
pub(super) fn needed(bytes: &[u8]) -> Option<(Vec<String>, Vec<String>)> {
    fn read<E: FileHeader<Endian = Endianness>>(bytes: &[u8]) -> Option<(Vec<String>, Vec<String>)> {
        let needs = Needs::read(&ElfFile::<E, &[u8]>::parse(bytes).ok()?)?;
        Some((needs.libraries, needs.run_paths))
    }
    read::<FileHeader64<Endianness>>(bytes).or_else(|| read::<FileHeader32<Endianness>>(bytes))
}

/// Whether all that the headers speak of lies in the file.
fn is_whole<E: FileHeader<Endian = Endianness>>(header: &E, endian: Endianness, bytes: &[u8]) -> bool {
    let length = bytes.len() as u64;
    let Ok(segments) = header.program_headers(endian, bytes) else {
        return false;
    };
    header.section_headers(endian, bytes).is_ok()
        && !segments.is_empty()
        && segments.iter().all(|segment| {
            segment.p_type(endian) != elf::PT_LOAD
                || segment
                    .p_offset(endian)
                    .into()
                    .checked_add(segment.p_filesz(endian).into())
                    .is_some_and(|end| end <= length)
        })
}

/// What an ELF file asks of the system.
#[derive(Default)]
struct Needs {
    libraries: Vec<String>,
    run_paths: Vec<String>,
    /// The newest `GLIBC_x.y`.
    glibc: Option<(u32, u32)>,
    is_program: bool,
}

impl Needs {
    fn read<'data, E: FileHeader<Endian = Endianness>>(
        file: &ElfFile<'data, E, &'data [u8]>,
    ) -> Option<Self> {
        let mut needs = Self::default();
        let dynamic = file.elf_dynamic_table().ok()?;
        for entry in &dynamic {
            match entry.tag {
                elf::DT_NEEDED | elf::DT_RPATH | elf::DT_RUNPATH => {
                    let text = dependency(dynamic.string(entry).ok()?)?;
                    let into = if entry.tag == elf::DT_NEEDED {
                        &mut needs.libraries
                    } else {
                        &mut needs.run_paths
                    };
                    if into.len() == MAX_DEPENDENCIES {
                        return None;
                    }
                    into.push(text);
                }
                elf::DT_FLAGS_1 => needs.is_program = entry.val & elf::DF_1_PIE.0 != 0,
                _ => {}
            }
        }
        let sections = file.elf_section_table();
        if let Some((mut libraries, strings)) = sections.gnu_verneed(file.endian(), file.data()).ok()? {
            let strings = sections.strings(file.endian(), file.data(), strings).ok()?;
            while let Some((_, mut versions)) = libraries.next().ok()? {
                while let Some(version) = versions.next().ok()? {
                    let name = version.name(file.endian(), strings).ok()?;
                    needs.glibc = needs.glibc.max(glibc_version(name));
                }
            }
        }
        Some(needs)
    }
}

/// `GLIBC_2.34`, `GLIBC_2.2.5`.
fn glibc_version(name: &[u8]) -> Option<(u32, u32)> {
    let version = std::str::from_utf8(name).ok()?.strip_prefix("GLIBC_")?;
    let mut parts = version.split('.').map(|part| part.parse().ok());
    Some((parts.next()??, parts.next()??))
}

fn check_libc(file: &str, needs: &Needs, platform: &Platform) -> Result<(), Refusal> {
    let wants_musl = needs
        .libraries
        .iter()
        .any(|library| library == "libc.so" || library.starts_with("libc.musl-"));
    let wants_glibc = needs.glibc.is_some() || needs.libraries.iter().any(|library| library == "libc.so.6");
    let refuse = |found: &str, here: &str| {
        Refusal::new(
            code::WRONG_LIBC,
            format!("{file} is built for {found}, this host runs on {here}; build the library for {here}"),
        )
    };
    match platform.glibc {
        Some(_) if wants_musl => Err(refuse("musl", "glibc")),
        None if wants_glibc => Err(refuse("glibc", "another C library")),
        Some(here) if needs.glibc > Some(here) => {
            let (major, minor) = needs.glibc.unwrap_or_default();
            Err(Refusal::new(
                code::GLIBC_TOO_OLD,
                format!(
                    "{file} needs glibc {major}.{minor}, this system has {}.{}; build the library on a system with \
                     glibc {}.{} or older, such as with cargo-zigbuild",
                    here.0, here.1, here.0, here.1
                ),
            ))
        }
        _ => Ok(()),
    }
}

fn not_shared(file: &str) -> Refusal {
    Refusal::new(
        code::NOT_SHARED,
        format!(
            "{file} is an ELF file but not a shared library; build it as one, with -shared in C, or crate-type = [\"cdylib\"] in Rust"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::{super::format::Format, *};

    #[test]
    fn a_glibc_version_is_read_as_numbers() {
        assert_eq!(glibc_version(b"GLIBC_2.2.5"), Some((2, 2)));
        assert!(glibc_version(b"GLIBC_2.34") > glibc_version(b"GLIBC_2.4"));
        assert_eq!(glibc_version(b"GLIBC_PRIVATE"), None);
        assert_eq!(glibc_version(b"GCC_3.0"), None);
    }

    #[test]
    fn the_libc_must_be_the_hosts() {
        let check = |libraries: &[&str], glibc, here| {
            let needs = Needs {
                libraries: libraries.iter().map(ToString::to_string).collect(),
                run_paths: Vec::new(),
                glibc,
                is_program: false,
            };
            let platform = Platform {
                format: Format::Elf,
                architecture: String::new(),
                glibc: here,
            };
            check_libc("libx.so", &needs, &platform).map_err(|refusal| (refusal.code, refusal.sentence))
        };
        assert_eq!(check(&["libc.so.6"], Some((2, 34)), Some((2, 36))), Ok(()));
        assert_eq!(check(&[], None, Some((2, 36))), Ok(()));
        let (code, sentence) = check(&["libc.so.6"], Some((2, 39)), Some((2, 36))).unwrap_err();
        assert_eq!(code, code::GLIBC_TOO_OLD);
        assert_eq!(
            sentence,
            "libx.so needs glibc 2.39, this system has 2.36; build the library on a system with glibc 2.36 or older, \
             such as with cargo-zigbuild"
        );
        let (code, sentence) = check(&["libc.musl-x86_64.so.1"], None, Some((2, 36))).unwrap_err();
        assert_eq!(code, code::WRONG_LIBC);
        assert_eq!(
            sentence,
            "libx.so is built for musl, this host runs on glibc; build the library for glibc"
        );
        assert!(check(&["libc.so.6"], Some((2, 17)), None).is_err());
    }
}
