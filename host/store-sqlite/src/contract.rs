//! The contract of a store, on this engine.

use std::{fs, sync::Arc};

use phone_verify_domain::store::{Keyring, Store, contract::Engine};

use super::{Sqlite, files::AnyFile};

/// A database in a folder of its own.
struct Folder(tempfile::TempDir);

impl Folder {
    fn empty() -> Arc<dyn Engine> {
        Arc::new(Self(tempfile::tempdir().unwrap()))
    }
}

impl Engine for Folder {
    fn open(&self, keyring: Arc<Keyring>) -> Arc<dyn Store> {
        let database = self.0.path().join("store.db");
        Arc::new(Sqlite::open(&database, keyring, &AnyFile, Arc::new(())).unwrap())
    }

    /// A copy of its files as they are: what the operating system has of a process that is killed.
    fn after_a_crash(&self) -> Arc<dyn Engine> {
        let folder = tempfile::tempdir().unwrap();
        for file in fs::read_dir(self.0.path()).unwrap() {
            let file = file.unwrap();
            fs::copy(file.path(), folder.path().join(file.file_name())).unwrap();
        }
        Arc::new(Self(folder))
    }

    fn stored(&self) -> Vec<(String, Vec<u8>)> {
        let files = fs::read_dir(self.0.path()).unwrap();
        files
            .map(|file| {
                let path = file.unwrap().path();
                (path.display().to_string(), fs::read(&path).unwrap())
            })
            .collect()
    }
}

phone_verify_domain::contract!(sqlite, super::super::Folder::empty());
