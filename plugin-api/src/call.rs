//! The context of one call: its deadline, its identifiers, and the host's default behaviour to fall back on. All of it
//! belongs to the one verification that the call is about.

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
        Some(self.raw.idempotency_key().into_string()).filter(|key| !key.is_empty())
    }

    /// The language that the caller asked for, as a BCP 47 tag.
    pub fn locale(&self) -> Option<String> {
        Some(self.raw.locale().into_string()).filter(|tag| !tag.is_empty())
    }

    /// The default behaviour of the methods, for an override that builds on it.
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
