//! How a library is linked: what it needs besides itself, where it looks for that, and what opening it would do to the
//! whole process. All of it is read before any of its code runs.
//!
//! Invariant: a dependency is called missing only where it is; one that is there, and is not found from a private copy
//! or within the sandbox, is called that.

use std::path::{Path, PathBuf};

use super::{
    Candidate,
    dlls::{self, Folders},
    format::{Format, Platform},
    needs::{self, Needer},
};
use crate::refusal::{Refusal, code};

/// More of them no library has, and a file may say that it needs millions.
pub(super) const MAX_DEPENDENCIES: usize = 1024;

/// Further variables of that kind are not compared: a large library in C++ has some hundreds.
pub(super) const MAX_UNIQUE: usize = 4096;

/// A name or a path of the headers, which ends with a zero or with the bytes; `None` where it is longer than any path.
pub(super) fn dependency(bytes: &[u8]) -> Option<String> {
    const MAX_LENGTH: usize = 4096;
    let mut bytes = bytes.iter().copied();
    let text: Vec<u8> = bytes
        .by_ref()
        .take(MAX_LENGTH)
        .take_while(|byte| *byte != 0)
        .collect();
    (text.len() < MAX_LENGTH).then(|| String::from_utf8_lossy(&text).into_owned())
}

/// What its headers say.
#[derive(Debug, Default)]
pub(crate) struct Linkage {
    /// The libraries that it needs, by name.
    pub(super) needed: Vec<String>,
    /// Where it looks for them before the system's folders: `DT_RPATH` and `DT_RUNPATH`.
    pub(super) run_paths: Vec<String>,
    /// Whether opening it makes the stacks of the whole process executable.
    pub(super) has_executable_stack: bool,
    /// Variables of which the system keeps one for all libraries of a process (`STB_GNU_UNIQUE`), whatever their names:
    /// statics of C++ templates and inline functions.
    pub(super) unique: Vec<String>,
    /// The compiler's instrumentation that it was built with.
    pub(super) sanitizer: Option<&'static str>,
}

/// What a library that was built with a sanitizer asks its runtime for.
const OF_SANITIZERS: [(&str, &str); 5] = [
    ("__asan_init", "AddressSanitizer"),
    ("__hwasan_init", "HWAddressSanitizer"),
    ("__tsan_init", "ThreadSanitizer"),
    ("__msan_init", "MemorySanitizer"),
    ("__ubsan_handle_", "UndefinedBehaviorSanitizer"),
];

/// The sanitizer whose runtime has this symbol.
pub(super) fn sanitizer_of(symbol: &[u8]) -> Option<&'static str> {
    let of_it = OF_SANITIZERS
        .iter()
        .find(|(begin, _)| symbol.starts_with(begin.as_bytes()));
    of_it.map(|(_, sanitizer)| *sanitizer)
}

impl Linkage {
    /// The sanitizer that it was built with.
    pub(crate) fn sanitizer(&self) -> Option<&'static str> {
        self.sanitizer
    }

    /// Whether it can be opened in this process; `is_exchanged`: after another version of it.
    pub(crate) fn check_inline(&self, file: &str, is_exchanged: bool) -> Result<(), Refusal> {
        if self.has_executable_stack {
            return Err(Refusal::new(
                code::EXECUTABLE_STACK,
                format!(
                    "{file} asks for an executable stack, which the system would give to the whole daemon; link it with \
                     -Wl,-z,noexecstack, or set isolation = \"worker\" for it"
                ),
            ));
        }
        match self.unique.first() {
            Some(variable) if is_exchanged => Err(Refusal::new(
                code::SHARED_STATICS,
                format!(
                    "{file} would go on with the variables of the version before it, such as {variable}, of which the \
                     system keeps one for all versions in a process; compile it with -fno-gnu-unique, set isolation = \
                     \"worker\" for it, or restart phone-verify"
                ),
            )),
            _ => Ok(()),
        }
    }

    /// Whether it can be opened in this process beside another library, `other`, which has these unique variables.
    pub(crate) fn check_beside(&self, file: &str, other: &str, unique: &[String]) -> Result<(), Refusal> {
        let Some(variable) = self.unique.iter().find(|variable| unique.contains(variable)) else {
            return Ok(());
        };
        Err(Refusal::new(
            code::SHARED_STATICS,
            format!(
                "{file} would share variables, such as {variable}, with the library {other}, since the system keeps one of \
                 them for all libraries in a process; compile it with -fno-gnu-unique, or set isolation = \"worker\" for one \
                 of the two"
            ),
        ))
    }

    /// The unique variables, to be compared with those of others.
    pub(crate) fn unique(&self) -> &[String] {
        &self.unique
    }
}

/// The same refusal, or the true cause of it: a dependency that was not found although it is there, or the name of the
/// one that is missing. `is_confined`: it was opened in a worker process.
pub(crate) fn explained(refusal: Refusal, candidate: &Candidate, is_confined: bool) -> Refusal {
    let needed = &candidate.linkage.needed;
    let here = Platform::here();
    if here.format == Format::Pe && [code::MISSING_DEPENDENCY, code::NOT_OPENED].contains(&refusal.code) {
        let library = Path::new(&candidate.file);
        return match dlls::lacking(library, needed, &here.architecture, &Folders::here()) {
            Some(lacking) => Refusal::new(code::MISSING_DEPENDENCY, format!("{} {lacking}", candidate.file)),
            None => refusal,
        };
    }
    let Some((name, is_missing)) = not_found(&refusal, &candidate.file) else {
        return refusal;
    };
    match candidate
        .linkage
        .true_cause(&candidate.file, name, is_missing, is_confined)
    {
        Some(cause) => Refusal::new(
            code::MISSING_DEPENDENCY,
            format!("{} needs {cause}", candidate.file),
        ),
        None => refusal,
    }
}

