//! How a library is linked: what it needs besides itself, where it looks for that, and what opening it would do to the
//! whole process. All of it is read before any of its code runs.
//!
//! Invariant: a dependency is called missing only where it is; one that is there, and is not found from a private copy or
//! within the sandbox, is called that.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use super::Candidate;
use crate::backends::refusal::{Refusal, code};

/// Where the system's loader remembers what lies in its folders.
const CACHE: &str = "/etc/ld.so.cache";

/// What its headers say.
#[derive(Debug, Default)]
pub(in crate::backends) struct Linkage {
    /// The libraries that it needs, by name.
    pub(super) needed: Vec<String>,
    /// Where it looks for them before the system's folders: `DT_RPATH` and `DT_RUNPATH`.
    pub(super) run_paths: Vec<String>,
    /// Whether opening it makes the stacks of the whole process executable.
    pub(super) has_executable_stack: bool,
    /// A variable of which the system keeps one for all versions of the library (`STB_GNU_UNIQUE`).
    pub(super) unique: Option<String>,
}

impl Linkage {
    /// Whether it can be opened in this process; `is_exchanged`: after another version of it.
    pub(in crate::backends) fn check_inline(&self, file: &str, is_exchanged: bool) -> Result<(), Refusal> {
        if self.has_executable_stack {
            return Err(Refusal::new(
                code::EXECUTABLE_STACK,
                format!(
                    "{file} asks for an executable stack, which the system would give to the whole daemon; link it with \
                     -Wl,-z,noexecstack, or set isolation = \"worker\" for it"
                ),
            ));
        }
        match &self.unique {
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
}

/// The same refusal, or the true cause of it: a dependency that was not found although it is there. `is_confined`: it was
/// opened in a worker process.
pub(in crate::backends) fn explained(refusal: Refusal, candidate: &Candidate, is_confined: bool) -> Refusal {
    if refusal.code != code::MISSING_DEPENDENCY {
        return refusal;
    }
    let is_meant = |name: &&String| refusal.sentence.contains(&format!(" needs {name},"));
    let Some(name) = candidate.linkage.needed.iter().find(is_meant) else {
        return refusal;
    };
    match candidate.linkage.true_cause(&candidate.file, name, is_confined) {
        Some(cause) => Refusal::new(refusal.code, format!("{} needs {name}, {cause}", candidate.file)),
        None => refusal,
    }
}

impl Linkage {
    fn true_cause(&self, file: &str, name: &str, is_confined: bool) -> Option<String> {
        let folder = Path::new(file).parent().unwrap_or(Path::new("/"));
        let run_paths: Vec<&str> = self.run_paths.iter().flat_map(|paths| paths.split(':')).collect();
        for path in &run_paths {
            let origin = folder.display().to_string();
            let meant = path.replace("$ORIGIN", &origin).replace("${ORIGIN}", &origin);
            let dependency = Path::new(&meant).join(name);
            if meant != **path && dependency.exists() {
                return Some(format!(
                    "which is {} and is looked for from where the library lies ($ORIGIN); but what is opened is a private copy \
                     in another folder: link it statically into the library, or install it where the system looks, such as in \
                     /usr/local/lib, and run ldconfig",
                    dependency.display()
                ));
            }
        }
        if !is_confined {
            return None;
        }
        let named = run_paths.into_iter().map(PathBuf::from);
        let of_environment = env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
        let there = named
            .chain(env::split_paths(&of_environment))
            .filter(|folder| folder.is_absolute())
            .map(|folder| folder.join(name))
            .chain(in_cache(&fs::read(CACHE).unwrap_or_default(), name))
            .find(|path| path.exists())?;
        Some(format!(
            "which is {}, where a worker process may not read; install it into a folder of the system, such as \
             /usr/local/lib, and run ldconfig, link it statically into the library, or set isolation = \"inline\" for a library \
             that you trust",
            there.canonicalize().unwrap_or(there).display()
        ))
    }
}

/// Where the system's loader would find it: the cache holds whole paths, each ended by a zero.
fn in_cache(cache: &[u8], name: &str) -> Option<PathBuf> {
    let ending = format!("/{name}");
    cache
        .split(|byte| *byte == 0)
        .filter_map(|path| std::str::from_utf8(path).ok())
        .find(|path| path.starts_with('/') && path.ends_with(&ending))
        .map(PathBuf::from)
}
