//! Finds backend libraries: which file in the plugin directories a name stands for. Reads directories only;
//! no file is opened here.
//!
//! Invariant: a directory is never descended into, and only files whose stem is a library name count.

use std::{
    collections::BTreeMap,
    env::consts::{DLL_PREFIX, DLL_SUFFIX},
    path::{Path, PathBuf},
};

use super::{
    name::is_library_name,
    refusal::{Refusal, code, hint, list},
};

/// A file that is named as a library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) stem: String,
    pub(super) path: PathBuf,
}

/// All files that are named as libraries, and what is wrong with the directories, in the order of the
/// directories. A library in an earlier directory hides one of the same name in a later one.
pub(super) fn all(directories: &[PathBuf]) -> (Vec<Found>, Vec<(PathBuf, Refusal)>) {
    let mut found: Vec<Found> = Vec::new();
    let mut refused = Vec::new();
    for directory in directories {
        match scan(directory) {
            Err(refusal) => refused.push((directory.clone(), refusal)),
            Ok(files) => {
                for (stem, mut paths) in files {
                    if found.iter().any(|known| known.stem == stem) {
                        continue;
                    }
                    if paths.len() > 1 {
                        refused.push((paths[0].clone(), two_files(&stem, &paths)));
                    } else if let Some(path) = paths.pop() {
                        found.push(Found { stem, path });
                    }
                }
            }
        }
    }
    (found, refused)
}

/// The file of one library.
pub(super) fn one(directories: &[PathBuf], stem: &str) -> Result<Found, Vec<Refusal>> {
    let mut unreadable = Vec::new();
    let mut known = Vec::new();
    for directory in directories {
        match scan(directory) {
            Err(refusal) => unreadable.push(refusal),
            Ok(mut files) => match files.remove(stem) {
                Some(paths) if paths.len() > 1 => return Err(vec![two_files(stem, &paths)]),
                Some(paths) => {
                    if let Some(path) = paths.into_iter().next() {
                        return Ok(Found {
                            stem: stem.to_owned(),
                            path,
                        });
                    }
                }
                None => known.extend(files.into_keys()),
            },
        }
    }
    let searched: Vec<String> = directories
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    let searched = list(&searched);
    known.sort();
    known.dedup();
    if unreadable.len() == directories.len() && !unreadable.is_empty() {
        return Err(unreadable);
    }
    let file = format!("{DLL_PREFIX}{stem}{DLL_SUFFIX}");
    let refusal = if directories.is_empty() {
        Refusal::new(
            code::NO_LIBRARIES,
            format!(
                "no plugin directory is named, so {file} cannot be found; name one in [plugins] directories"
            ),
        )
    } else if known.is_empty() {
        Refusal::new(
            code::NO_LIBRARIES,
            format!(
                "no library lies in {searched}; put {file} there, or name another directory in [plugins] directories"
            ),
        )
    } else {
        Refusal::new(
            code::UNKNOWN_LIBRARY,
            format!(
                "no library {stem} lies in {searched}, only {}{}; put {file} there, or correct BACKEND",
                list(&known),
                hint(stem, known.iter().map(String::as_str)),
            ),
        )
    };
    unreadable.push(refusal);
    Err(unreadable)
}

/// The library that a file would be in a plugin directory; `None` if it is not named as one.
pub(super) fn file(path: &Path) -> Option<Found> {
    let stem = path.file_name()?.to_str().and_then(stem_of)?;
    Some(Found {
        stem: stem.to_owned(),
        path: path.to_owned(),
    })
}

/// The library files of one directory by stem, each with all its spellings.
fn scan(directory: &Path) -> Result<BTreeMap<String, Vec<PathBuf>>, Refusal> {
    let refuse = |error: std::io::Error| {
        let problem = match error.kind() {
            std::io::ErrorKind::NotFound => "does not exist; make it".to_owned(),
            std::io::ErrorKind::NotADirectory => "is not a directory; put one there".to_owned(),
            _ => format!("cannot be read: {error}; make it readable for the user that runs phone-verify"),
        };
        Refusal::new(
            code::UNREADABLE_DIRECTORY,
            format!(
                "the plugin directory {} {problem}, or name another in [plugins] directories",
                directory.display()
            ),
        )
    };
    let mut files: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for entry in std::fs::read_dir(directory).map_err(refuse)? {
        let entry = entry.map_err(refuse)?;
        if let Some(stem) = entry.file_name().to_str().and_then(stem_of) {
            files.entry(stem.to_owned()).or_default().push(entry.path());
        }
    }
    for paths in files.values_mut() {
        paths.sort();
    }
    Ok(files)
}

