//! `phone-verify plugin keygen`: creates a key pair of minisign, to sign libraries with.
//!
//! Invariants: no existing file is overwritten, and only the owner can read the secret key.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use clap::Args;
use minisign::KeyPair;
use phone_verify_plugin_host::files::{self, Subject};
use serde_json::json;
use zeroize::Zeroizing;

use crate::cli::output::{Failure, Output};

#[derive(Args)]
pub(super) struct Keygen {
    /// Where the secret key goes
    #[arg(long, value_name = "FILE", default_value = "phone-verify.key")]
    secret_key: PathBuf,
    /// Where the public key goes; else beside the secret key, with the ending .pub
    #[arg(long, value_name = "FILE")]
    public_key: Option<PathBuf>,
    /// Read the key's password from this file; else it is asked for, without echo
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Write the secret key without a password, for a builder that nobody sits at
    #[arg(long, conflicts_with = "password_file")]
    no_password: bool,
    /// Print the result as JSON
    #[arg(long)]
    pub(super) json: bool,
}

impl Keygen {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let secret_file = &self.secret_key;
        let public_file = self
            .public_key
            .clone()
            .unwrap_or_else(|| secret_file.with_extension("pub"));
        for file in [secret_file, &public_file] {
            if file.symlink_metadata().is_ok() {
                return Err(Failure::wrong([format!(
                    "{} is there already; a key is not overwritten: name another file",
                    file.display()
                )]));
            }
        }
        let failed = |error: minisign::PError| Failure::failed(format!("no key can be made: {error}"));
        let pair = if self.no_password {
            KeyPair::generate_unencrypted_keypair().map_err(failed)?
        } else {
            let password = match &self.password_file {
                Some(path) => written_password(path)?,
                None => new_password()?,
            };
            if password.is_empty() {
                let problem = "a key without a password is made with --no-password only";
                return Err(Failure::wrong([problem.to_owned()]));
            }
            KeyPair::generate_encrypted_keypair(Some(password.to_string())).map_err(failed)?
        };
        let id = format!("{:016X}", little_endian(pair.pk.keynum()));
        let comment = format!("minisign encrypted secret key {id}");
        let secret = Zeroizing::new(pair.sk.to_box(Some(&comment)).map_err(failed)?.into_string());
        let public = pair.pk.to_box().map_err(failed)?.into_string();
        write(secret_file, &secret, 0o600)?;
        write(&public_file, &public, 0o644)?;
        let line = pair.pk.to_base64();
        let result = json!({
            "secret_key_file": secret_file, "public_key_file": public_file, "public_key": line, "id": id,
        });
        Output { json: self.json }.result(&result, || {
            format!(
                "key {id}\n  secret  {} (keep it, and a copy where only you can reach it)\n  public  {}\n\nwhoever is to take \
                 your libraries puts this into the settings:\n\n  [plugins.signers]\n  your-name = \"{line}\"",
                secret_file.display(),
                public_file.display()
            )
        })
    }
}

/// Asks for a new password twice, without echo.
fn new_password() -> Result<Zeroizing<String>, Failure> {
    let first = ask("Password of the new key: ")?;
    if !first.is_empty() && *ask("The same again: ")? != *first {
        return Err(Failure::wrong(["the two passwords differ".to_owned()]));
    }
    Ok(first)
}

/// Reads a password from a file, without the line break at its end.
pub(super) fn written_password(file: &Path) -> Result<Zeroizing<String>, Failure> {
    files::read_text(file, Subject::SigningKey)
        .map(Zeroizing::new)
        .map(|text| Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned()))
        .map_err(|fault| Failure::wrong([format!("the password cannot be read: {fault}")]))
}

/// Asks for a password at the terminal, without echo.
pub(super) fn ask(prompt: &str) -> Result<Zeroizing<String>, Failure> {
    rpassword::prompt_password(prompt).map(Zeroizing::new).map_err(|error| {
        Failure::wrong([format!(
            "no password can be asked for, for there is no terminal ({error}); name a file that holds it with \
             --password-file, or use a key without one"
        )])
    })
}

/// Writes a new file with these permissions, and waits until it is on the disk. Fails if the file exists.
fn write(file: &Path, text: &str, mode: u32) -> Result<(), Failure> {
    let problem =
        |error: io::Error| Failure::failed(format!("{} cannot be written: {error}", file.display()));
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    #[cfg(not(unix))]
    let _ = mode;
    let mut written = options.open(file).map_err(problem)?;
    written.write_all(text.as_bytes()).map_err(problem)?;
    written.sync_all().map_err(problem)
}

/// The key's id as a number. Minisign shows the bytes in the opposite order.
pub(super) fn little_endian(id: &[u8]) -> u64 {
    id.iter().rev().fold(0, |sum, byte| (sum << 8) | u64::from(*byte))
}
