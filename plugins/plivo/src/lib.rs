//! The bundled library `plivo`: sends SMS through Plivo's Messages API, and takes its signed delivery reports.
#![forbid(unsafe_code)]

mod backend;
mod reply;
mod signature;
mod webhook;

#[cfg(test)]
mod tests;

pub use backend::{PlivoBackend, PlivoOptions};

phone_verify_plugin_api::export_backends!(PlivoBackend);
