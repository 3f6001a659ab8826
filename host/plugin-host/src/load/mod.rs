//! Opens a staged library and takes out its root module, or the table of the C door. Most unsafe code of the host
//! is here.
//!
//! Invariant: a [`Library`] is had only after its major version, its `abi_stable` and the layout of every type of the
//! ABI, or the size of its table, were found to fit; and what was opened once is never closed, since wakers, vtables
//! and destructors of thread-locals point into it until the process ends.
#![allow(unsafe_code)]

mod c;
pub(super) mod crash;
mod layout;
mod not_opened;
pub(super) mod own_exit;

use std::path::Path;

use phone_verify_plugin_abi::{
    ABI_MAJOR, ABI_MINOR, BackendObj, HostObj, RawError, RootRef,
    abi_stable::{
        library::{
            AbiHeader, AbiHeaderRef, LibHeader, LibraryError, ROOT_MODULE_LOADER_NAME_WITH_NUL, RootModule,
        },
        sabi_types::VersionNumber,
        std_types::RStr,
    },
    c::{ENTRY_SYMBOL, PluginEntry},
};

use super::refusal::{Refusal, code};

/// An opened library that fits this host.
#[derive(Clone, Copy)]
pub(super) struct Library(EntryPoint);

#[derive(Clone, Copy)]
enum EntryPoint {
    Root(RootRef),
    C(c::Table),
}

impl Library {
    /// Opens the staged file at `path`; `file` names the library in a refusal, and `overrides` is what its manifest
    /// says that it overrides.
    ///
    /// This runs the library's constructors.
    pub(super) fn open(path: &Path, file: &str, overrides: u64) -> Result<Self, Refusal> {
        let handle = handle(path).map_err(|error| not_opened(file, path, &error))?;
        // SAFETY: the symbol is the static `LibHeader` that export_backends! writes, and `AbiHeaderRef` is a reference
        // to its first field. The library is never closed: see `forget` below.
        let header = unsafe { handle.get::<AbiHeaderRef>(ROOT_MODULE_LOADER_NAME_WITH_NUL.as_bytes()) };
        let header = header.ok().map(|symbol| *symbol);
        // SAFETY: the symbol is the table that `phone_verify_plugin.h` declares; that it is one is checked before use.
        let entry = unsafe { handle.get::<*const PluginEntry>(ENTRY_SYMBOL) };
        let entry = entry.ok().map(|symbol| *symbol);
        std::mem::forget(handle);
        match (header, entry) {
            (Some(header), _) => root(header, file).map(EntryPoint::Root),
            // SAFETY: as above.
            (None, Some(entry)) => unsafe { c::Table::new(entry, file, overrides) }.map(EntryPoint::C),
            (None, None) => Err(Refusal::new(
                code::NO_HEADER,
                format!(
                    "{file} exports neither a root module nor {ENTRY_SYMBOL}; rebuild it with export_backends!, or with \
                     phone_verify_plugin.h"
                ),
            )),
        }
        .map(Self)
    }

    /// One that is linked into this program, so that the compiler has found it to fit.
    pub(super) fn linked(root: RootRef) -> Self {
        Self(EntryPoint::Root(root))
    }

    /// Constructs the backend `name`.
    pub(super) fn create(
        self,
        name: &str,
        host: HostObj,
        options_json: &str,
    ) -> Result<BackendObj, RawError> {
        match self.0 {
            EntryPoint::Root(root) => {
                root.create()(RStr::from(name), host, RStr::from(options_json)).into_result()
            }
            EntryPoint::C(table) => table.create(name, host, options_json),
        }
    }
}

/// The root module of a library, found to fit.
fn root(header: AbiHeaderRef, file: &str) -> Result<RootRef, Refusal> {
    let header = upgraded(header, file)?;
    check_version(header, file)?;
    layout::check(header, file)?;
    // SAFETY: `layout::check` found the layout of the library's root module to be compatible with that of `RootRef`, in
    // one direction or the other; every accessor of a prefix type looks at the fields that the object itself says it
    // has, so that it does not matter which of the two is the older one.
    unsafe { header.unchecked_layout::<RootRef>() }.map_err(|error| {
        let why = error.to_string();
        Refusal::new(
            code::NO_ROOT,
            format!(
                "{file} could not be started: {}; this is for the author of the library",
                why.trim()
            ),
        )
    })
}

