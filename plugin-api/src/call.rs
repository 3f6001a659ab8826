//! What travels with each call: its deadline, its names, and the base behaviour to fall back on. All of
//! it is bound to the one verification that the call is about.

use std::{fmt, time::Duration};

use phone_verify_plugin_abi::{CallObj, abi_stable::std_types::RStr};

use crate::{Error, ErrorKind, Host, Verdict};

/// One call of the host into the backend.
pub struct Call {
    raw: CallObj,
    host: Host,
}

impl Call {
    pub(crate) fn new(raw: CallObj, host: Host) -> Self {
        Self { raw, host }
    }

    /// How long until the host gives this call up.
    pub fn time_left(&self) -> Duration {
        let deadline = Duration::from_nanos(self.raw.deadline_monotonic_ns());
        deadline.saturating_sub(self.host.monotonic())
    }

    /// Names the request that this call is made for: in the host's log, and in the header `x-request-id` of what is asked through
    /// [`Host`](crate::Host), beside its trace in `traceparent`, unless a request sets them itself.
    pub fn request_id(&self) -> String {
        self.raw.request_id().into_string()
    }

    /// The same for every try of one message, for providers that drop duplicates.
    pub fn idempotency_key(&self) -> Option<String> {
        Some(self.raw.idempotency_key().into_string()).filter(|key| !key.is_empty())
    }

    /// The language that the caller asked for, a BCP 47 tag.
    pub fn locale(&self) -> Option<String> {
        Some(self.raw.locale().into_string()).filter(|tag| !tag.is_empty())
    }

    /// The base behaviour of the method that is being overridden.
    pub fn base(&self) -> Base<'_> {
        Base { call: self }
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("request_id", &self.request_id())
            .finish_non_exhaustive()
    }
}

/// The base behaviour, bound to the verification that the call is about.
pub struct Base<'a> {
    call: &'a Call,
}

impl Base<'_> {
    /// `TOKEN_LENGTH` characters of the settings' alphabet, by default digits, from the operating system's CSPRNG.
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

    /// The `MESSAGE` template, in the language of the call, with this code.
    pub fn generate_message(&self, security_code: &str) -> Result<String, Error> {
        let message = self
            .call
            .raw
            .base_message(RStr::from(security_code))
            .into_result();
        message.map(Into::into).map_err(Error::from_raw)
    }

    /// The host's own comparison. Takes no second attempt. Only inside
    /// [`crate::Backend::validate_security_code`]; elsewhere an error of kind [`ErrorKind::Unsupported`].
    pub async fn validate_security_code(&self, security_code: &str) -> Result<Verdict, Error> {
        let verdict = self.call.raw.base_validate(RStr::from(security_code));
        verdict
            .await
            .into_result()
            .map(Verdict::from_raw)
            .map_err(Error::from_raw)
    }
}
