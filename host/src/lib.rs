//! The phone-verify host: the daemon and its commands.
//!
//! What lives where, and who may call whom:
//!
//! ```text
//! main → cli → daemon → { http, dispatch, backends, verifier, store, settings }
//! http, cli → verifier → { store (trait), model, clock, entropy }
//! dispatch → { store (trait), model, clock }      cli → kit → { backends, model, clock, entropy }
//! store::sqlite → { store, model }      backends → model      model, own_process → nothing of ours
//! ```
#![deny(unsafe_code)]

pub mod backends;
pub mod cli;
pub mod clock;
pub mod daemon;
pub mod dispatch;
pub mod entropy;
#[cfg(test)]
mod fake_network;
#[cfg(test)]
mod fake_service;
pub mod files;
pub mod http;
pub mod kit;
pub mod metrics;
pub mod model;
pub mod own_process;
pub mod rules;
pub mod settings;
pub mod store;
pub mod telemetry;
pub mod verifier;