/// The dependency that a refusal is about, and whether it was not found; else it may not be read.
fn not_found<'a>(refusal: &'a Refusal, file: &str) -> Option<(&'a str, bool)> {
    let sentence = refusal.sentence.as_str();
    match refusal.code {
        code::MISSING_DEPENDENCY => {
            let rest = sentence.strip_prefix(file)?.strip_prefix(" needs ")?;
            Some((rest.split_once(", which ")?.0, true))
        }
        // As glibc and musl say it.
        code::NOT_OPENED => {
            let rest = sentence.strip_prefix(&format!("the system could not open {file}: "))?;
            let of_glibc = || rest.split_once(": cannot open shared object file: Permission denied");
            let of_musl = || {
                let rest = rest.strip_prefix("Error loading shared library ")?;
                rest.split_once(": Permission denied")
            };
            Some((of_glibc().or_else(of_musl)?.0, false))
        }
        _ => None,
    }
}

impl Linkage {
    /// What the library needs, and why that is not loaded: the end of a sentence that begins with `… needs `.
    fn true_cause(&self, file: &str, name: &str, is_missing: bool, is_confined: bool) -> Option<String> {
        let needer = needs::needer_of(name, Path::new(file), self)?;
        let Needer { chain, .. } = &needer;
        if chain.is_empty()
            && let folder = Path::new(file).parent().unwrap_or(Path::new("/"))
            && let Some((dependency, from)) = beside(folder, &needer.run_paths, name)
        {
            let install = if from == LOADER_PATH {
                "install it where the system looks, such as in /usr/local/lib"
            } else {
                "install it where the system looks, such as in /usr/local/lib, and run ldconfig"
            };
            return Some(format!(
                "{name}, which is {} and is looked for from where the library lies ({from}); but what is opened is a private \
                 copy in another folder: link it statically into the library, or {install}",
                dependency.display()
            ));
        }
        match needer.find_now(name).filter(|_| is_confined) {
            Some(there) => Some(format!(
                "{chain}{name}, which is {}, where a worker process may not read; install it into a folder of the system, such \
                 as /usr/local/lib, and run ldconfig, link it statically into the library, or set isolation = \"inline\" for \
                 a library that you trust",
                there.canonicalize().unwrap_or(there).display()
            )),
            // Not needed by the library itself, but by what it needs.
            None if is_missing && !chain.is_empty() => Some(format!(
                "{chain}{name}, which this system does not have; install it, or link both statically into the library"
            )),
            None => None,
        }
    }
}

/// What macOS calls the folder of the library.
const LOADER_PATH: &str = "@loader_path";

/// A dependency that is there, seen from where the library lies, and by which name of that folder it is looked for.
fn beside(folder: &Path, run_paths: &[String], name: &str) -> Option<(PathBuf, &'static str)> {
    // Of macOS: in one of the run paths, or without them.
    let in_run_paths = name.strip_prefix("@rpath/").unwrap_or(name);
    let places = run_paths
        .iter()
        .map(|path| format!("{path}/{in_run_paths}"))
        .chain([name.to_owned()]);
    let origin = folder.display().to_string();
    for place in places {
        for (from, told) in [
            ("$ORIGIN", "$ORIGIN"),
            ("${ORIGIN}", "$ORIGIN"),
            (LOADER_PATH, LOADER_PATH),
        ] {
            let dependency = PathBuf::from(place.replace(from, &origin));
            if place.starts_with(from) && dependency.exists() {
                return Some((dependency, told));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_dependency_beside_the_library_is_found_as_each_system_writes_it() {
        let directory = tempfile::tempdir().unwrap();
        let beside_it = directory.path().join("libxyz.dylib");
        fs::write(&beside_it, "").unwrap();
        for (run_paths, name, from) in [
            (&["$ORIGIN"][..], "libxyz.dylib", Some("$ORIGIN")),
            (&["/nowhere", "${ORIGIN}/."], "libxyz.dylib", Some("$ORIGIN")),
            (&["@loader_path"], "@rpath/libxyz.dylib", Some("@loader_path")),
            (&["@loader_path/"], "@rpath/libxyz.dylib", Some("@loader_path")),
            (&[], "@loader_path/libxyz.dylib", Some("@loader_path")),
            (&[], "libxyz.dylib", None),
            (&["@loader_path"], "@rpath/libother.dylib", None),
            (&[directory.path().to_str().unwrap()], "libxyz.dylib", None),
        ] {
            let run_paths: Vec<String> = run_paths.iter().map(|path| (*path).to_owned()).collect();
            let found = beside(directory.path(), &run_paths, name);
            assert_eq!(
                found.as_ref().map(|(_, from)| *from),
                from,
                "{run_paths:?} {name}"
            );
            if let Some((path, _)) = found {
                assert_eq!(path.canonicalize().unwrap(), beside_it.canonicalize().unwrap());
            }
        }
    }
}