fn upgraded(header: AbiHeaderRef, file: &str) -> Result<&'static LibHeader, Refusal> {
    header.upgrade().map_err(|error| {
        let sentence = match error {
            LibraryError::InvalidAbiHeader(found) => format!(
                "{file} is built with abi_stable {}.{}, this host with {}.{}; rebuild it against \
                 phone-verify-plugin-api {ABI_MAJOR}.x",
                found.abi_major,
                found.abi_minor,
                AbiHeader::VALUE.abi_major,
                AbiHeader::VALUE.abi_minor,
            ),
            _ => format!("the compiler of {file} calls C functions in another way than this host's; rebuild it with the \
                 compiler of this host"),
        };
        Refusal::new(code::WRONG_HEADER, sentence)
    })
}

/// All symbols are bound now, so that a missing one is found here; and they stay the library's own, so that two
/// libraries with the same dependency do not meet.
#[cfg(unix)]
fn handle(path: &Path) -> Result<libloading::Library, libloading::Error> {
    use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};

    // SAFETY: running foreign constructors is what loading a backend means. The path is absolute, and the file is a
    // private copy of bytes that were judged before.
    unsafe { Library::open(Some(path), RTLD_NOW | RTLD_LOCAL) }.map(Into::into)
}

/// What it needs is looked for in the folder of the program and in that of the system, and nowhere else: the current
/// folder and `PATH` are anybody's.
#[cfg(windows)]
fn handle(path: &Path) -> Result<libloading::Library, libloading::Error> {
    use libloading::os::windows::{LOAD_LIBRARY_SEARCH_DEFAULT_DIRS, Library};

    // SAFETY: as above.
    unsafe { Library::load_with_flags(path, LOAD_LIBRARY_SEARCH_DEFAULT_DIRS) }.map(Into::into)
}

fn not_opened(file: &str, staged: &Path, error: &libloading::Error) -> Refusal {
    // The system names the private copy; the operator knows the library by its own name.
    let mut source: &dyn std::error::Error = error;
    while let Some(deeper) = source.source() {
        source = deeper;
    }
    let staged = staged.display().to_string();
    let why = source.to_string();
    let why = why
        .strip_prefix(&format!("{staged}: "))
        .unwrap_or(&why)
        .replace(&staged, file);
    not_opened::refusal(file, &why)
}

/// The gate that the layout check does not make: it takes any two versions with the same shape.
fn check_version(header: &LibHeader, file: &str) -> Result<(), Refusal> {
    let found = VersionNumber::new(header.version_strings()).map(|version| (version.major, version.minor));
    let own = VersionNumber::new(RootRef::VERSION_STRINGS).map(|version| version.major);
    match (found, own) {
        (Ok((major, _)), Ok(own)) if major == own => Ok(()),
        (Ok((major, minor)), _) => Err(Refusal::new(
            code::ABI_MAJOR,
            format!(
                "{file} speaks version {major}.{minor} of the backend ABI, this host speaks {ABI_MAJOR}.{ABI_MINOR}; \
                 rebuild the library against plugin-api {ABI_MAJOR}.x"
            ),
        )),
        (Err(_), _) => Err(Refusal::new(
            code::ABI_MAJOR,
            format!(
                "{file} does not say which version of the backend ABI it speaks; rebuild it with export_backends!"
            ),
        )),
    }
}

/// The version of the C library that this process runs on, where it is glibc.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(super) fn glibc_version() -> Option<(u32, u32)> {
    use std::ffi::{CStr, c_char};

    unsafe extern "C" {
        safe fn gnu_get_libc_version() -> *const c_char;
    }
    // SAFETY: glibc returns a pointer to a static, nul-terminated text.
    let version = unsafe { CStr::from_ptr(gnu_get_libc_version()) };
    let (major, minor) = version.to_str().ok()?.split_once('.')?;
    let minor = minor.split('.').next()?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// Not glibc.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(super) fn glibc_version() -> Option<(u32, u32)> {
    None
}

#[cfg(test)]
mod tests {
    #[test]
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    fn the_version_of_glibc_is_known() {
        assert!(super::glibc_version() >= Some((2, 17)));
    }
}
