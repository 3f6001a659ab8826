//! Why a system did not open a library, from what its loader says: with whatever helps, and with the name of what is
//! missing where the loader tells it.
//!
//! Invariant: only text is looked at, so that what every system says is tested on every system.

use crate::refusal::{Refusal, code};

/// `why` is what the loader says, with the library called `file` in it.
pub(super) fn refusal(file: &str, why: &str) -> Refusal {
    if let Some(missing) = missing_library(why) {
        return Refusal::new(
            code::MISSING_DEPENDENCY,
            format!(
                "{file} needs {missing}, which this system does not have; install it, or link it statically into the \
                 library"
            ),
        );
    }
    if windows_error(why) == Some(ERROR_MOD_NOT_FOUND) {
        return Refusal::new(
            code::MISSING_DEPENDENCY,
            format!(
                "{file} needs a DLL that this system does not have; install it, or link it statically into the library"
            ),
        );
    }
    if why.contains("static TLS block") {
        return Refusal::new(
            code::NO_STATIC_TLS,
            format!(
                "{file} keeps thread-local variables in memory that is set aside when a process starts (static TLS), and more \
                 of it than is left; compile it, and what is linked into it, without -ftls-model=initial-exec, or set \
                 isolation = \"worker\" for it, where nothing else takes of it"
            ),
        );
    }
    Refusal {
        may_pass: LACKS.iter().any(|(sign, _)| why.contains(sign)),
        ..Refusal::new(
            code::NOT_OPENED,
            format!("the system could not open {file}: {why}; {}", what_helps(why)),
        )
    }
}

/// What the system may have none of now, and more of a while later, as it says so; and what helps.
const LACKS: [(&str, &str); 6] = [
    (
        "Cannot allocate memory",
        "give phone-verify, or the machine, more memory",
    ),
    ("Out of memory", "give phone-verify, or the machine, more memory"),
    (
        "Too many open files",
        "allow phone-verify more open files (LimitNOFILE=, ulimit -n)",
    ),
    (
        "No file descriptors available",
        "allow phone-verify more open files (LimitNOFILE=, ulimit -n)",
    ),
    ("Input/output error", "look at the disk that it lies on"),
    ("I/O error", "look at the disk that it lies on"),
];

/// See <https://learn.microsoft.com/windows/win32/debug/system-error-codes>.
const ERROR_MOD_NOT_FOUND: u32 = 126;

fn what_helps(why: &str) -> &'static str {
    match windows_error(why) {
        // ERROR_PROC_NOT_FOUND
        Some(127) => {
            return "a DLL that it needs is there, but in a version without a function that it calls: install the version that \
                    it was built with, or link it statically into the library";
        }
        // ERROR_BAD_EXE_FORMAT
        Some(193) => {
            return "a DLL that it needs is damaged or built for another processor: install the one for this processor, or link \
                    it statically into the library";
        }
        // ERROR_VIRUS_INFECTED, ERROR_INVALID_IMAGE_HASH, ERROR_ACCESS_DISABLED_BY_POLICY, and App Control's own.
        Some(225 | 577 | 1260 | 4551) => {
            return "a policy or a virus scanner of this system forbids it: have the library allowed there, or sign it";
        }
        // ERROR_DLL_INIT_FAILED
        Some(1114) => {
            return "it refused its own start (DllMain): its author knows what it needs";
        }
        _ => {}
    }
    if let Some((_, helps)) = LACKS.iter().find(|(sign, _)| why.contains(sign)) {
        helps
    } else if why.contains("failed to map segment") {
        "the directory for private copies must not be mounted noexec"
    } else if why.contains("code signature") {
        "sign the library, as with codesign --sign - FILE, and do not change it afterwards"
    } else {
        "rebuild the library on this system"
    }
}

/// `126` of `The specified module could not be found. (os error 126)`, whatever the language of the sentence is.
fn windows_error(why: &str) -> Option<u32> {
    let (_, code) = why.rsplit_once("(os error ")?;
    code.strip_suffix(')')?.parse().ok()
}

