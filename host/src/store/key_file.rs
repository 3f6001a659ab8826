//! The file of the server's keys: a line of 64 hexadecimal digits each, the current one first.
//!
//! Invariant: it is its owner's alone, and is made once, however many processes start at the same time.

use std::{
    fs::OpenOptions,
    io::{self, Write},
    path::Path,
    sync::Arc,
};

use data_encoding::HEXLOWER_PERMISSIVE;
use phone_verify_plugin_host::files::{self, Fault, Subject};
use zeroize::Zeroizing;

use super::{Keyring, MasterKey};
use crate::entropy::{Entropy, NoEntropy};

/// Why there is no keyring.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileError {
    /// The file cannot be made.
    #[error(
        "the key file {path} cannot be made: {}",
        files::told(
            cause,
            "its folder must exist, and this user must have the right to write there"
        )
    )]
    NotMade {
        /// The file.
        path: String,
        /// The operating system's words.
        cause: io::Error,
    },
    /// Others could read or exchange the keys.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// A line that is not a key.
    #[error(
        "line {line} of the key file {path} is not a key; each line holds 64 hexadecimal digits, the current key first"
    )]
    NotAKey {
        /// The file.
        path: String,
        /// Counted from 1.
        line: usize,
    },
    /// No line at all.
    #[error("the key file {path} holds no key; remove it to have one made, if no data depends on it")]
    Empty {
        /// The file.
        path: String,
    },
    /// No randomness.
    #[error(transparent)]
    NoEntropy(#[from] NoEntropy),
}

impl KeyFileError {
    /// Whether it may be otherwise a while later, without a change by anybody.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::NotMade { cause, .. } => files::may_pass(cause),
            Self::Fault(fault) => fault.may_pass(),
            Self::NoEntropy(_) => true,
            Self::NotAKey { .. } | Self::Empty { .. } => false,
        }
    }
}

/// Reads the key file; makes one with mode 0600 where there is none.
pub fn open(path: &Path, entropy: Entropy) -> Result<Keyring, KeyFileError> {
    let keys = match read(path) {
        Err(KeyFileError::Fault(fault)) if fault.is_missing() => {
            let (place, _) = files::judge(path, Subject::KeyFile).map_err(|fault| match fault.into_io() {
                Ok(cause) => not_made(path, cause),
                Err(fault) => fault.into(),
            })?;
            make(&place, &entropy)?.map_err(|cause| not_made(path, cause))?;
            read(path)?
        }
        keys => keys?,
    };
    let shown = path.display().to_string();
    let keyring = Keyring::of(&keys, entropy).ok_or(KeyFileError::Empty { path: shown })?;
    let path = path.to_owned();
    Ok(keyring.read_again_by(Arc::new(move || read(&path).map_err(|error| error.to_string()))))
}

fn not_made(path: &Path, cause: io::Error) -> KeyFileError {
    let path = path.display().to_string();
    KeyFileError::NotMade { path, cause }
}

/// The keys in the file, the current one first.
pub fn read(path: &Path) -> Result<Vec<MasterKey>, KeyFileError> {
    let mut bytes = Zeroizing::new(Vec::new());
    files::read_into(
        files::open(path, Subject::KeyFile)?,
        path,
        Subject::KeyFile,
        &mut bytes,
    )?;
    let shown = path.display().to_string();
    let mut keys = Vec::new();
    for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let line = line.trim_ascii();
        if line.is_empty() {
            continue;
        }
        let text = std::str::from_utf8(line).ok();
        let key = text
            .and_then(MasterKey::parse)
            .ok_or_else(|| KeyFileError::NotAKey {
                path: shown.clone(),
                line: index + 1,
            })?;
        keys.push(key);
    }
    if keys.is_empty() {
        return Err(KeyFileError::Empty { path: shown });
    }
    Ok(keys)
}

/// Makes the key file. Another process may be doing the same: then its file is the one.
fn make(path: &Path, entropy: &Entropy) -> Result<io::Result<()>, NoEntropy> {
    let master = Zeroizing::new(entropy.array::<32>()?);
    let line = Zeroizing::new(format!("{}\n", HEXLOWER_PERMISSIVE.encode(&*master)));
    let unique = data_encoding::HEXLOWER.encode(&entropy.array::<8>()?);
    let temporary = path.with_extension(format!("{unique}.new"));
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    Ok((|| {
        let mut file = options.open(&temporary)?;
        let written = file.write_all(line.as_bytes()).and_then(|()| file.sync_all());
        if let Err(error) = written {
            let _ = std::fs::remove_file(&temporary);
            return Err(error);
        }
        // A link never replaces: of two processes that start at once, one wins, and both use its key.
        let linked = std::fs::hard_link(&temporary, path);
        std::fs::remove_file(&temporary)?;
        match linked {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            other => other,
        }
    })())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::{Clock, UnixMillis},
        model::{PhoneNumber, VerificationId},
    };

    #[test]
    fn the_key_file_is_made_once_for_its_owner_alone_and_then_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keys");
        let first = open(&path, Entropy::system()).unwrap();
        let second = open(&path, Entropy::system()).unwrap();
        assert_eq!(first.current_key_id(), second.current_key_id());
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(
                std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
                0o600
            );
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
            let error = open(&path, Entropy::system()).err().unwrap().to_string();
            assert!(
                error.contains("mode 0644") && error.contains("chmod 600"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_new_first_line_is_the_current_key_and_the_old_one_still_opens() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keys");
        let before = open(&path, Entropy::system()).unwrap();
        let number = PhoneNumber::parse("+13478379634", None).unwrap();
        let id = VerificationId::generate(&Clock::manual(UnixMillis(1)), &Entropy::system()).unwrap();
        let token = before.session_token(id, &number);
        let rotated = format!("{}\n{}", "ab".repeat(32), std::fs::read_to_string(&path).unwrap());
        std::fs::write(&path, rotated).unwrap();
        let after = open(&path, Entropy::system()).unwrap();
        assert_ne!(after.current_key_id(), before.current_key_id());
        assert_eq!(after.open_session_token(&token, &number), Some(id));
        std::fs::write(&path, "nonsense\n").unwrap();
        let error = open(&path, Entropy::system()).err().unwrap().to_string();
        assert!(
            error.starts_with("line 1 of the key file") && !error.contains("nonsense"),
            "{error}"
        );
    }
}
