//! The same provider, but with a fixed security code for tests.

use phone_verify_plugin_api::{
    Backend, Call, Error, ErrorKind, Host, PhoneNumber, Receipt, SandboxToken, Verdict, backend,
};

use crate::backend::{AcmeBackend, AcmeOptions};

/// Sends through Acme; every security code is `SANDBOX_TOKEN`.
pub struct AcmeSandboxBackend {
    inner: AcmeBackend,
    token: SandboxToken,
}

#[backend(summary = "Acme with a fixed security code, for tests", hosts = ["api.acme.example"], sandbox)]
impl Backend for AcmeSandboxBackend {
    type Options = AcmeOptions;

    fn new(options: AcmeOptions, host: Host) -> Result<Self, Error> {
        let missing = || Error::new(ErrorKind::Config, "options", "option SANDBOX_TOKEN is missing");
        let token = options.sandbox_token().ok_or_else(missing)?.clone();
        Ok(Self {
            inner: AcmeBackend::new(options, host)?,
            token,
        })
    }

    async fn send_sms(&self, number: &PhoneNumber, message: &str, call: &Call) -> Result<Receipt, Error> {
        self.inner.send_sms(number, message, call).await
    }

    async fn generate_security_code(&self, _call: &Call) -> Result<String, Error> {
        Ok(self.token.security_code())
    }

    /// Accepts `SANDBOX_TOKEN`. Before this call the host has found the session and counted the attempt; afterwards it
    /// enforces single use. So a known token does not bypass these.
    async fn validate_security_code(
        &self,
        security_code: &str,
        _phone_number: &PhoneNumber,
        _session_token: &str,
        call: &Call,
    ) -> Result<Verdict, Error> {
        self.token.validate(security_code, call).await
    }
}