/// `nexmo` of `libnexmo.so` and of `nexmo.so`.
fn stem_of(file_name: &str) -> Option<&str> {
    let stem = file_name.strip_suffix(DLL_SUFFIX)?;
    let stem = match stem.strip_prefix(DLL_PREFIX) {
        Some(rest) if !rest.is_empty() => rest,
        _ => stem,
    };
    is_library_name(stem).then_some(stem)
}

fn two_files(stem: &str, paths: &[PathBuf]) -> Refusal {
    let names: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    Refusal::new(
        code::TWO_FILES,
        format!(
            "the library {stem} lies there twice, as {}, and only one can be meant; remove the other",
            list(&names)
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(files: &[&str]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for file in files {
            std::fs::write(directory.path().join(file), "").unwrap();
        }
        directory
    }

    fn library(stem: &str) -> String {
        format!("{DLL_PREFIX}{stem}{DLL_SUFFIX}")
    }

    fn refusal(directories: &[PathBuf], stem: &str) -> Refusal {
        let mut refusals = one(directories, stem).unwrap_err();
        assert_eq!(refusals.len(), 1, "{refusals:?}");
        refusals.remove(0)
    }

    #[test]
    fn both_spellings_are_found() {
        let directory = directory(&[&library("nexmo"), &format!("twilio{DLL_SUFFIX}")]);
        let directories = [directory.path().to_owned()];
        for stem in ["nexmo", "twilio"] {
            assert_eq!(one(&directories, stem).unwrap().stem, stem);
        }
    }

    #[test]
    fn the_first_directory_that_has_it_wins() {
        let first = directory(&[]);
        let second = directory(&[&library("nexmo")]);
        let third = directory(&[&library("nexmo")]);
        let directories = [&first, &second, &third].map(|directory| directory.path().to_owned());
        let path = second.path().join(library("nexmo"));
        assert_eq!(one(&directories, "nexmo").unwrap().path, path);
        let (found, refused) = all(&directories);
        assert_eq!(found.iter().map(|found| &found.path).collect::<Vec<_>>(), [&path]);
        assert_eq!(refused, []);
    }

    #[test]
    fn other_files_are_not_looked_at() {
        let directory = directory(&[
            "README.md",
            &format!(".hidden{DLL_SUFFIX}"),
            &format!("Nexmo{DLL_SUFFIX}"),
            &format!("{}.new", library("nexmo")),
            &format!("nex-mo{DLL_SUFFIX}"),
            DLL_SUFFIX,
        ]);
        std::fs::create_dir(directory.path().join("deeper")).unwrap();
        std::fs::write(directory.path().join("deeper").join(library("nexmo")), "").unwrap();
        let directories = [directory.path().to_owned()];
        assert_eq!(all(&directories), (vec![], vec![]));
        assert_eq!(
            refusal(&directories, "nexmo").sentence,
            format!(
                "no library lies in {}; put {} there, or name another directory in [plugins] directories",
                directory.path().display(),
                library("nexmo")
            )
        );
    }

    #[test]
    fn two_spellings_of_one_library_are_refused() {
        let directory = directory(&[&library("nexmo"), &format!("nexmo{DLL_SUFFIX}")]);
        let refusal = refusal(&[directory.path().to_owned()], "nexmo");
        assert_eq!(refusal.code, code::TWO_FILES);
        assert_eq!(
            refusal.sentence,
            format!(
                "the library nexmo lies there twice, as {0}/{1} and {0}/nexmo{DLL_SUFFIX}, and only one can be meant; \
                 remove the other",
                directory.path().display(),
                library("nexmo"),
            )
        );
    }

    #[test]
    fn an_unknown_library_is_refused_with_those_that_are_there() {
        let directory = directory(&[&library("nexmo"), &library("twilio")]);
        let refusal = refusal(&[directory.path().to_owned()], "nexom");
        assert_eq!(refusal.code, code::UNKNOWN_LIBRARY);
        assert_eq!(
            refusal.sentence,
            format!(
                "no library nexom lies in {}, only nexmo and twilio; did you mean nexmo?; put {} there, or correct \
                 BACKEND",
                directory.path().display(),
                library("nexom"),
            )
        );
    }

    #[test]
    fn a_missing_directory_and_none_at_all_are_refused() {
        let missing = tempfile::tempdir().unwrap().path().join("gone");
        let refused = refusal(std::slice::from_ref(&missing), "nexmo");
        assert_eq!(refused.code, code::UNREADABLE_DIRECTORY);
        assert_eq!(
            refused.sentence,
            format!(
                "the plugin directory {} does not exist; make it, or name another in [plugins] directories",
                missing.display()
            )
        );
        assert_eq!(refusal(&[], "nexmo").code, code::NO_LIBRARIES);
        let file = missing.with_file_name("file");
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, "").unwrap();
        assert!(refusal(&[file], "nexmo").sentence.contains("is not a directory"));
    }
}
