//! `[store]`: the database.

use std::path::PathBuf;

use super::reader::{Reader, path, text};

/// The database.
#[derive(Clone, Debug)]
pub struct Store {
    /// The file of the embedded engine.
    pub database: PathBuf,
    /// The file of the server's keys.
    pub key_file: PathBuf,
}

impl Store {
    pub(super) fn read(reader: &mut Reader) -> Self {
        let mut section = reader.section("store", false);
        let folder = section.folder();
        let database = section.get("url", |value| {
            let url = text(value)?;
            let file = url
                .strip_prefix("sqlite:")
                .filter(|file| !file.is_empty() && *file != ":memory:");
            file.map(|file| folder.join(file))
                .ok_or_else(|| "must be sqlite:PATH".to_owned())
        });
        let key_file = section.get("key_file", |value| Ok(path(&folder, &text(value)?)));
        section.finish();
        Self {
            key_file: key_file.unwrap_or_else(|| beside(&database)),
            database,
        }
    }
}

/// The key file of a database that names none.
fn beside(database: &std::path::Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(".key");
    name.into()
}
