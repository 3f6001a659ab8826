//! The harness of the end-to-end tests: stand-ins for what phone-verify talks to.

pub mod client;
pub mod gateways;
pub mod service;
