//! What this process is made of, and what it needs from the system whatever its parent left it.
//!
//! Invariant: nothing here depends on any other module; `main` calls it before anything else runs.

pub mod image;
pub mod results;
pub mod start;
#[cfg(windows)]
pub mod windows;
