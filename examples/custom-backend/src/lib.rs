//! A backend of your own, in two parts: `acme.AcmeBackend` sends through the HTTP API of a provider,
//! `acme.AcmeSandboxBackend` does the same with a security code that tests know.
#![forbid(unsafe_code)]

mod backend;
mod sandbox;
#[cfg(test)]
mod tests;

use phone_verify_plugin_api::export_backends;

use backend::AcmeBackend;
use sandbox::AcmeSandboxBackend;

export_backends!(AcmeBackend, AcmeSandboxBackend);
