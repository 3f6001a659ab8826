//! A worker's process: how it is started, and how it is seen to that it is gone.
//!
//! Invariant: it has nothing open but the socket and the pipe for what it prints, and one that is confined has no
//! environment; it is in a process group of its own, so that all of it can be ended; and what a service manager or a
//! terminal sends to all processes of the service is for the daemon alone: a worker ends with the daemon, after the
//! last call.

use std::{
    io,
    os::unix::process::CommandExt,
    process::{Child, ExitStatus, Stdio},
    thread,
    time::Duration,
};

use nix::sys::signal::{SigSet, Signal as Blocked};
use rustix::process::{Pid, Signal, kill_process_group};

use super::super::{
    COMMAND,
    channel::{Channel, Printed},
};
use crate::own_process::image::Program;

/// How long a process whose socket is closed may take to be gone.
const LAST_BREATH: Duration = Duration::from_millis(50);

/// A started process.
pub(in super::super) struct Process(Child);

impl Process {
    /// Starts it. Returns the channel to it, and what it prints.
    ///
    /// The calling thread must last as long as the process, which ends with it. What it blocks from now on is blocked
    /// in the process from its first instruction.
    pub(in super::super) fn start(
        program: &Program,
        is_confined: bool,
    ) -> io::Result<(Self, Channel, Printed)> {
        block_signals_to_all()?;
        let (channel, socket) = Channel::new()?;
        let (printed, output) = io::pipe()?;
        let mut command = program.command();
        command.arg0("phone-verify").arg(COMMAND);
        if is_confined {
            command
                .env_clear()
                // The allocator would reserve more addresses at once than the sandbox lets a process have.
                .env("MIMALLOC_ARENA_RESERVE", "0")
                .current_dir("/");
        }
        let child = command
            // A terminal's Ctrl-C is for the daemon, which drains.
            .process_group(0)
            .stdin(Stdio::from(socket))
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()?;
        Ok((Self(child), channel, Printed::new(printed)))
    }

    pub(in super::super) fn id(&self) -> u32 {
        self.0.id()
    }

    /// Nothing is taken from it here: it does so itself.
    #[allow(clippy::unused_self, reason = "elsewhere it has some")]
    pub(in super::super) fn lacking(&self) -> &[String] {
        &[]
    }

    /// How it ended, if it does within a moment by itself.
    pub(in super::super) fn last_breath(&mut self) -> Option<ExitStatus> {
        const STEP: Duration = Duration::from_micros(200);
        let mut waited = Duration::ZERO;
        loop {
            if let Ok(Some(status)) = self.0.try_wait() {
                return Some(status);
            }
            if waited >= LAST_BREATH {
                return None;
            }
            thread::sleep(STEP);
            waited += STEP;
        }
    }

    /// Ends it, and how it ended.
    pub(in super::super) fn kill(&mut self) -> Option<ExitStatus> {
        self.kill_group();
        let _ = self.0.kill();
        self.0.wait().ok()
    }

    /// Ends what it may have left behind.
    pub(in super::super) fn kill_group(&self) {
        let group = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw);
        if let Some(group) = group {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// What is sent to all processes of a service or of a terminal. Blocked and not ignored, because that is what a child
/// inherits without a moment in between.
fn block_signals_to_all() -> io::Result<()> {
    let to_all = [
        Blocked::SIGHUP,
        Blocked::SIGINT,
        Blocked::SIGQUIT,
        Blocked::SIGTERM,
        Blocked::SIGUSR1,
        Blocked::SIGUSR2,
        Blocked::SIGTSTP,
        Blocked::SIGTTIN,
        Blocked::SIGTTOU,
        Blocked::SIGWINCH,
    ];
    to_all.into_iter().collect::<SigSet>().thread_block()?;
    Ok(())
}
