//! Which of the libraries that a library needs, directly or through others, needs the one that was not found; and where
//! that one is, if it is on this system.
//!
//! Invariant: only headers are read, and of a bounded number of files.

use std::{
    collections::{HashSet, VecDeque},
    env, fs,
    path::{Path, PathBuf},
};

use super::{elf, linkage::Linkage};

/// Where the system's loader remembers what lies in its folders.
const CACHE: &str = "/etc/ld.so.cache";
/// Where it looks without being told to, on most systems.
const FOLDERS: [&str; 4] = ["/lib64", "/usr/lib64", "/lib", "/usr/lib"];
/// More are not looked at: nobody has written a library that needs so many.
const MAX_LOOKED_AT: usize = 256;

/// A library that needs another one.
pub(super) struct Needer {
    /// Where it lies.
    pub(super) file: PathBuf,
    /// Where it looks for what it needs.
    pub(super) run_paths: Vec<String>,
    /// `libmiddle.so, which needs `, as a sentence about the first library goes on; empty for that one itself.
    pub(super) chain: String,
    needed: Vec<String>,
}

/// What needs `name`: the library in `file` itself, or one that it needs. `None` if that cannot be seen.
pub(super) fn needer_of(name: &str, file: &Path, linkage: &Linkage) -> Option<Needer> {
    let first = Needer {
        file: file.to_owned(),
        run_paths: separate(&linkage.run_paths),
        chain: String::new(),
        needed: linkage.needed.clone(),
    };
    let cache = fs::read(CACHE).unwrap_or_default();
    let mut open = VecDeque::from([first]);
    let mut seen = HashSet::new();
    while let Some(needer) = open.pop_front() {
        if needer.needed.iter().any(|needed| needed == name) {
            return Some(needer);
        }
        for next in &needer.needed {
            if seen.len() >= MAX_LOOKED_AT || !seen.insert(next.clone()) {
                continue;
            }
            let Some(file) = needer.find(next, &cache) else {
                continue;
            };
            let Some((needed, run_paths)) = fs::read(&file).ok().and_then(|bytes| elf::needed(&bytes)) else {
                continue;
            };
            open.push_back(Needer {
                file,
                run_paths: separate(&run_paths),
                chain: format!("{}{next}, which needs ", needer.chain),
                needed,
            });
        }
    }
    None
}

/// One text may hold several paths.
fn separate(run_paths: &[String]) -> Vec<String> {
    let paths = run_paths.iter().flat_map(|paths| paths.split(':'));
    paths.map(str::to_owned).collect()
}

impl Needer {
    /// Where a library lies that it needs, for a process that may read everything.
    pub(super) fn find(&self, name: &str, cache: &[u8]) -> Option<PathBuf> {
        if name.contains('/') {
            return Some(PathBuf::from(name)).filter(|path| path.is_absolute() && path.exists());
        }
        let origin = self.file.parent().unwrap_or(Path::new("/")).display().to_string();
        let run_paths = self.run_paths.iter().map(|path| {
            let path = path.replace("${ORIGIN}", &origin).replace("$ORIGIN", &origin);
            PathBuf::from(path)
        });
        let of_environment = env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
        run_paths
            .chain(env::split_paths(&of_environment))
            .filter(|folder| folder.is_absolute())
            .map(|folder| folder.join(name))
            .chain(in_cache(cache, name))
            .chain(FOLDERS.map(|folder| Path::new(folder).join(name)))
            .find(|path| path.exists())
    }

    /// As [`Self::find`], with the cache of the system's loader as it is now.
    pub(super) fn find_now(&self, name: &str) -> Option<PathBuf> {
        self.find(name, &fs::read(CACHE).unwrap_or_default())
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
