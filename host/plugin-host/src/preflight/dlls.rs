//! Which DLL is missing. Windows says that one is, and not which; so the way of its loader is gone once more.
//!
//! Invariant: only files are read. It is asked only after the loader failed, so that a DLL that comes from elsewhere,
//! such as one that is loaded already, is never called missing while all is well.

use std::{
    collections::{HashSet, VecDeque},
    env, fs,
    path::{Path, PathBuf},
};

use super::pe;

/// Where the loader looks, first to last, as `load` has it look: the folder of the program, then that of the system.
/// See <https://learn.microsoft.com/windows/win32/dlls/dynamic-link-library-search-order>.
pub(super) struct Folders {
    program: PathBuf,
    system: PathBuf,
}

impl Folders {
    pub(super) fn here() -> Self {
        let program = env::current_exe().unwrap_or_default();
        let windows = env::var_os("SystemRoot").unwrap_or_else(|| r"C:\Windows".into());
        Self {
            program: program.parent().unwrap_or(Path::new("")).to_owned(),
            system: PathBuf::from(windows).join("System32"),
        }
    }
}

/// More are not looked at: nobody has written a library that needs so many of its own.
const MAX_LOOKED_AT: usize = 256;

/// What a DLL lacks, as the end of a sentence that begins with its name; `None` where all seems to be there. `library`
/// is where it lies, `needed` what it needs, and `architecture` what all of that must be built for.
pub(super) fn lacking(
    library: &Path,
    needed: &[String],
    architecture: &str,
    folders: &Folders,
) -> Option<String> {
    // By whom it is needed, if not by the library itself.
    let mut open: VecDeque<(String, String)> =
        needed.iter().map(|name| (name.clone(), String::new())).collect();
    let mut seen = HashSet::new();
    while let Some((name, path_to_it)) = open.pop_front() {
        if is_of_a_set(&name) || !seen.insert(name.to_ascii_lowercase()) || seen.len() > MAX_LOOKED_AT {
            continue;
        }
        let told = |what: String| Some(format!("needs {path_to_it}{name}, {what}"));
        let Some((path, is_own)) = find(&name, folders) else {
            return told(missing(library, &name, folders));
        };
        // What the system's own DLLs need is the system's.
        if !is_own {
            continue;
        }
        let Some((found, more)) = fs::read(&path).ok().and_then(|bytes| pe::needed(&bytes)) else {
            return told(format!(
                "and {} is no DLL, or damaged; install it again",
                path.display()
            ));
        };
        if found != architecture {
            return told(format!(
                "and {} is built for {found}, this host runs on {architecture}; install the one for {architecture}, or \
                 link it statically into the library",
                path.display()
            ));
        }
        open.extend(
            more.into_iter()
                .map(|more| (more, format!("{path_to_it}{name}, which needs "))),
        );
    }
    None
}

/// What is to be done about a DLL that the loader does not find.
fn missing(library: &Path, name: &str, folders: &Folders) -> String {
    let lower = name.to_ascii_lowercase();
    let program = folders.program.display();
    let is_of_mingw = ["libgcc", "libstdc++", "libwinpthread", "libssp"]
        .iter()
        .any(|of_mingw| lower.starts_with(of_mingw));
    let is_of_visual_c = ["vcruntime", "msvcp", "concrt"]
        .iter()
        .any(|of_visual_c| lower.starts_with(of_visual_c));
    let cure = if is_of_mingw {
        "link the library with -static".to_owned()
    } else if is_of_visual_c {
        "install Microsoft's Visual C++ Redistributable, or build the library with -C target-feature=+crt-static (Rust) or \
         /MT (C)"
            .to_owned()
    } else {
        format!("put it into {program}, or link it statically into the library")
    };
    let folder = library.parent().unwrap_or(Path::new(""));
    match in_folder(folder, name) {
        Some(beside) => format!(
            "which is {}, beside the library, where it is not looked for, since what is opened is a private copy in another \
             folder; {cure}",
            beside.display()
        ),
        None => format!("which this system does not have; {cure}"),
    }
}

/// Where the loader finds it, and whether that is the folder of the program and not that of the system.
fn find(name: &str, folders: &Folders) -> Option<(PathBuf, bool)> {
    let own = in_folder(&folders.program, name).map(|path| (path, true));
    own.or_else(|| in_folder(&folders.system, name).map(|path| (path, false)))
}

/// A DLL in a folder.
fn in_folder(folder: &Path, name: &str) -> Option<PathBuf> {
    // Who imports one says its name alone.
    if name.contains(['/', '\\', ':']) {
        return None;
    }
    let name = if name.contains('.') {
        name.to_owned()
    } else {
        format!("{name}.dll")
    };
    Some(folder.join(name)).filter(|path| path.is_file())
}

