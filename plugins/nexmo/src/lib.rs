//! The bundled library `nexmo`: sends SMS through the Nexmo (Vonage) SMS API.
//!
//! `nexmo.NexmoBackend` is for production, `nexmo.NexmoSandboxBackend` for tests and tutorials. Both read the options
//! `KEY`, `SECRET`, `FROM`, and optionally `BASE_URL` and those for delivery receipts. Only the sandbox uses
//! `SANDBOX_TOKEN`.
#![forbid(unsafe_code)]

mod backend;
mod reply;
mod sandbox;
mod webhook;

pub use backend::{NexmoBackend, NexmoOptions};
pub use sandbox::{NexmoSandboxBackend, NexmoSandboxOptions};

phone_verify_plugin_api::export_backends!(NexmoBackend, NexmoSandboxBackend);
