//! `phone-verify plugin sign`: writes a detached signature next to a library.
//!
//! Invariant: the signed bytes are those from which the name and version were read. The file is read once, so replacing
//! it meanwhile cannot get other bytes signed.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

use clap::Args;
use data_encoding::BASE64;
use minisign::{PublicKey, SecretKey, SecretKeyBox};
use phone_verify_plugin_host::{
    Signable,
    files::{self, Subject},
    path_beside,
};
use serde_json::json;
use zeroize::Zeroizing;

use super::keygen::{ask, little_endian, written_password};
use crate::{
    cli::output::{Failure, Output},
    clock::Clock,
};

#[derive(Args)]
pub(super) struct Sign {
    /// The library's file, of whatever system
    #[arg(value_name = "FILE")]
    library: PathBuf,
    /// The secret key, made by plugin keygen or minisign -G
    #[arg(long, value_name = "FILE")]
    secret_key: PathBuf,
    /// Read the key's password from this file; else it is asked for, without echo
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Ask for no password: the key has none
    #[arg(long, conflicts_with = "password_file")]
    no_password: bool,
    /// Where the signature goes; else beside the library, as FILE.minisig
    #[arg(long, value_name = "FILE")]
    signature: Option<PathBuf>,
    /// Print the result as JSON
    #[arg(long)]
    pub(super) json: bool,
}

impl Sign {
    pub(super) fn run(&self) -> Result<(), Failure> {
        super::must_exist(&self.library)?;
        let library = Signable::read(&self.library)
            .map_err(|refusal| Failure::failed(format!("this cannot be signed: {refusal}")))?;
        let key = self.key()?;
        let failed = |error: minisign::PError| Failure::failed(format!("it cannot be signed: {error}"));
        let public = PublicKey::from_secret_key(&key).map_err(failed)?;
        let comment = library.trusted_comment(Clock::system().wall().0 / 1000);
        let signature = minisign::sign(
            Some(&public),
            &key,
            library.bytes.as_slice(),
            Some(&comment),
            Some("signature from phone-verify plugin sign"),
        );
        let text = signature.map_err(failed)?.into_string();
        let file = self
            .signature
            .clone()
            .unwrap_or_else(|| path_beside(&self.library));
        replace(&file, &text).map_err(|error| {
            let error = files::told(&error, "choose another place with --signature");
            Failure::failed(format!("{} cannot be written: {error}", file.display()))
        })?;
        let id = format!("{:016X}", little_endian(public.keynum()));
        let result = json!({
            "signature_file": file, "library": library.library, "version": library.version, "id": id,
            "public_key": public.to_base64(),
        });
        Output { json: self.json }.result(&result, || {
            format!(
                "{} version {} is signed with {id}: {}",
                library.library,
                library.version,
                file.display()
            )
        })
    }

    /// Reads the secret key, and asks for its password if it has one.
    fn key(&self) -> Result<SecretKey, Failure> {
        let file = self.secret_key.display();
        let text = files::read_text(&self.secret_key, Subject::SigningKey)
            .map(Zeroizing::new)
            .map_err(|fault| Failure::wrong([format!("the secret key cannot be read: {fault}")]))?;
        let sealed = || SecretKeyBox::from(text.to_string());
        // A key without a password needs no option: its own bytes say that it has none.
        if !has_password(&text) {
            return SecretKey::from_unencrypted_box(sealed()).map_err(|_| {
                Failure::wrong([format!(
                    "{file} is no secret key of minisign, or a damaged one; name the file that plugin keygen or minisign -G \
                     wrote as the secret key"
                )])
            });
        }
        if self.no_password {
            return Err(Failure::wrong([format!(
                "the secret key {file} has a password; leave out --no-password to be asked for it"
            )]));
        }
        let password = match &self.password_file {
            Some(path) => written_password(path)?,
            None => ask(&format!("Password of {file}: "))?,
        };
        SecretKey::from_box(sealed(), Some(password.to_string()))
            .map_err(|error| Failure::wrong([format!("{file} cannot be used as a secret key: {error}")]))
    }
}

/// Whether a secret key is encrypted with a password. Its first bytes say so: `Ed` for the signature, `Sc` for scrypt.
fn has_password(text: &str) -> bool {
    const BYTES: usize = 158;
    let line = text.lines().nth(1).unwrap_or_default();
    let key = BASE64.decode(line.trim_end().as_bytes()).map(Zeroizing::new);
    key.is_ok_and(|key| key.len() == BYTES && key.starts_with(b"EdSc"))
}

/// Replaces the signature's file in one step, so that a reader, such as a daemon, sees either the old signature or the
/// new one.
fn replace(file: &Path, text: &str) -> io::Result<()> {
    let mut new = tempfile::Builder::new()
        .prefix(".phone-verify-sign-")
        .tempfile_in(files::folder_of(file))?;
    new.write_all(text.as_bytes())?;
    // Readable for all users, as a file that is made by hand. A temporary file is private otherwise.
    #[cfg(unix)]
    {
        use std::{fs::Permissions, os::unix::fs::PermissionsExt};
        new.as_file().set_permissions(Permissions::from_mode(0o644))?;
    }
    new.as_file().sync_all()?;
    new.persist(file).map(drop).map_err(|error| error.error)
}
