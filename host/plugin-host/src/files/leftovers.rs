//! Temporary folders that a process could not delete at its end, because it had a library in them open: on Windows,
//! where the next one deletes them.
//!
//! Invariant: nothing of a folder is touched whose owner still runs, which has a library in it open.

use std::{
    env::consts::DLL_EXTENSION,
    fs, io,
    path::{Path, PathBuf},
};

/// Deletes the folders in `folder` whose names begin so, and that nobody uses.
pub fn delete_leftovers(folder: &Path, prefix: &str) {
    if cfg!(windows) {
        delete(folder, prefix, |library| fs::remove_file(library));
    }
}

fn delete(folder: &Path, prefix: &str, delete_library: impl Fn(&Path) -> io::Result<()>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let is_ours = entry.file_name().to_string_lossy().starts_with(prefix);
        if !is_ours || !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        let libraries = libraries_in(&path);
        // One without a library may be about to get its first.
        let is_unused =
            !libraries.is_empty() && libraries.iter().all(|library| delete_library(library).is_ok());
        if is_unused {
            let _ = fs::remove_dir_all(&path);
        }
    }
}

/// In it, and in the folders in it.
fn libraries_in(folder: &Path) -> Vec<PathBuf> {
    let entries = |folder: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect()
    };
    let direct = entries(folder);
    let below = direct
        .iter()
        .filter(|path| path.is_dir())
        .flat_map(|path| entries(path));
    let all: Vec<_> = below.chain(direct.iter().cloned()).collect();
    all.into_iter()
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == DLL_EXTENSION)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_ended_process_left_is_deleted_and_what_a_running_one_uses_stays() {
        let home = tempfile::tempdir().unwrap();
        for name in ["demo-ended", "demo-running", "demo-beginning", "other"] {
            let plugins = home.path().join(name).join("plugins");
            fs::create_dir_all(&plugins).unwrap();
            if name != "demo-beginning" {
                fs::write(plugins.join("a").with_extension(DLL_EXTENSION), "").unwrap();
            }
            fs::write(home.path().join(name).join("key"), "").unwrap();
        }
        delete(home.path(), "demo-", |library| {
            if library.starts_with(home.path().join("demo-running")) {
                return Err(io::ErrorKind::PermissionDenied.into());
            }
            fs::remove_file(library)
        });
        let left = |name: &str| home.path().join(name).join("key").exists();
        assert!(!left("demo-ended"));
        assert!(left("demo-running") && left("demo-beginning") && left("other"));
    }
}
