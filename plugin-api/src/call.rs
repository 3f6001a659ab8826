//! The context of one call: its deadline, its identifiers, and the host's default behaviour to fall back on. All of it
//! belongs to the one verification that the call is about.

use std::{fmt, time::Duration};

use phone_verify_plugin_abi::{
    CallObj,
    abi_stable::std_types::{RStr, RString},
};

use crate::{Context, Error, ErrorKind, Host, Secret, Verdict};

/// One call of the host into the backend.
pub struct Call {
    raw: CallObj,
    host: Host,
}

impl Call {
    pub(crate) fn new(raw: CallObj, host: Host) -> Self {
        Self { raw, host }
    }

    /// The time until the host cancels this call.
    pub fn time_left(&self) -> Duration {
        let deadline = Duration::from_nanos(self.raw.deadline_monotonic_ns());
        deadline.saturating_sub(self.host.monotonic())
    }

    /// The id of the HTTP request to the host that caused this call. The host's log has it, and the host sends it to
    /// the provider in the header `x-request-id`, together with the trace in `traceparent`, unless a request sets these
    /// headers itself.
    pub fn request_id(&self) -> String {
        self.raw.request_id().into_string()
    }

    /// A key that is the same for every attempt to send one message. Providers use it to drop duplicates.
    pub fn idempotency_key(&self) -> Option<String> {
        text(self.raw.idempotency_key())
    }

    /// The language that the caller asked for, as a BCP 47 tag.
    pub fn locale(&self) -> Option<String> {
        text(self.raw.locale())
    }

    /// The country of the number by ISO 3166, such as `DE`. `None`: it is not known, or the call is about no number. This
    /// and what follows are since ABI 1.1; an older host gives `None`.
    pub fn region(&self) -> Option<String> {
        text(self.raw.region())
    }

    /// How the message goes: `sms`, `voice`, `whatsapp`, …
    pub fn channel(&self) -> Option<String> {
        text(self.raw.channel())
    }

    /// What it is for: `verification`, or `message` for a text without a code.
    pub fn purpose(&self) -> Option<String> {
        text(self.raw.purpose())
    }

    /// The name of the template that the message is made of, as the settings have it.
    pub fn template(&self) -> Option<String> {
        text(self.raw.template())
    }

    /// What the template is filled in with.
    pub fn params(&self) -> Context {
        Context::from_json(&self.raw.params_json())
    }

    /// The security code in the message. Only for a backend with `wants_code`, whose provider fills in a template.
    pub fn security_code(&self) -> Option<Secret> {
        text(self.raw.security_code()).map(Secret::new)
    }

    /// The provider's id of the message that began the verification, for a backend with `owns_code`.
    pub fn message_id(&self) -> Option<String> {
        text(self.raw.message_id())
    }

    /// The default behaviour of the methods, for an override that builds on it.
    pub fn base(&self) -> Base<'_> {
        Base { call: self }
    }
}

fn text(raw: RString) -> Option<String> {
    Some(raw.into_string()).filter(|text| !text.is_empty())
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("request_id", &self.request_id())
            .finish_non_exhaustive()
    }
}

/// The host's default behaviour, bound to the verification that the call is about.
pub struct Base<'a> {
    call: &'a Call,
}

impl Base<'_> {
    /// Generates `TOKEN_LENGTH` characters of the alphabet in the settings (digits, unless set otherwise) with the
    /// operating system's CSPRNG.
    pub fn generate_security_code(&self) -> Result<String, Error> {
        let code = self.call.raw.base_security_code().into_string();
        if code.is_empty() {
            return Err(Error::new(
                ErrorKind::Internal,
                "no_entropy",
                "the host could not make a code",
            ));
        }
        Ok(code)
    }

    /// Fills this code into the `MESSAGE` template in the language of the call.
    pub fn generate_message(&self, security_code: &str) -> Result<String, Error> {
        let message = self
            .call
            .raw
            .base_message(RStr::from(security_code))
            .into_result();
        message.map(Into::into).map_err(Error::from_raw)
    }

    /// Compares with the code that was sent, as the host would. It does not count a second attempt. Available only
    /// inside [`crate::Backend::validate_security_code`]; elsewhere it returns an error of kind
    /// [`ErrorKind::Unsupported`].
    pub async fn validate_security_code(&self, security_code: &str) -> Result<Verdict, Error> {
        let verdict = self.call.raw.base_validate(RStr::from(security_code));
        verdict
            .await
            .into_result()
            .map(Verdict::from_raw)
            .map_err(Error::from_raw)
    }
}
