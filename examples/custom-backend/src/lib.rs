//! A backend of your own. The library has two: `acme.AcmeBackend` sends through the HTTP API of a provider, and
//! `acme.AcmeSandboxBackend` does the same with a fixed security code for tests.
#![forbid(unsafe_code)]

mod backend;
mod sandbox;
#[cfg(test)]
mod tests;

use phone_verify_plugin_api::export_backends;

use backend::AcmeBackend;
use sandbox::AcmeSandboxBackend;

export_backends!(AcmeBackend, AcmeSandboxBackend);
