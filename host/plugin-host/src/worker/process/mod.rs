//! A worker's process: how it is started, and how it is seen to that it is gone.
//!
//! Invariant: it ends with this process, whatever ends that; and it is left nothing but the channel and the pipe for
//! what it prints.

#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

#[cfg(unix)]
pub(super) use self::unix::Process;
#[cfg(windows)]
pub(super) use self::windows::{Process, inherited};
