//! The bundled `nexmo` library: sends through the Nexmo (Vonage) SMS API.
//!
//! `nexmo.NexmoBackend` is for real use, `nexmo.NexmoSandboxBackend` for tests and tutorials. Both read the same `OPTIONS`:
//! `KEY`, `SECRET`, `FROM`, and where wanted `BASE_URL`; `SANDBOX_TOKEN` means something to the sandbox only.
#![forbid(unsafe_code)]

mod backend;
mod gsm;
mod reply;
mod sandbox;

pub use backend::{NexmoBackend, NexmoOptions};
pub use sandbox::{NexmoSandboxBackend, NexmoSandboxOptions};

phone_verify_plugin_api::export_backends!(NexmoBackend, NexmoSandboxBackend);
