//! The bundled library `twilio`: sends SMS through Twilio's Messages API.
//!
//! `twilio.TwilioBackend` is for production, `twilio.TwilioSandboxBackend` for tests and tutorials. Both read the
//! options `SID`, `SECRET`, `FROM` or `MESSAGING_SERVICE_SID`, and optionally `REDACT` and `BASE_URL`. The sandbox also
//! needs `SANDBOX_TOKEN`, which the other backend accepts and ignores, so that one table serves both.
#![forbid(unsafe_code)]

mod backend;
mod reply;
mod sandbox;
mod webhook;

pub use backend::{TwilioBackend, TwilioOptions};
pub use sandbox::{TwilioSandboxBackend, TwilioSandboxOptions};

phone_verify_plugin_api::export_backends!(TwilioBackend, TwilioSandboxBackend);
