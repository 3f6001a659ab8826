//! Everything that the check processes of a run need, in one temporary folder: a copy of the library, the options, the
//! tape.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::tape::Tape;

/// The file in that folder which carries the [`Order`].
const FILE: &str = "job.json";

/// One run of the kit. Dropping it removes its folder.
pub(super) struct Job {
    folder: tempfile::TempDir,
    /// The library's path as the author gave it, for messages.
    library: PathBuf,
    pub(super) order: Order,
}

/// The input of a check process.
#[derive(Clone, Deserialize, Serialize)]
pub(super) struct Order {
    /// The folder of the copied library. It holds no other library.
    pub(super) directory: PathBuf,
    /// Where the loader makes its private copy.
    pub(super) staging: PathBuf,
    /// The library's file name.
    pub(super) file: String,
    /// The options that the author gave.
    pub(super) options: Map<String, Value>,
    pub(super) tape: Option<Tape>,
    /// Time limit of one check.
    pub(super) time_limit: Duration,
}

impl Job {
    /// Copies the library into a folder that only this user can write to. The loader refuses libraries that others
    /// could replace, and the author's build folder may be such a place.
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

    /// Replaces the path of the copy by the path that the author gave: the copy is gone when the message is read.
    pub(super) fn in_the_authors_words(&self, text: &str) -> String {
        let copy = self.order.library().display().to_string();
        text.replace(&copy, &self.library.display().to_string())
    }

    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }
}

impl Order {
    /// Reads the order that [`Job::prepare`] wrote into this folder.
    pub(super) fn read(folder: &Path) -> io::Result<Self> {
        Ok(serde_json::from_slice(&fs::read(folder.join(FILE))?)?)
    }

    /// The path of the copied library.
    pub(super) fn library(&self) -> PathBuf {
        self.directory.join(&self.file)
    }
}
