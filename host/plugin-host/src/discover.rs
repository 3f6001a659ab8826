//! Finds backend libraries: which file in the plugin directories a name stands for. Reads directories only;
//! no file is opened here.
//!
//! Invariant: a directory is never descended into, and only files whose stem is a library name count.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use super::{
    file_name::FileNaming,
    files,
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
        match scan(directory, FileNaming::HERE) {
            Err(refusal) => refused.push((directory.clone(), refusal)),
            Ok(files) => {
                for (stem, mut paths) in files {
                    if let Some(first) = found.iter().find(|known| known.stem == stem) {
                        refused.extend(paths.into_iter().map(|path| {
                            let refusal = hidden(&path, &first.path);
                            (path, refusal)
                        }));
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

/// What is passed over for the file of a library that is used: each further file of the library, and each directory
/// before it that cannot be searched, in which the one that is meant may lie.
pub(super) fn passed_over(directories: &[PathBuf], used: &Found) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    let mut is_before = true;
    for directory in directories {
        match scan(directory, FileNaming::HERE) {
            Ok(mut files) => {
                let others = files.remove(&used.stem).unwrap_or_default();
                is_before &= !others.contains(&used.path);
                let others = others.iter().filter(|path| **path != used.path);
                refusals.extend(others.map(|path| hidden(path, &used.path)));
            }
            Err(mut refusal) if is_before => {
                refusal.sentence += &format!("; until then {} is used", used.path.display());
                refusals.push(refusal);
            }
            Err(_) => {}
        }
    }
    refusals
}

fn hidden(path: &Path, first: &Path) -> Refusal {
    Refusal::new(
        code::HIDDEN,
        format!(
            "{} is not used, for {} has the same name and lies in a directory that [plugins] directories names before; \
             remove one of the two",
            path.display(),
            first.display()
        ),
    )
}

/// The file of one library, which the settings name.
pub(super) fn one(directories: &[PathBuf], stem: &str) -> Result<Found, Vec<Refusal>> {
    one_named(directories, stem, FileNaming::HERE, "correct BACKEND")
}

/// The file of one library, which an argument of a command names.
pub(super) fn of_argument(directories: &[PathBuf], stem: &str) -> Result<Found, Vec<Refusal>> {
    one_named(directories, stem, FileNaming::HERE, "name one that is there")
}

/// `or`: what to do if no library has this name, besides putting one there.
fn one_named(
    directories: &[PathBuf],
    stem: &str,
    naming: FileNaming,
    or: &str,
) -> Result<Found, Vec<Refusal>> {
    let mut unreadable = Vec::new();
    let mut known = Vec::new();
    for directory in directories {
        match scan(directory, naming) {
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
    let file = naming.file_of(stem);
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
                "no library lies in {searched}{}; put {file} there, or name another directory in [plugins] directories",
                near_misses(directories, stem, naming)
            ),
        )
    } else {
        Refusal::new(
            code::UNKNOWN_LIBRARY,
            format!(
                "no library {stem} lies in {searched}, only {}{}{}; put {file} there, or {or}",
                list(&known),
                hint(stem, known.iter().map(String::as_str)),
                near_misses(directories, stem, naming),
            ),
        )
    };
    unreadable.push(refusal);
    Err(unreadable)
}

/// The library that a file would be in a plugin directory; `None` if it is not named as one.
pub(super) fn file(path: &Path) -> Option<Found> {
    Some(Found {
        stem: FileNaming::HERE.library_of(path.file_name()?.to_str()?)?,
        path: path.to_owned(),
    })
}

/// The library that a file would be in a plugin directory of another system, by its name; and why it is none here, if
/// it is a library of this one nevertheless.
pub(super) fn misnamed(path: &Path) -> Option<(Found, Refusal)> {
    let (stem, system) = FileNaming::HERE.of_another_system(path.file_name()?.to_str()?)?;
    let refusal = Refusal::new(
        code::MISNAMED,
        format!(
            "{} is a library for this system, but named as one for {system}, so a host would not find it; rename it to {}",
            path.display(),
            FileNaming::HERE.file_of(&stem)
        ),
    );
    let path = path.to_owned();
    Some((Found { stem, path }, refusal))
}

const READABLE: &str = "make it readable for the user that runs phone-verify";

/// The library files of one directory by stem, each with all its spellings.
fn scan(directory: &Path, naming: FileNaming) -> Result<BTreeMap<String, Vec<PathBuf>>, Refusal> {
    let refuse = |error: std::io::Error| {
        let problem = match error.kind() {
            std::io::ErrorKind::NotFound => "does not exist; make it".to_owned(),
            std::io::ErrorKind::NotADirectory => "is not a directory; put one there".to_owned(),
            _ => format!("cannot be read: {}", files::told(&error, READABLE)),
        };
        let sentence = format!(
            "the plugin directory {} {problem}, or name another in [plugins] directories",
            directory.display()
        );
        Refusal::of_error(code::UNREADABLE_DIRECTORY, sentence, &error)
    };
    let mut files: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for entry in std::fs::read_dir(directory).map_err(refuse)? {
        let entry = entry.map_err(refuse)?;
        let name = entry.file_name();
        if let Some(stem) = name.to_str().and_then(|name| naming.library_of(name)) {
            files.entry(stem).or_default().push(entry.path());
        }
    }
    for paths in files.values_mut() {
        paths.sort();
    }
    Ok(files)
}

/// Files that are named almost as a library of this name would be, with why they are not taken for it.
fn near_misses(directories: &[PathBuf], stem: &str, naming: FileNaming) -> String {
    let entries = directories
        .iter()
        .filter_map(|directory| std::fs::read_dir(directory).ok());
    let mut names: Vec<String> = entries
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| naming.is_near(name, stem))
        .collect();
    names.sort();
    names.dedup();
    names.truncate(MAX_NEAR_MISSES);
    if names.is_empty() {
        return String::new();
    }
    format!("; {} {}", list(&names), naming.why_not(&names))
}

/// How many of them a refusal names.
const MAX_NEAR_MISSES: usize = 5;

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
    use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};

    use super::*;
    use crate::file_name::WINDOWS;

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
        let later = third.path().join(library("nexmo"));
        assert_eq!(refused, [(later.clone(), hidden(&later, &path))]);
        assert_eq!(passed_over(&directories, &found[0]), [hidden(&later, &path)]);
        let sentence = hidden(&later, &path).sentence;
        assert!(
            sentence.starts_with(&format!(
                "{} is not used, for {} has",
                later.display(),
                path.display()
            )),
            "{sentence}"
        );
    }

    #[test]
    fn a_file_that_is_named_almost_as_a_library_is_told() {
        for name in [
            format!("{}.1.0", library("acme")),
            format!("{DLL_PREFIX}acme-sms{DLL_SUFFIX}"),
            format!("{DLL_PREFIX}Acme{DLL_SUFFIX}"),
            format!("ACME{}", DLL_SUFFIX.to_uppercase()),
            "libacme.a".to_owned(),
            "acme.dylib.old".to_owned(),
            format!("libAcmee{DLL_SUFFIX}"),
        ] {
            let directory = directory(&[&name, "README.md"]);
            let told = refusal(&[directory.path().to_owned()], "acme").sentence;
            assert!(
                told.contains(&format!("; {name} does, but a library is named")),
                "{name}: {told}"
            );
        }
        for other in ["acme.txt", "acmetools", "libpacme.so.1", "acme"] {
            let directory = directory(&[other]);
            let told = refusal(&[directory.path().to_owned()], "nexmo").sentence;
            assert!(!told.contains("does, but"), "{other}: {told}");
        }
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
        let told = refusal(&directories, "nexmo");
        assert_eq!(told.code, code::NO_LIBRARIES);
        assert!(
            told.sentence
                .starts_with(&format!("no library lies in {}; ", directory.path().display())),
            "{told}"
        );
        assert!(
            told.sentence.ends_with(&format!(
                "put {} there, or name another directory in [plugins] directories",
                library("nexmo")
            )),
            "{told}"
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
    fn a_file_of_windows_is_found_in_any_case() {
        for file in ["acme.dll", "ACME.DLL", "libacme.dll", "LibAcme.dll"] {
            let directory = directory(&[file, "nexmo.dll", "acme.dll.old"]);
            let directories = [directory.path().to_owned()];
            let found = one_named(&directories, "acme", WINDOWS, "correct BACKEND").unwrap();
            assert_eq!(
                (found.stem.as_str(), found.path),
                ("acme", directory.path().join(file))
            );
            let refused = |stem: &str| {
                one_named(&directories, stem, WINDOWS, "correct BACKEND")
                    .unwrap_err()
                    .remove(0)
            };
            let unknown = refused("acne");
            assert_eq!(unknown.code, code::UNKNOWN_LIBRARY);
            assert!(
                unknown.sentence.contains(
                    ", only acme and nexmo; did you mean acme?; acme.dll.old does, but a library is named"
                ) && unknown
                    .sentence
                    .ends_with("put acne.dll there, or correct BACKEND"),
                "{unknown}"
            );
        }
        let twice = directory(&["ACME.dll", "libacme.dll"]);
        let refused = one_named(&[twice.path().to_owned()], "acme", WINDOWS, "correct BACKEND")
            .unwrap_err()
            .remove(0);
        assert_eq!(refused.code, code::TWO_FILES);
        let none = directory(&["acme.exe", "libacme.so"]);
        let refused = one_named(&[none.path().to_owned()], "acme", WINDOWS, "correct BACKEND")
            .unwrap_err()
            .remove(0);
        assert_eq!(refused.code, code::NO_LIBRARIES);
        assert!(
            refused
                .sentence
                .contains("; libacme.so does, but that is what a library for Linux is called"),
            "{refused}"
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
