//! `phone-verify plugin verify`: checks whether a signature belongs to this library and was made with one of these
//! keys.

use std::path::{Path, PathBuf};

use clap::Args;
use phone_verify_plugin_host::{
    Signable, Signer, Signers,
    files::{self, Subject},
    path_beside,
};
use serde_json::json;

use crate::cli::output::{Failure, Output};

#[derive(Args)]
pub(super) struct Verify {
    /// The library's file, of whatever system
    #[arg(value_name = "FILE")]
    library: PathBuf,
    /// A public key of minisign (RW…), or its file; may be given several times
    #[arg(long, value_name = "KEY", required = true)]
    public_key: Vec<String>,
    /// The signature; else that beside the library, FILE.minisig
    #[arg(long, value_name = "FILE")]
    signature: Option<PathBuf>,
    /// Print the result as JSON
    #[arg(long)]
    pub(super) json: bool,
}

impl Verify {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let mut signers = Signers::new();
        for key in &self.public_key {
            let signer = signer(key).map_err(|problem| Failure::wrong([problem]))?;
            signers.insert(signer.id().to_string(), signer);
        }
        super::must_exist(&self.library)?;
        let library =
            Signable::read(&self.library).map_err(|refusal| Failure::failed(refusal.to_string()))?;
        let file = self
            .signature
            .clone()
            .unwrap_or_else(|| path_beside(&self.library));
        let text = files::read_text(&file, Subject::Signature)
            .map_err(|fault| Failure::failed(format!("the signature cannot be read: {fault}")))?;
        let id = library
            .verify(&text, &signers)
            .map_err(|refusal| Failure::failed(refusal.to_string()))?;
        let result = json!({ "library": library.library, "version": library.version, "id": id });
        Output { json: self.json }.result(&result, || {
            format!(
                "{} version {}: its signature is good, by the key {id}",
                library.library, library.version
            )
        })
    }
}

/// Parses a public key, given as itself or as the name of a file.
fn signer(key: &str) -> Result<Signer, String> {
    if let Some(signer) = Signer::parse(key) {
        return Ok(signer);
    }
    let text = files::read_text(Path::new(key), Subject::Signature).map_err(|fault| {
        format!("{key} is neither a public key of minisign (RW…) nor a file of one: {fault}")
    })?;
    Signer::parse(&text).ok_or_else(|| format!("{key} holds no public key of minisign"))
}
