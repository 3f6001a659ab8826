//! Opens files where another idea of ownership holds than that of Unix: what is there must be a regular file.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

use super::{Fault, Subject, fault::Problem};

/// Where a path leads.
pub(super) struct Place(PathBuf);

pub(super) fn to(path: &Path, _subject: Subject) -> Result<Place, Fault> {
    Ok(Place(path.to_owned()))
}

fn kind_of(found: &std::fs::Metadata) -> &'static str {
    if found.is_dir() {
        "a folder"
    } else {
        "no regular file"
    }
}

impl Place {
    pub(super) fn make(&self, subject: Subject) -> Result<(), Fault> {
        std::fs::create_dir_all(&self.0).map_err(|error| self.io(subject, error))
    }

    fn io(&self, subject: Subject, error: io::Error) -> Fault {
        Fault::new(&self.0, subject, Problem::Io(error))
    }

    pub(super) fn open(self, subject: Subject) -> Result<File, Fault> {
        let found = std::fs::metadata(&self.0).map_err(|error| self.io(subject, error))?;
        if !found.is_file() {
            let kind = kind_of(&found);
            return Err(Fault::new(&self.0, subject, Problem::NotAFile(kind)));
        }
        File::open(&self.0).map_err(|error| self.io(subject, error))
    }

    pub(super) fn judged(self, subject: Subject) -> Result<(PathBuf, bool), Fault> {
        match std::fs::metadata(&self.0) {
            Ok(found) if found.is_file() => Ok((self.0, true)),
            Ok(found) => {
                let kind = kind_of(&found);
                Err(Fault::new(&self.0, subject, Problem::NotAFile(kind)))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let folder = super::folder_of(&self.0);
                std::fs::metadata(folder).map_err(|error| Fault::new(folder, subject, Problem::Io(error)))?;
                Ok((self.0, false))
            }
            Err(error) => Err(self.io(subject, error)),
        }
    }

    pub(super) fn private_folder(self, subject: Subject) -> Result<PathBuf, Fault> {
        self.make(subject)?;
        Ok(self.0)
    }
}
