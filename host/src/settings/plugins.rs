//! `[plugins]`: libraries.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use super::{
    document::{Entry, Value},
    reader::{Reader, Section, flag, path, text, texts},
};
use crate::backends::{Isolation, IsolationRules, LibraryIsolation, Trust, TrustRules};

const SHA256_HEX_DIGITS: usize = 64;

/// Libraries.
#[derive(Clone, Debug)]
pub struct Plugins {
    /// Where they are looked for, in this order.
    pub directories: Vec<PathBuf>,
    /// Where private copies go.
    pub staging_directory: PathBuf,
    /// Whether backends may call private addresses.
    pub allow_private_addresses: bool,
    /// Which libraries run in a process of their own.
    pub isolation: IsolationRules,
    /// Which libraries are used at all.
    pub trust: TrustRules,
}

impl Plugins {
    /// What names no place lies beside the database, which outlives the process as well.
    pub(super) fn read(reader: &mut Reader, database: &Path) -> Self {
        let mut section = reader.section("plugins", false);
        let folder = section.folder();
        let directories = section.get("directories", |value| match texts(value)? {
            list if list.is_empty() => Err("must name at least one directory".into()),
            list => Ok(list.iter().map(|directory| folder.join(directory)).collect()),
        });
        let staging_directory = section.get("staging_directory", |value| Ok(path(&folder, &text(value)?)));
        let allow_private_addresses = section.get("allow_private_addresses", flag);
        let mode = section.get("trust", trust);
        let lock_file = section.get("lock_file", |value| Ok(path(&folder, &text(value)?)));
        let default = section.get("isolation", isolation);
        let rows = section.table("libraries", false, "plugins.libraries");
        let mut libraries = BTreeMap::new();
        for row in rows {
            let name = row.key.clone();
            libraries.insert(name, library(&mut section, row));
        }
        section.finish();
        let beside = |name: &str| database.with_file_name(name);
        let pins = libraries.iter();
        let pins = pins.filter_map(|(name, library)| Some((name.clone(), library.sha256.clone()?)));
        let trust = TrustRules {
            mode,
            lock_file: Some(lock_file.unwrap_or_else(|| beside("plugins.lock"))),
            pins: pins.collect(),
        };
        Self {
            directories,
            staging_directory: staging_directory.unwrap_or_else(|| beside("plugins.staged")),
            allow_private_addresses,
            isolation: IsolationRules {
                default,
                libraries,
                ..IsolationRules::default()
            },
            trust,
        }
    }
}

/// `[plugins.libraries.<name>]`.
fn library(section: &mut Section<'_>, row: Entry) -> LibraryIsolation {
    let mut library = LibraryIsolation::default();
    let Value::Table(entries) = row.value else {
        let message = format!("libraries.{} must be a table, not {}", row.key, row.value.kind());
        section.problem(Some(row.line), &message);
        return library;
    };
    let mut shown = Vec::new();
    for entry in entries {
        let read = match entry.key.as_str() {
            "isolation" => isolation(&entry.value).map(|value| library.isolation = Some(value)),
            "sha256" => sha256(&entry.value).map(|value| library.sha256 = Some(value)),
            _ => Err("is not a setting; there are isolation and sha256".to_owned()),
        };
        match read {
            Ok(()) => shown.push((entry.key, entry.value.to_toml())),
            Err(needed) => {
                let message = format!("libraries.{}.{} {needed}", row.key, entry.key);
                section.problem(Some(entry.line), &message);
            }
        }
    }
    section.show_table(&format!("plugins.libraries.{}", row.key), &shown);
    library
}

fn trust(value: &Value) -> Result<Trust, String> {
    let name = text(value)?;
    Trust::NAMES
        .into_iter()
        .find(|(known, _)| *known == name)
        .map(|(_, trust)| trust)
        .ok_or_else(|| format!("must be any, tofu or pinned, not {name}"))
}

fn isolation(value: &Value) -> Result<Isolation, String> {
    let name = text(value)?;
    Isolation::NAMES
        .into_iter()
        .find(|(known, _)| *known == name)
        .map(|(_, isolation)| isolation)
        .ok_or_else(|| format!("must be auto, inline or worker, not {name}"))
}

fn sha256(value: &Value) -> Result<String, String> {
    let hash = text(value)?.to_lowercase();
    let is_hash = hash.len() == SHA256_HEX_DIGITS && hash.chars().all(|digit| digit.is_ascii_hexdigit());
    is_hash
        .then_some(hash)
        .ok_or_else(|| "must be the 64 hexadecimal digits that `phone-verify backends` shows".to_owned())
}
