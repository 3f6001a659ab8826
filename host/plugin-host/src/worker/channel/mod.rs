//! What host and worker are connected by, and how either end waits for the other: a pair of sockets on Unix, two pipes
//! with a thread for each on Windows, whose pipes cannot be waited for together.
//!
//! Invariant: on the host's side neither reading nor writing waits for the worker, only [`Channel::wait`] does, which
//! ends when somebody rings.

#[cfg(any(windows, test))]
#[cfg_attr(unix, allow(dead_code, reason = "its tests run on every system"))]
mod pipes;
#[cfg(unix)]
mod socket;

#[cfg(windows)]
pub(super) use self::pipes::{Channel, Inherited, Printed};
#[cfg(unix)]
pub(super) use self::socket::{Channel, Inherited, Printed};

/// What a wait ended for.
#[derive(Clone, Copy, Default)]
pub(super) struct Ready {
    /// There may be something to read, or the worker is gone; or it takes more.
    pub(super) channel: bool,
    /// It has printed something, or will print nothing any more.
    pub(super) printed: bool,
}
