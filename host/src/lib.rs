//! The phone-verify host: the daemon and its commands.
//!
//! What lives where, and who may call whom:
//!
//! ```text
//! main → cli → daemon → { http, dispatch, fleet, verifier, store, settings } → phone-verify-domain
//! http, cli → verifier → store (trait)      dispatch → { fleet, store (trait) }
//! daemon, cli → store → phone-verify-store-sqlite
//! cli, daemon, fleet, kit → phone-verify-plugin-host, which loads libraries and calls them
//! fleet → the trait CodeAuthority of verifier
//! ```
#![forbid(unsafe_code)]

pub mod cli;
pub mod daemon;
pub mod dispatch;
pub mod events;
#[cfg(test)]
mod fake_network;
#[cfg(test)]
mod fake_service;
pub mod fleet;
pub mod http;
pub mod kit;
pub mod metrics;
pub mod settings;
pub mod store;
pub mod telemetry;
pub mod verifier;

pub use phone_verify_domain::{clock, entropy, model, rules, trace};
