//! Which library a file is, by its name alone: `acme` for `libacme.so`, `acme.so`, and on Windows for `ACME.DLL`.
//!
//! Invariant: the rule looks at nothing but its arguments, so that the rule of each system is tested on every system.

use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};

use super::{name::is_library_name, refusal::nearest};

/// A file may begin with it on every system: a crate makes `acme.dll`, a C project built with MinGW often
/// `libacme.dll`.
const PREFIX: &str = "lib";

/// What files of libraries are called on a system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileNaming {
    /// What the name of a file begins with where a sentence proposes one: `lib`, or nothing.
    prefix: &'static str,
    suffix: &'static str,
    /// Whether `ACME.DLL` and `acme.dll` are one name, as they are to the file systems of Windows.
    ignores_case: bool,
}

impl FileNaming {
    /// The system that this program was built for.
    pub const HERE: Self = Self {
        prefix: DLL_PREFIX,
        suffix: DLL_SUFFIX,
        ignores_case: cfg!(windows),
    };

    /// The library that a file of this name is, in lower case; `None` if no host looks at such a file.
    pub fn library_of(self, file_name: &str) -> Option<String> {
        let file_name = if self.ignores_case {
            file_name.to_ascii_lowercase()
        } else {
            file_name.to_owned()
        };
        let stem = file_name.strip_suffix(self.suffix)?;
        let name = match stem.strip_prefix(PREFIX) {
            Some(rest) if !rest.is_empty() => rest,
            _ => stem,
        };
        is_library_name(name).then(|| name.to_owned())
    }

    /// The library that a file of this name is, here or on another system.
    pub fn library_on_any_system(self, file_name: &str) -> Option<String> {
        self.library_of(file_name)
            .or_else(|| self.of_another_system(file_name).map(|(library, _)| library))
    }

    /// The file that a library should be put under.
    pub fn file_of(self, library: &str) -> String {
        format!("{}{library}{}", self.prefix, self.suffix)
    }

    /// What a name may consist of, for a sentence.
    pub fn characters(self) -> &'static str {
        if self.ignores_case {
            "A-Z, a-z, 0-9 and _"
        } else {
            "a-z, 0-9 and _"
        }
    }

    /// Whether a file that is no library by its name may be meant for this one: `libacme.so.1.0`, `libacme-sms.so`,
    /// `LibAcme.SO`, `acme.dll`.
    pub(super) fn is_near(self, file_name: &str, library: &str) -> bool {
        if self.library_of(file_name).is_some() {
            return false;
        }
        let name = file_name.to_lowercase();
        let mut parts = name.split('.');
        let first = parts.next().unwrap_or_default();
        let is_library = parts.any(|part| ["so", "dylib", "dll", "a", "rlib", "bundle"].contains(&part));
        let plain = first
            .strip_prefix(PREFIX)
            .filter(|rest| !rest.is_empty())
            .unwrap_or(first);
        let begins = |plain: &str| {
            let rest = plain.strip_prefix(library);
            rest.is_some_and(|rest| !rest.starts_with(|next: char| next.is_ascii_alphanumeric()))
        };
        let meant = plain.replace(['-', ' '], "_");
        is_library && (begins(&meant) || begins(first) || nearest(&meant, [library]).is_some())
    }

    /// Why these files are not taken for a library, and what to do, to follow their names.
    pub(super) fn why_not(self, file_names: &[String]) -> String {
        let [does, ones] = if file_names.len() == 1 {
            ["does", "it"]
        } else {
            ["do", "the right one"]
        };
        if let Some(system) = self.other_system(file_names) {
            return format!(
                "{does}, but that is what a library for {system} is called: build it for this system, where it ends in {}",
                self.suffix
            );
        }
        format!(
            "{does}, but a library is named with {} before {} and nothing after: rename {ones}",
            self.characters(),
            self.suffix
        )
    }

    /// The system whose libraries all of these are, if renaming would not help.
    fn other_system(self, file_names: &[String]) -> Option<&'static str> {
        let mut systems = file_names
            .iter()
            .map(|name| self.of_another_system(name).map(|(_, system)| system));
        let first = systems.next()??;
        // Modules of programs do end in .so on macOS.
        let may_be_ours = self.suffix == ".dylib" && first == "Linux";
        (!may_be_ours && systems.all(|system| system == Some(first))).then_some(first)
    }

    /// The library that a file of this name is on another system, in lower case, and that system, by its ending alone.
    pub(super) fn of_another_system(self, file_name: &str) -> Option<(String, &'static str)> {
        let name = file_name.to_lowercase();
        ENDINGS
            .iter()
            .filter(|(ending, _)| *ending != self.suffix)
            .find_map(|(ending, system)| {
                let stem = name.strip_suffix(ending)?;
                let library = stem
                    .strip_prefix(PREFIX)
                    .filter(|rest| !rest.is_empty())
                    .unwrap_or(stem);
                Some((library.to_owned(), *system))
            })
    }
}

/// What libraries end in, by the system that it is typical of.
const ENDINGS: [(&str, &str); 3] = [(".so", "Linux"), (".dylib", "macOS"), (".dll", "Windows")];

/// The rule of Windows, wherever the tests run.
#[cfg(test)]
pub(super) const WINDOWS: FileNaming = FileNaming {
    prefix: "",
    suffix: ".dll",
    ignores_case: true,
};

#[cfg(test)]
mod tests {
    use super::*;

