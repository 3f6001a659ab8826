//! The bundled `twilio` library: sends through Twilio's Messages API.
//!
//! `twilio.TwilioBackend` is for real use, `twilio.TwilioSandboxBackend` for tests and tutorials. Both read the same `OPTIONS`:
//! `SID`, `SECRET`, `FROM` or `MESSAGING_SERVICE_SID`, and where wanted `REDACT` and `BASE_URL`; the sandbox also
//! needs `SANDBOX_TOKEN`, which the other leaves alone.
#![forbid(unsafe_code)]

mod backend;
mod reply;
mod sandbox;

pub use backend::{TwilioBackend, TwilioOptions};
pub use sandbox::{TwilioSandboxBackend, TwilioSandboxOptions};

phone_verify_plugin_api::export_backends!(TwilioBackend, TwilioSandboxBackend);
