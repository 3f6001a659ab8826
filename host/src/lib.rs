//! The phone-verify host.
#![forbid(unsafe_code)]
pub mod backends;
pub mod clock;
pub mod dispatch;
pub mod entropy;
pub mod model;
pub mod settings;
pub mod store;
pub mod verifier;
