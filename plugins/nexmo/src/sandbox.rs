//! `nexmo.NexmoSandboxBackend`: every security code is `SANDBOX_TOKEN`, so that a flow can be tried without a phone.
//!
//! It differs from the sandbox of django-phone-verify in two ways, both on purpose. It sends nothing to the real
//! provider, as an SMS with a known code is worthless; with `BASE_URL` (a proxy or a test) it sends to that address.
//! And its token is accepted only for a registered session within its attempt limit, which the host checks before it
//! asks the backend.

use phone_verify_plugin_api::{
    Backend, Call, Error, Host, LogLevel, Options, PhoneNumber, Receipt, SandboxToken, Secret, Verdict,
    backend,
};

use crate::{NexmoBackend, NexmoOptions};

/// Takes the place of a missing `BASE_URL`, so that the other options are checked as usual. No network resolves this
/// name (RFC 2606).
const NOWHERE: &str = "https://sandbox.invalid";

/// The `OPTIONS` of `nexmo.NexmoSandboxBackend`: those of `nexmo.NexmoBackend`, and the token.
#[derive(Options)]
pub struct NexmoSandboxOptions {
    /// The API key of the account; any text will do when nothing is sent.
    #[option(example = "a1b2c3d4")]
    pub key: Secret,
    /// The API secret of the account; any text will do when nothing is sent.
    pub secret: Secret,
    /// The sender: a number, or a name of up to 11 letters and digits.
    #[option(example = "+1232328372987")]
    pub from: String,
    /// Of `nexmo.NexmoBackend`; accepted, so that one table serves both.
    pub callback: Option<String>,
    /// Of `nexmo.NexmoBackend`; accepted, so that one table serves both.
    pub signature_secret: Option<Secret>,
    /// Of `nexmo.NexmoBackend`; accepted, so that one table serves both.
    #[option(default = "md5hash")]
    pub signature_method: String,
    /// Where SMS are sent; without it none are.
    #[option(example = "http://127.0.0.1:8080")]
    pub base_url: Option<String>,
    /// The security code of every verification.
    #[option(example = "123456")]
    pub sandbox_token: SandboxToken,
}

/// Uses the same security code for every verification.
pub struct NexmoSandboxBackend {
    token: SandboxToken,
    gateway: NexmoBackend,
    sends: bool,
    host: Host,
}

#[backend(
    summary = "Every security code is SANDBOX_TOKEN; sends to BASE_URL, or not at all",
    sandbox
)]
impl Backend for NexmoSandboxBackend {
    type Options = NexmoSandboxOptions;

    fn new(options: NexmoSandboxOptions, host: Host) -> Result<Self, Error> {
        let NexmoSandboxOptions {
            key,
            secret,
            from,
            callback,
            signature_secret,
            signature_method,
            base_url,
            sandbox_token: token,
        } = options;
        let sends = base_url.is_some();
        let options = NexmoOptions {
            key,
            secret,
            from,
            callback,
            signature_secret,
            signature_method,
            base_url: base_url.unwrap_or_else(|| NOWHERE.to_owned()),
        };
        Ok(Self {
            gateway: NexmoBackend::open(options, host.clone())?,
            sends,
            token,
            host,
        })
    }

    async fn send_sms(&self, number: &PhoneNumber, message: &str, _call: &Call) -> Result<Receipt, Error> {
        if self.sends {
            return self.gateway.send(number, message).await;
        }
        self.host.log(
            LogLevel::Info,
            "sandbox: no SMS was sent, BASE_URL names no gateway",
        );
        Ok(Receipt::without_id())
    }

    async fn generate_security_code(&self, _call: &Call) -> Result<String, Error> {
        Ok(self.token.security_code())
    }

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
