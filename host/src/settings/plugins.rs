//! `[plugins]`: libraries.

use std::path::PathBuf;

use super::reader::{Reader, flag, path, text, texts};

/// Libraries.
#[derive(Clone, Debug)]
pub struct Plugins {
    /// Where they are looked for, in this order.
    pub directories: Vec<PathBuf>,
    /// Where private copies go; `None`: under the system's folder for temporary files.
    pub staging_directory: Option<PathBuf>,
    /// Whether backends may call private addresses.
    pub allow_private_addresses: bool,
}

impl Plugins {
    pub(super) fn read(reader: &mut Reader) -> Self {
        let mut section = reader.section("plugins", false);
        let folder = section.folder();
        let directories = section.get("directories", |value| match texts(value)? {
            list if list.is_empty() => Err("must name at least one directory".into()),
            list => Ok(list.iter().map(|directory| folder.join(directory)).collect()),
        });
        let staging_directory = section.get("staging_directory", |value| Ok(path(&folder, &text(value)?)));
        let allow_private_addresses = section.get("allow_private_addresses", flag);
        section.finish();
        Self {
            directories,
            staging_directory,
            allow_private_addresses,
        }
    }
}
