//! What an author signs, and what a signature is verified against: a library of whatever system, read once.

use std::path::Path;

use super::signature::{self, Signers, Subjected};
use crate::{
    preflight,
    refusal::{Refusal, code},
};

/// A library, as its manifest names it.
pub struct Signable {
    file: String,
    /// `acme`: the name under which alone the signature holds.
    pub library: String,
    /// Its own version.
    pub version: String,
    /// What is signed.
    pub bytes: Vec<u8>,
}

impl Signable {
    /// Reads a library; nothing of it runs, and it may be of another system than this one.
    pub fn read(path: &Path) -> Result<Self, Refusal> {
        let file = path.display().to_string();
        let bytes = preflight::read(path, &file)?;
        let manifest = preflight::manifest_of(&file, &bytes)?;
        if manifest.library.is_empty() {
            return Err(Refusal::new(
                code::BAD_MANIFEST,
                format!(
                    "the manifest of {file} does not say which library it is; add \"library\": \"…\" to PV_MANIFEST"
                ),
            ));
        }
        Ok(Self {
            file,
            library: manifest.library,
            version: manifest.version,
            bytes,
        })
    }

    /// The trusted comment of its signature.
    pub fn trusted_comment(&self, timestamp: u64) -> String {
        let path = Path::new(&self.file);
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        signature::trusted_comment(&name, &self.library, &self.version, timestamp)
    }

    /// Whose signature this is, of those who may sign it.
    pub fn verify(&self, text: &str, signers: &Signers) -> Result<String, Refusal> {
        let of = Subjected {
            file: &self.file,
            library: &self.library,
            version: &self.version,
            bytes: &self.bytes,
        };
        signature::signer(&of, text, signers, None)
    }
}
