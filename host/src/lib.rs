//! The phone-verify host: the daemon and its commands.
//!
//! What lives where, and who may call whom:
//!
//! ```text
//! main → cli → daemon → { http, dispatch, backends, verifier, store, settings }
//! http, cli → verifier → store (trait)      dispatch → store (trait)      cli → kit → backends
//! store::sqlite → store      own_process → nothing of ours      all → phone-verify-domain, which is a crate of its own
//! ```
#![deny(unsafe_code)]

pub mod backends;
pub mod cli;
pub mod daemon;
pub mod dispatch;
#[cfg(test)]
mod fake_network;
#[cfg(test)]
mod fake_service;
pub mod files;
pub mod http;
pub mod kit;
pub mod metrics;
pub mod own_process;
pub mod settings;
pub mod store;
pub mod telemetry;
pub mod verifier;

pub use phone_verify_domain::{clock, entropy, model, rules};