/// The library that is not there, by the loaders of glibc, musl, macOS and FreeBSD. That of Windows does not say.
fn missing_library(why: &str) -> Option<&str> {
    if let Some((library, "No such file or directory")) = why.split_once(": cannot open shared object file: ")
    {
        return Some(library);
    }
    if let Some(rest) = why.strip_prefix("Error loading shared library ") {
        let (library, cause) = rest.split_once(": ")?;
        return cause.starts_with("No such file or directory").then_some(library);
    }
    if let Some((_, rest)) = why.split_once("Library not loaded: ") {
        return rest.lines().next().map(str::trim);
    }
    let (library, _) = why
        .strip_prefix("Shared object \"")?
        .split_once("\" not found, required by ")?;
    Some(library)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_library_is_told_by_its_name_on_every_system() {
        for (why, missing) in [
            (
                "libxyz.so.1: cannot open shared object file: No such file or directory",
                "libxyz.so.1",
            ),
            (
                "Error loading shared library libxyz.so.1: No such file or directory (needed by libacme.so)",
                "libxyz.so.1",
            ),
            (
                "dlopen(libacme.dylib, 0x0006): Library not loaded: @rpath/libxyz.1.dylib\n  Referenced from: <00000000> \
                 libacme.dylib\n  Reason: tried: '/usr/lib/libxyz.1.dylib' (no such file)",
                "@rpath/libxyz.1.dylib",
            ),
            (
                "Shared object \"libxyz.so.1\" not found, required by \"libacme.so\"",
                "libxyz.so.1",
            ),
        ] {
            let refusal = refusal("libacme.so", why);
            assert_eq!(refusal.code, code::MISSING_DEPENDENCY, "{why}");
            assert_eq!(
                refusal.sentence,
                format!(
                    "libacme.so needs {missing}, which this system does not have; install it, or link it statically into \
                     the library"
                )
            );
        }
    }

    #[test]
    fn a_library_that_is_there_but_cannot_be_read_is_not_called_missing() {
        for why in [
            "libxyz.so.1: cannot open shared object file: Permission denied",
            "Error loading shared library libxyz.so.1: Permission denied (needed by libacme.so)",
        ] {
            assert_eq!(refusal("libacme.so", why).code, code::NOT_OPENED, "{why}");
        }
    }

    #[test]
    fn what_a_system_lacks_now_may_be_there_later() {
        for (why, may_pass) in [
            (
                "libacme.so: cannot map zero-fill pages: Cannot allocate memory",
                true,
            ),
            (
                "cannot create shared object descriptor: Cannot allocate memory",
                true,
            ),
            (
                "libxyz.so.1: cannot open shared object file: Too many open files",
                true,
            ),
            (
                "Error loading shared library libxyz.so.1: Out of memory (needed by libacme.so)",
                true,
            ),
            ("libacme.so: cannot read file data: Input/output error", true),
            ("libacme.so: undefined symbol: acme", false),
            ("libacme.so: failed to map segment from shared object", false),
        ] {
            let refusal = refusal("libacme.so", why);
            assert_eq!(refusal.code, code::NOT_OPENED, "{why}");
            assert_eq!(refusal.may_pass, may_pass, "{why}");
            assert_ne!(
                refusal.sentence.contains("rebuild"),
                may_pass || why.contains("segment"),
                "{why}"
            );
        }
    }

    #[test]
    fn what_windows_says_is_read_by_its_number() {
        for (why, code, helps) in [
            (
                "Das angegebene Modul wurde nicht gefunden. (os error 126)",
                code::MISSING_DEPENDENCY,
                "acme.dll needs a DLL that this system does not have; ",
            ),
            (
                "The specified procedure could not be found. (os error 127)",
                code::NOT_OPENED,
                "in a version without a function that it calls",
            ),
            (
                "%1 is not a valid Win32 application. (os error 193)",
                code::NOT_OPENED,
                "damaged or built for another processor",
            ),
            (
                "A dynamic link library (DLL) initialization routine failed. (os error 1114)",
                code::NOT_OPENED,
                "it refused its own start (DllMain)",
            ),
            (
                "This program is blocked by group policy. (os error 1260)",
                code::NOT_OPENED,
                "have the library allowed there, or sign it",
            ),
            (
                "Access is denied. (os error 5)",
                code::NOT_OPENED,
                "rebuild the library",
            ),
        ] {
            let refusal = refusal("acme.dll", why);
            assert_eq!(refusal.code, code, "{why}");
            assert!(refusal.sentence.contains(helps), "{refusal}");
        }
    }
}
