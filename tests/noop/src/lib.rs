//! Backends that send nothing, to measure what is left: the cost of the host.
#![forbid(unsafe_code)]

use phone_verify_plugin_api::{Backend, Call, Error, Host, PhoneNumber, Receipt, backend, export_backends};

/// Takes every SMS at once.
pub struct NoopBackend;

#[backend(summary = "Takes every SMS at once and sends nothing", sandbox)]
impl Backend for NoopBackend {
    type Options = ();

    fn new((): (), _host: Host) -> Result<Self, Error> {
        Ok(Self)
    }

    async fn send_sms(&self, _number: &PhoneNumber, _message: &str, _call: &Call) -> Result<Receipt, Error> {
        Ok(Receipt::without_id())
    }
}

/// The same with a known code, so that a load test can verify what it registered.
pub struct FixedCodeBackend;

#[backend(summary = "Sends nothing; every security code is 123456", sandbox)]
impl Backend for FixedCodeBackend {
    type Options = ();

    fn new((): (), _host: Host) -> Result<Self, Error> {
        Ok(Self)
    }

    async fn send_sms(&self, _number: &PhoneNumber, _message: &str, _call: &Call) -> Result<Receipt, Error> {
        Ok(Receipt::without_id())
    }

    async fn generate_security_code(&self, _call: &Call) -> Result<String, Error> {
        Ok("123456".to_owned())
    }
}

/// The same with a code of lower-case letters, in two groups.
pub struct LowerCaseCodeBackend;

#[backend(summary = "Sends nothing; every security code is kx7-trm", sandbox)]
impl Backend for LowerCaseCodeBackend {
    type Options = ();

    fn new((): (), _host: Host) -> Result<Self, Error> {
        Ok(Self)
    }

    async fn send_sms(&self, _number: &PhoneNumber, _message: &str, _call: &Call) -> Result<Receipt, Error> {
        Ok(Receipt::without_id())
    }

    async fn generate_security_code(&self, _call: &Call) -> Result<String, Error> {
        Ok("kx7-trm".to_owned())
    }
}

export_backends!(NoopBackend, FixedCodeBackend, LowerCaseCodeBackend);
