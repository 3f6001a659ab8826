//! Turns what a library in this process prints to standard output or standard error into lines of the log. Both streams
//! become one pipe, which a thread reads.
//!
//! Invariants: a library that prints never waits for the reader of the log, and its output cannot break the format of
//! the log, such as JSON.

use std::{
    io::{self, PipeReader, PipeWriter, Read, pipe, stderr, stdout},
    os::fd::{AsFd, OwnedFd},
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use super::{LOG, line::Style};

/// The longest line in bytes. A longer one is split, so that a library which never ends a line cannot fill the memory.
const MAX_LINE_BYTES: usize = 2000;

/// Masks a printed line, such as phone numbers in it, before it is logged.
type Clean = fn(&str) -> String;

/// Whether lines are logged without masking.
static IS_SHOWN_AS_PRINTED: AtomicBool = AtomicBool::new(false);

/// The redirected streams, which [`Printed::end`] gives back.
pub(super) struct Printed {
    /// Where the streams led before.
    stdout: OwnedFd,
    stderr: OwnedFd,
    /// Gets a message when the reading thread has ended.
    ended: mpsc::Receiver<()>,
}

/// Sets whether lines are logged without masking, secrets included. Only for a development backend, whose purpose is to
/// show codes to the developer.
pub(super) fn show_as_printed(is_shown: bool) {
    IS_SHOWN_AS_PRINTED.store(is_shown, Ordering::Relaxed);
}

impl Printed {
    /// Redirects both streams into the log.
    pub(super) fn follow(style: Style, clean: Clean) -> io::Result<Self> {
        let stdout = stdout().as_fd().try_clone_to_owned()?;
        let stderr = stderr().as_fd().try_clone_to_owned()?;
        let (reader, writer) = pipe()?;
        let (end, ended) = mpsc::channel();
        thread::Builder::new().name("printed".to_owned()).spawn(move || {
            read(reader, style, clean);
            let _ = end.send(());
        })?;
        // The last step, so that an error before it leaves the streams as they were.
        lead_to(&writer)?;
        Ok(Self {
            stdout,
            stderr,
            ended,
        })
    }

    /// The stream that was standard output before the redirection.
    pub(super) fn stdout(&self) -> io::Result<OwnedFd> {
        self.stdout.try_clone()
    }

    /// Gives both streams back, and waits until everything that was printed is in the log, at most for `limit`.
    pub(super) fn end(self, limit: Duration) {
        let _ = rustix::stdio::dup2_stdout(&self.stdout);
        let _ = rustix::stdio::dup2_stderr(&self.stderr);
        let _ = self.ended.recv_timeout(limit);
    }
}

/// Points both streams at the pipe.
fn lead_to(writer: &PipeWriter) -> io::Result<()> {
    rustix::stdio::dup2_stdout(writer)?;
    rustix::stdio::dup2_stderr(writer)?;
    Ok(())
}

/// Reads lines until the last writer of the pipe is gone.
fn read(mut from: PipeReader, style: Style, clean: Clean) {
    let mut line = Vec::new();
    let mut bytes = [0; 8 * 1024];
    loop {
        let read = match from.read(&mut bytes) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        for byte in &bytes[..read] {
            if *byte != b'\n' {
                line.push(*byte);
            }
            if *byte == b'\n' || line.len() >= MAX_LINE_BYTES {
                write(&line, style, clean);
                line.clear();
            }
        }
    }
    write(&line, style, clean);
}

fn write(line: &[u8], style: Style, clean: Clean) {
    let text = String::from_utf8_lossy(line);
    let text = text.trim_end();
    if text.is_empty() {
        return;
    }
    let line = if IS_SHOWN_AS_PRINTED.load(Ordering::Relaxed) {
        style.printed(text)
    } else {
        style.printed(&clean(text))
    };
    // The program's own lines come first: a library that prints much must not displace them.
    LOG.push_after_others(&line);
}
