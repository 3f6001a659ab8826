//! What phone-verify speaks of, and how it decides.
//!
//! [`model`] has the words, as values that cannot be wrong; [`rules`] the decisions, as pure functions; [`clock`] and
//! [`entropy`] are how time and randomness are passed in; [`trace`] is which request something is done for.
//!
//! Invariant: no I/O but the two system calls of [`clock`] and [`entropy`], no database, no HTTP, no runtime. This
//! crate depends on no other of the workspace, so the compiler holds the program to it.
#![forbid(unsafe_code)]

pub mod clock;
pub mod entropy;
pub mod model;
pub mod rules;
pub mod trace;
