//! `[store]`: the database, and the keys that protect the secrets in it.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    reader::{Reader, number, path, text, texts},
    reference::ReferredFile,
};
use crate::store::MasterKey;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The settings of the database.
#[derive(Clone, Debug)]
pub struct Store {
    /// The file of the SQLite database.
    pub database: PathBuf,
    /// Where the server's keys come from.
    pub keys: Keys,
    /// How often the daemon deletes old records; zero means never.
    pub cleanup_interval: Duration,
    /// How long entries of the audit log are kept.
    pub audit_retention: Duration,
}

/// Where the server's keys come from. Without these keys, the database is of no use.
#[derive(Clone, Debug)]
pub enum Keys {
    /// A key file.
    File(PathBuf),
    /// The settings themselves.
    Given(GivenKeys),
}

/// Keys in the settings, or in files that the settings refer to.
#[derive(Clone, Debug)]
pub struct GivenKeys {
    /// Never empty; the first key is the current one, the others are from before a rotation.
    pub keys: Vec<MasterKey>,
    files: Vec<ReferredFile>,
}

impl GivenKeys {
    /// Why they are not used, as a key file would not be: others can read one of the files that they are in. Asked when
    /// they are used and not when the settings are read, which root does before it acts as the daemon's user.
    pub fn refusal(&self) -> Option<String> {
        let fault = self.files.iter().find_map(ReferredFile::refusal)?;
        Some(format!("[store] keys cannot be taken from a file: {fault}"))
    }
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
        let ((given, files, is_referred), line) = section.get_secret("keys", |value| {
            let keys = texts(value)?;
            let keys: Option<Vec<_>> = keys.iter().map(|key| MasterKey::parse(key)).collect();
            // The value is not repeated: it may be a key with a typing error.
            let keys =
                keys.ok_or_else(|| "must be a list of keys of 64 hexadecimal digits each".to_owned())?;
            let files = value.files().into_iter().cloned().collect();
            Ok((keys, files, value.referred()))
        });
        // Settings files are often readable for a group, or stored in a repository. Keys should be neither.
        if !given.is_empty() && !is_referred {
            let advice = "keys stand there for everybody who can read this file; refer to them, with ${env:NAME} or \
                          ${file:PATH}";
            section.warning(line, advice);
        }
        if key_file.is_some() && !given.is_empty() {
            section.problem("keys", line, "keys and key_file are both given; keep one");
        }
        let hours = section.get("cleanup_interval_hours", number(0..=168));
        let days = section.get("audit_retention_days", number(1..=3650));
        section.finish();
        Self {
            keys: if given.is_empty() {
                Keys::File(key_file.unwrap_or_else(|| beside(&database)))
            } else {
                Keys::Given(GivenKeys { keys: given, files })
            },
            database,
            cleanup_interval: Duration::from_secs(u64::from(hours) * 60 * 60),
            audit_retention: DAY * days,
        }
    }
}

/// The default key file: next to the database, with `.key` appended to its name.
fn beside(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(".key");
    name.into()
}