    const LINUX: FileNaming = FileNaming {
        prefix: "lib",
        suffix: ".so",
        ignores_case: false,
    };
    const MACOS: FileNaming = FileNaming {
        suffix: ".dylib",
        ..LINUX
    };
    #[test]
    fn a_file_is_a_library_by_the_rule_of_its_system() {
        for (naming, file, library) in [
            (LINUX, "libacme.so", Some("acme")),
            (LINUX, "acme.so", Some("acme")),
            (LINUX, "lib.so", Some("lib")),
            (LINUX, "liblib.so", Some("lib")),
            (LINUX, "acme_2.so", Some("acme_2")),
            (LINUX, "libACME.so", None),
            (LINUX, "libacme.SO", None),
            (LINUX, "LIBacme.so", None),
            (LINUX, "libacme.so.1", None),
            (LINUX, "acme.dll", None),
            (LINUX, ".so", None),
            (LINUX, ".acme.so", None),
            (MACOS, "libacme.dylib", Some("acme")),
            (MACOS, "libacme.DYLIB", None),
            (MACOS, "libacme.so", None),
            (WINDOWS, "acme.dll", Some("acme")),
            (WINDOWS, "ACME.DLL", Some("acme")),
            (WINDOWS, "Acme.Dll", Some("acme")),
            (WINDOWS, "libacme.dll", Some("acme")),
            (WINDOWS, "LIBACME.DLL", Some("acme")),
            (WINDOWS, "LibAcme_2.dll", Some("acme_2")),
            (WINDOWS, "LIB.DLL", Some("lib")),
            (WINDOWS, "acme.dll.old", None),
            (WINDOWS, "acme-sms.dll", None),
            (WINDOWS, "acmé.dll", None),
            // The Kelvin sign, which is a k in lower case; and an s that is long.
            (WINDOWS, "\u{212a}ing.dll", None),
            (WINDOWS, "acme\u{17f}.dll", None),
            (WINDOWS, "acme.so", None),
            (WINDOWS, ".DLL", None),
            (WINDOWS, "libacme.dll.a", None),
        ] {
            assert_eq!(
                naming.library_of(file).as_deref(),
                library,
                "{file} of {naming:?}"
            );
        }
        assert_eq!(LINUX.library_of(&format!("{}.so", "x".repeat(65))), None);
    }

    #[test]
    fn a_file_that_is_proposed_is_found() {
        for (naming, file) in [
            (LINUX, "libacme.so"),
            (MACOS, "libacme.dylib"),
            (WINDOWS, "acme.dll"),
        ] {
            assert_eq!(naming.file_of("acme"), file);
            assert_eq!(naming.library_of(file).as_deref(), Some("acme"));
        }
    }

    #[test]
    fn a_file_that_is_named_almost_as_a_library_is_near() {
        for (naming, file) in [
            (LINUX, "libacme.so.1.0"),
            (LINUX, "libacme-sms.so"),
            (LINUX, "LibAcme.SO"),
            (LINUX, "acme.dll"),
            (LINUX, "libacme.a"),
            (WINDOWS, "acme.dll.old"),
            (WINDOWS, "acme-sms.dll"),
            (WINDOWS, "libacme.so"),
            (WINDOWS, "libacme.dll.a"),
        ] {
            assert!(naming.is_near(file, "acme"), "{file} of {naming:?}");
        }
        for (naming, file) in [
            (LINUX, "libacme.so"),
            (LINUX, "acme.txt"),
            (LINUX, "acmetools"),
            (WINDOWS, "ACME.DLL"),
            (WINDOWS, "acme.exe"),
            (WINDOWS, "nexmo.dll.old"),
        ] {
            assert!(!naming.is_near(file, "acme"), "{file} of {naming:?}");
        }
    }

    #[test]
    fn a_library_of_another_system_is_known_by_its_ending() {
        for (naming, file, of_another) in [
            (LINUX, "acme.dll", Some(("acme", "Windows"))),
            (LINUX, "LibAcme-Sms.DLL", Some(("acme-sms", "Windows"))),
            (LINUX, "libacme.dylib", Some(("acme", "macOS"))),
            (LINUX, "libacme.so", None),
            (LINUX, "libacme.SO", None),
            (LINUX, "acme.txt", None),
            (MACOS, "libacme.so", Some(("acme", "Linux"))),
            (MACOS, "acme.dll", Some(("acme", "Windows"))),
            (MACOS, "libacme.dylib", None),
            (WINDOWS, "libacme.so", Some(("acme", "Linux"))),
            (WINDOWS, "libacme.dylib", Some(("acme", "macOS"))),
            (WINDOWS, "ACME.DLL", None),
        ] {
            let found = naming.of_another_system(file);
            let found = found
                .as_ref()
                .map(|(library, system)| (library.as_str(), *system));
            assert_eq!(found, of_another, "{file} of {naming:?}");
        }
    }

    #[test]
    fn why_it_is_none_says_what_helps() {
        let told = |naming: FileNaming, files: &[&str]| {
            naming.why_not(&files.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        assert_eq!(
            told(LINUX, &["libAcme.so"]),
            "does, but a library is named with a-z, 0-9 and _ before .so and nothing after: rename it"
        );
        assert_eq!(
            told(WINDOWS, &["acme-sms.dll", "acme.dll.old"]),
            "do, but a library is named with A-Z, a-z, 0-9 and _ before .dll and nothing after: rename the right one"
        );
        assert_eq!(
            told(LINUX, &["acme.dll"]),
            "does, but that is what a library for Windows is called: build it for this system, where it ends in .so"
        );
        assert_eq!(
            told(WINDOWS, &["libacme.so"]),
            "does, but that is what a library for Linux is called: build it for this system, where it ends in .dll"
        );
        assert!(told(MACOS, &["libacme.so"]).ends_with("nothing after: rename it"));
        assert!(told(LINUX, &["acme.dll", "libacme.so.1"]).ends_with("nothing after: rename the right one"));
    }
}
