//! `twilio.TwilioSandboxBackend`: every security code is `SANDBOX_TOKEN`, so that a flow can be tried without a phone.
//!
//! It differs from the sandbox of django-phone-verify in two ways, both on purpose. It sends nothing to the real
//! provider, as an SMS with a known code is worthless; with `BASE_URL` (a proxy or a test) it sends to that address.
//! And its token is accepted only for a registered session within its attempt limit, which the host checks before it
//! asks the backend.

use phone_verify_plugin_api::{
    Backend, Call, Error, Host, LogLevel, Options, PhoneNumber, Receipt, SandboxToken, Secret, Verdict,
    backend,
};

use crate::{TwilioBackend, TwilioOptions};

/// Takes the place of a missing `BASE_URL`, so that the other options are checked as usual. No network resolves this
/// name (RFC 2606).
const NOWHERE: &str = "https://sandbox.invalid";

/// The `OPTIONS` of `twilio.TwilioSandboxBackend`: those of `twilio.TwilioBackend`, and the token.
#[derive(Options)]
pub struct TwilioSandboxOptions {
    /// The SID of the account; any will do when nothing is sent.
    #[option(example = "AC0123456789abcdef0123456789abcdef")]
    pub sid: String,
    /// The auth token of the account; any text will do when nothing is sent.
    #[option(alias = "AUTH_TOKEN")]
    pub secret: Secret,
    /// The sender: a number or short code of the account, or a name.
    #[option(example = "+15005550006")]
    pub from: Option<String>,
    /// The messaging service that chooses the sender, instead of FROM.
    #[option(example = "MG0123456789abcdef0123456789abcdef")]
    pub messaging_service_sid: Option<String>,
    /// Of `twilio.TwilioBackend`; accepted, so that one table serves both.
    pub status_callback: Option<String>,
    /// Of `twilio.TwilioBackend`; accepted, so that one table serves both.
    #[option(default = false)]
    pub feedback: bool,
    /// Asks Twilio to keep neither the text nor the whole number.
    #[option(default = false)]
    pub redact: bool,
    /// Where SMS are sent; without it none are.
    #[option(example = "http://127.0.0.1:8080")]
    pub base_url: Option<String>,
    /// The security code of every verification.
    #[option(example = "123456")]
    pub sandbox_token: SandboxToken,
}

/// Uses the same security code for every verification.
pub struct TwilioSandboxBackend {
    token: SandboxToken,
    gateway: TwilioBackend,
    sends: bool,
    host: Host,
}

#[backend(
    summary = "Every security code is SANDBOX_TOKEN; sends to BASE_URL, or not at all",
    sandbox
)]
impl Backend for TwilioSandboxBackend {
    type Options = TwilioSandboxOptions;

    fn new(options: TwilioSandboxOptions, host: Host) -> Result<Self, Error> {
        let TwilioSandboxOptions {
            sid,
            secret,
            from,
            messaging_service_sid,
            status_callback,
            feedback,
            redact,
            base_url,
            sandbox_token: token,
        } = options;
        let sends = base_url.is_some();
        let options = TwilioOptions {
            sid,
            secret,
            from,
            messaging_service_sid,
            status_callback,
            feedback,
            redact,
            base_url: base_url.unwrap_or_else(|| NOWHERE.to_owned()),
        };
        Ok(Self {
            gateway: TwilioBackend::open(options, host.clone())?,
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
