//! `nexmo.NexmoSandboxBackend`: every security code is `SANDBOX_TOKEN`, so that a flow can be tried without a phone.
//!
//! Two things differ from the sandbox of django-phone-verify, both on purpose. It sends nothing to the real provider: a code
//! that everybody knows is not worth an SMS to somebody's phone; with `BASE_URL` (a proxy, a test) it does send, there. And its
//! token opens only a session that was registered, within the attempt limit: the host sees to that before it asks.

use phone_verify_plugin_api::{
    Backend, Call, Error, Host, LogLevel, Options, PhoneNumber, Receipt, SandboxToken, Secret, Verdict,
    backend,
};

use crate::{NexmoBackend, NexmoOptions};

/// Stands where `BASE_URL` is not given, so that the options are checked as ever: a name that no network resolves (RFC 2606).
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
    /// Where SMS are sent; without it none are.
    #[option(example = "http://127.0.0.1:8080")]
    pub base_url: Option<String>,
    /// The security code of every verification.
    #[option(example = "123456")]
    pub sandbox_token: SandboxToken,
}

/// Uses the same known code for everybody.
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
            base_url,
            sandbox_token: token,
        } = options;
        let sends = base_url.is_some();
        let options = NexmoOptions {
            key,
            secret,
            from,
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