/// Whether it is no file but a name under which the system offers functions of several of its DLLs.
fn is_of_a_set(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["api-", "ext-"].iter().any(|set| name.starts_with(set))
}

#[cfg(test)]
mod tests {
    use super::{
        super::tests::made::{AMD64, ARM64, Dll},
        *,
    };

    const HERE: &str = "64-bit x86_64";

    /// A system with a few DLLs, and a library in a folder of its own.
    struct System {
        directory: tempfile::TempDir,
        folders: Folders,
    }

    impl System {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let [program, system, plugins] =
                ["program", "System32", "plugins"].map(|folder| directory.path().join(folder));
            for folder in [&program, &system, &plugins] {
                fs::create_dir(folder).unwrap();
            }
            let folders = Folders { program, system };
            let made = Self { directory, folders };
            // What it needs itself is not asked for.
            made.put(
                "System32",
                "KERNEL32.dll",
                &Dll::needing(&["nothing-of-that.dll"]),
            );
            made
        }

        fn put(&self, folder: &str, name: &str, dll: &Dll) -> PathBuf {
            let path = self.directory.path().join(folder).join(name);
            fs::write(&path, dll.bytes()).unwrap();
            path
        }

        fn lacking(&self, needed: &[&str]) -> Option<String> {
            let library = self.directory.path().join("plugins/acme.dll");
            let needed: Vec<String> = needed.iter().map(ToString::to_string).collect();
            lacking(&library, &needed, HERE, &self.folders)
        }

        fn program(&self) -> String {
            self.folders.program.display().to_string()
        }
    }

    #[test]
    fn nothing_is_lacking_where_all_is_there() {
        let system = System::new();
        system.put("program", "own.dll", &Dll::needing(&["KERNEL32.dll", "own.dll"]));
        let needed = [
            "KERNEL32.dll",
            "api-ms-win-crt-heap-l1-1-0.dll",
            "API-MS-Win-Core.dll",
            "own.dll",
            "own",
        ];
        assert_eq!(system.lacking(&needed), None);
    }

    #[test]
    fn a_missing_dll_is_named_with_whoever_needs_it() {
        let system = System::new();
        let program = system.program();
        assert_eq!(
            system.lacking(&["KERNEL32.dll", "acmecore.dll"]).unwrap(),
            format!(
                "needs acmecore.dll, which this system does not have; put it into {program}, or link it statically into the \
                 library"
            )
        );
        system.put(
            "program",
            "acmecore.dll",
            &Dll::needing(&["KERNEL32.dll", "acmezip.dll"]),
        );
        assert_eq!(
            system.lacking(&["KERNEL32.dll", "acmecore.dll"]).unwrap(),
            format!(
                "needs acmecore.dll, which needs acmezip.dll, which this system does not have; put it into {program}, or \
                 link it statically into the library"
            )
        );
    }

    #[test]
    fn a_dll_beside_the_library_is_not_called_missing() {
        let system = System::new();
        let beside = system.put("plugins", "acmecore.dll", &Dll::needing(&[]));
        let told = system.lacking(&["acmecore.dll"]).unwrap();
        assert!(
            told.starts_with(&format!(
                "needs acmecore.dll, which is {}, beside the library, where it is not looked for",
                beside.display()
            )),
            "{told}"
        );
    }

    #[test]
    fn a_dll_for_another_processor_and_a_damaged_one_are_told() {
        let system = System::new();
        let mut arm = Dll::needing(&[]);
        arm.machine = ARM64;
        assert_ne!(AMD64, ARM64);
        let path = system.put("program", "acmecore.dll", &arm);
        assert_eq!(
            system.lacking(&["acmecore.dll"]).unwrap(),
            format!(
                "needs acmecore.dll, and {} is built for 64-bit aarch64, this host runs on 64-bit x86_64; install the one for \
                 64-bit x86_64, or link it statically into the library",
                path.display()
            )
        );
        fs::write(&path, b"MZ and nothing else").unwrap();
        let told = system.lacking(&["acmecore.dll"]).unwrap();
        assert!(
            told.ends_with("is no DLL, or damaged; install it again"),
            "{told}"
        );
    }

    #[test]
    fn the_cure_fits_the_dll() {
        let system = System::new();
        for (name, cure) in [
            ("libgcc_s_seh-1.dll", "link the library with -static"),
            ("libstdc++-6.dll", "link the library with -static"),
            ("libwinpthread-1.dll", "link the library with -static"),
            (
                "VCRUNTIME140.dll",
                "install Microsoft's Visual C++ Redistributable",
            ),
            ("MSVCP140.dll", "install Microsoft's Visual C++ Redistributable"),
            ("../../evil.dll", "put it into"),
        ] {
            let told = system.lacking(&[name]).unwrap();
            assert!(told.contains(cure), "{told}");
        }
    }
}
