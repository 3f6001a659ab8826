//! What phone-verify speaks of, and how it decides.
//!
//! [`model`] has the words, as values that cannot be wrong; [`rules`] the decisions, as pure functions; [`store`] what
//! a storage engine must do, and the keys that it writes with; [`clock`] and [`entropy`] are how time and randomness
//! are passed in; [`trace`] is which request something is done for.
//!
//! Invariant: no I/O but the two system calls of [`clock`] and [`entropy`], no database, no HTTP, no runtime; nothing
//! is asynchronous but the trait of a store. This crate depends on no other of the workspace, so the compiler holds the
//! program to it.
#![forbid(unsafe_code)]

pub mod clock;
pub mod entropy;
pub mod model;
pub mod rules;
pub mod store;
pub mod trace;
