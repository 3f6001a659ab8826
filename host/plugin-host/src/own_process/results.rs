//! Where the result of a command goes, and nothing else.
//!
//! A library that runs in this process may print; so may whatever it brings along. A script that reads `--json` must
//! get the result alone. So before any foreign code runs, the standard output is put aside for the result, and what
//! others print there goes to the standard error.
//!
//! Invariant: only [`write()`] reaches what was the standard output.

use std::{
    fs::File,
    io::{self, Write},
    sync::OnceLock,
};

static RESULTS: OnceLock<File> = OnceLock::new();

/// Puts the standard output aside. Where that fails, results and what else is printed share it as before.
#[cfg(unix)]
pub fn put_aside() {
    use std::os::fd::AsFd;

    // Not one of the three, whatever is closed.
    let Ok(results) = rustix::io::fcntl_dupfd_cloexec(io::stdout().as_fd(), 3) else {
        return;
    };
    if rustix::stdio::dup2_stdout(io::stderr().as_fd()).is_ok() {
        let _ = RESULTS.set(results.into());
    }
}

/// Libraries run in this process here, too, but their standard output cannot be told from ours.
#[cfg(not(unix))]
pub fn put_aside() {}

/// Writes a result.
///
/// # Errors
/// When it cannot be written, as to a full disk, or nobody reads it any more.
pub fn write(text: &str) -> io::Result<()> {
    if let Some(mut results) = RESULTS.get() {
        return results.write_all(text.as_bytes());
    }
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}
