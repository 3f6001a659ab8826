//! What is printed to the standard streams by code that is not ours, such as a library in this process, becomes lines
//! of the log.
//!
//! Invariant: who prints never waits for the reader of the log, and what is printed keeps to the log's format.

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

/// A longer line is cut into several.
const MAX_LINE_BYTES: usize = 2000;

/// Makes a printed line fit to be shown.
type Clean = fn(&str) -> String;

/// Whether lines are shown as they are printed.
static IS_SHOWN_AS_PRINTED: AtomicBool = AtomicBool::new(false);

/// The streams while they are read.
pub(super) struct Printed {
    /// Where they went before.
    stdout: OwnedFd,
    stderr: OwnedFd,
    ended: mpsc::Receiver<()>,
}

/// Whether all that is printed is for the eyes of whoever reads the log, secrets included: so it is with a backend for
/// development.
pub(super) fn show_as_printed(is_shown: bool) {
    IS_SHOWN_AS_PRINTED.store(is_shown, Ordering::Relaxed);
}

impl Printed {
    /// Leads both streams into the log.
    pub(super) fn follow(style: Style, clean: Clean) -> io::Result<Self> {
        let stdout = stdout().as_fd().try_clone_to_owned()?;
        let stderr = stderr().as_fd().try_clone_to_owned()?;
        let (reader, writer) = pipe()?;
        let (end, ended) = mpsc::channel();
        thread::Builder::new().name("printed".to_owned()).spawn(move || {
            read(reader, style, clean);
            let _ = end.send(());
        })?;
        lead_to(&writer)?;
        Ok(Self {
            stdout,
            stderr,
            ended,
        })
    }

    /// Where the standard output went.
    pub(super) fn stdout(&self) -> io::Result<OwnedFd> {
        self.stdout.try_clone()
    }

    /// Leads them back to where they went, once all that was printed is in the log; waits at most for `limit`.
    pub(super) fn end(self, limit: Duration) {
        let _ = rustix::stdio::dup2_stdout(&self.stdout);
        let _ = rustix::stdio::dup2_stderr(&self.stderr);
        let _ = self.ended.recv_timeout(limit);
    }
}

fn lead_to(writer: &PipeWriter) -> io::Result<()> {
    rustix::stdio::dup2_stdout(writer)?;
    rustix::stdio::dup2_stderr(writer)?;
    Ok(())
}

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
    LOG.push_after_others(&line);
}
