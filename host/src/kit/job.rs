//! What every check of a run needs, in a folder of its own: a copy of the library, the options, the tape.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::tape::Tape;

const FILE: &str = "job.json";

/// A run of the kit. Its folder goes when it is dropped.
pub(super) struct Job {
    folder: tempfile::TempDir,
    /// The library's file as its author named it.
    library: PathBuf,
    pub(super) order: Order,
}

/// What is handed to the process of a check.
#[derive(Clone, Deserialize, Serialize)]
pub(super) struct Order {
    /// Where the library lies: no other is in there.
    pub(super) directory: PathBuf,
    pub(super) staging: PathBuf,
    /// The file's name.
    pub(super) file: String,
    /// Options that the author gave.
    pub(super) options: Map<String, Value>,
    pub(super) tape: Option<Tape>,
    /// How long one check may take.
    pub(super) time_limit: Duration,
}

impl Job {
    /// Copies the library into a folder that only this user can write to, where the host would load it from.
    pub(super) fn prepare(
        library: &Path,
        options: Map<String, Value>,
        tape: Option<Tape>,
        time_limit: Duration,
    ) -> io::Result<Self> {
        let folder = tempfile::Builder::new().prefix("phone-verify-check-").tempdir()?;
        let directory = folder.path().join("plugins");
        fs::create_dir(&directory)?;
        let file = library
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        fs::copy(library, directory.join(&file))?;
        let order = Order {
            staging: folder.path().join("staged"),
            directory,
            file,
            options,
            tape,
            time_limit,
        };
        fs::write(folder.path().join(FILE), serde_json::to_vec(&order)?)?;
        Ok(Self {
            folder,
            library: library.to_owned(),
            order,
        })
    }

    /// What is said of the copy, said of the author's own file.
    pub(super) fn in_the_authors_words(&self, text: &str) -> String {
        let copy = self.order.library().display().to_string();
        text.replace(&copy, &self.library.display().to_string())
    }

    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }
}

impl Order {
    /// The order that lies in this folder.
    pub(super) fn read(folder: &Path) -> io::Result<Self> {
        Ok(serde_json::from_slice(&fs::read(folder.join(FILE))?)?)
    }

    /// The library's file.
    pub(super) fn library(&self) -> PathBuf {
        self.directory.join(&self.file)
    }
}
