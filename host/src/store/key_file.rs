//! The file of the server's keys: a line of 64 hexadecimal digits each, the current one first.
//!
//! Invariant: it is its owner's alone, and is made once, however many processes start at the same time.

use std::{
    fs::{File, OpenOptions},
    io::{Read, Write},
    path::Path,
};

use data_encoding::HEXLOWER_PERMISSIVE;
use zeroize::Zeroizing;

use super::{Keyring, MasterKey};
use crate::entropy::{Entropy, NoEntropy};

/// Why there is no keyring.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileError {
    /// The file cannot be read or made.
    #[error("the key file {path} cannot be {what}: {cause}")]
    Io {
        /// The file.
        path: String,
        /// "read" or "made".
        what: &'static str,
        /// The operating system's words.
        cause: std::io::Error,
    },
    /// Others could read the keys.
    #[error("the key file {path} has mode {mode:04o}, so others can read it; run: chmod 600 {path}")]
    TooOpen {
        /// The file.
        path: String,
        /// Its mode.
        mode: u32,
    },
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

/// Reads the key file; makes one with mode 0600 where there is none.
pub fn open(path: &Path, entropy: Entropy) -> Result<Keyring, KeyFileError> {
    let shown = path.display().to_string();
    let io = |what| {
        let path = shown.clone();
        move |cause| KeyFileError::Io { path, what, cause }
    };
    let file = match File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            make(path, &entropy)?.map_err(io("made"))?;
            File::open(path)
        }
        other => other,
    };
    let mut file = file.map_err(io("read"))?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let mode = file.metadata().map_err(io("read"))?.mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(KeyFileError::TooOpen { path: shown, mode });
        }
    }
    let mut text = Zeroizing::new(String::new());
    file.read_to_string(&mut text).map_err(io("read"))?;
    let mut keys = Vec::new();
    for (index, line) in text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
    {
        let key = MasterKey::parse(line.trim()).ok_or_else(|| KeyFileError::NotAKey {
            path: shown.clone(),
            line: index + 1,
        })?;
        keys.push(key);
    }
    Keyring::of(&keys, entropy).ok_or(KeyFileError::Empty { path: shown })
}

/// Makes the key file. Another process may be doing the same: then its file is the one.
fn make(path: &Path, entropy: &Entropy) -> Result<std::io::Result<()>, NoEntropy> {
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
        file.write_all(line.as_bytes())?;
        file.sync_all()?;
        // A link never replaces: of two processes that start at once, one wins, and both use its key.
        let linked = std::fs::hard_link(&temporary, path);
        std::fs::remove_file(&temporary)?;
        match linked {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
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
