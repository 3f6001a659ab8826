//! The provider's answers in a test, and its failures to answer.

use std::time::Duration;

use phone_verify_plugin_abi::{
    RawError, RawHttpResponse,
    abi_stable::std_types::{RString, RVec, Tuple2},
    http_error, kind,
};
use serde::Serialize;

/// One answer of the provider, or one way in which no answer comes.
#[derive(Clone)]
pub struct Answer(Result<RawHttpResponse, RawError>);

impl Answer {
    /// An answer with this HTTP status and no body.
    pub fn new(status: u16) -> Self {
        Self(Ok(RawHttpResponse {
            status,
            headers: RVec::new(),
            body: RVec::new(),
            flags: 0,
            ext: RVec::new(),
        }))
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        if let Ok(response) = &mut self.0 {
            response
                .headers
                .push(Tuple2(RString::from(name), RString::from(value)));
        }
        self
    }

    /// Adds a body, of any type.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        if let Ok(response) = &mut self.0 {
            response.body = RVec::from(body.into());
        }
        self
    }

    /// Adds a JSON body.
    ///
    /// # Panics
    /// When the value cannot be serialised as JSON, such as a map whose keys are not strings.
    #[must_use]
    pub fn json(self, value: &impl Serialize) -> Self {
        let body = serde_json::to_vec(value).expect("a value that JSON can hold");
        self.header("content-type", "application/json").body(body)
    }

    /// Adds `Retry-After`, in whole seconds.
    #[must_use]
    pub fn retry_after(self, wait: Duration) -> Self {
        self.header("retry-after", &wait.as_secs().to_string())
    }

    /// No connection to the provider: nothing was sent.
    pub fn no_connection() -> Self {
        Self::fault(kind::TRANSIENT, http_error::CONNECT, "no connection")
    }

    /// The provider did not answer in time. It may have accepted the request.
    pub fn no_answer_in_time() -> Self {
        Self::fault(kind::OUTCOME_UNKNOWN, http_error::TIMEOUT, "no answer in time")
    }

    /// The connection broke before the answer was complete. The provider may have accepted the request.
    pub fn connection_reset() -> Self {
        Self::fault(
            kind::OUTCOME_UNKNOWN,
            http_error::RESET,
            "the connection broke off before the answer was whole",
        )
    }

    /// The answer exceeds the host's bound of 1 MiB.
    pub fn too_large() -> Self {
        Self::fault(
            kind::OUTCOME_UNKNOWN,
            http_error::TOO_LARGE,
            "the answer has more than 1048576 bytes",
        )
    }

    /// The result of a request for which the test has queued no answer.
    pub(super) fn none_left() -> Self {
        Self::fault(
            kind::CONFIG,
            http_error::DENIED,
            "the test has no answer for this request; give one with TestHost::answer",
        )
    }

    fn fault(kind: u16, code: &str, message: &str) -> Self {
        Self(Err(RawError {
            kind,
            http_status: 0,
            retry_after_ms: 0,
            code: RString::from(code),
            message: RString::from(message),
            flags: 0,
            ext: RVec::new(),
        }))
    }

    pub(super) fn into_raw(self) -> Result<RawHttpResponse, RawError> {
        self.0
    }
}
