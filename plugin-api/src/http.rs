//! HTTP through the host's client, so that a library needs neither an async runtime nor TLS.

use std::{fmt, time::Duration};

use phone_verify_plugin_abi::{
    RawError, RawHttpRequest, RawHttpResponse,
    abi_stable::std_types::{RString, RVec, Tuple2},
    kind,
};
use serde::{Serialize, de::DeserializeOwned};

use crate::{Error, ErrorKind, Host};

/// Starts requests. Get one from [`Host::http`].
pub struct Http<'a> {
    host: &'a Host,
}

impl<'a> Http<'a> {
    pub(crate) fn new(host: &'a Host) -> Self {
        Self { host }
    }

    /// A GET request.
    pub fn get(&self, url: &str) -> Request<'a> {
        self.request("GET", url)
    }

    /// A POST request.
    pub fn post(&self, url: &str) -> Request<'a> {
        self.request("POST", url)
    }

    /// A request with any method.
    pub fn request(&self, method: &str, url: &str) -> Request<'a> {
        Request {
            host: self.host,
            raw: RawHttpRequest {
                method: RString::from(method),
                url: RString::from(url),
                headers: RVec::new(),
                body: RVec::new(),
                timeout_ms: 0,
                flags: 0,
                ext: RVec::new(),
            },
            fault: None,
        }
    }
}

/// A request under construction.
#[must_use = "a request does nothing until it is sent"]
pub struct Request<'a> {
    host: &'a Host,
    raw: RawHttpRequest,
    fault: Option<HttpError>,
}

impl Request<'_> {
    /// Adds a header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.raw
            .headers
            .push(Tuple2(RString::from(name), RString::from(value)));
        self
    }

    /// Adds `Authorization: Basic …`.
    pub fn basic_auth(self, user: &str, password: &str) -> Self {
        let pair = data_encoding::BASE64.encode(format!("{user}:{password}").as_bytes());
        self.header("authorization", &format!("Basic {pair}"))
    }

    /// Adds `Authorization: Bearer …`.
    pub fn bearer(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    /// Appends fields to the query of the URL, encoded.
    pub fn query(mut self, fields: &[(&str, &str)]) -> Self {
        let joint = if self.raw.url.contains('?') { '&' } else { '?' };
        let query = encoded(fields);
        self.raw.url.push(joint);
        self.raw.url.push_str(&query);
        self
    }

    /// Sets a form-encoded body.
    pub fn form(self, fields: &[(&str, &str)]) -> Self {
        self.header("content-type", "application/x-www-form-urlencoded")
            .body(encoded(fields))
    }

    /// Sets a JSON body. A value that cannot be serialised makes [`Request::send`] fail.
    pub fn json(mut self, value: &impl Serialize) -> Self {
        match serde_json::to_vec(value) {
            Ok(body) => self.header("content-type", "application/json").body(body),
            Err(error) => {
                self.fault = Some(HttpError {
                    kind: kind::INTERNAL,
                    code: "http_invalid_request".into(),
                    message: format!("the body cannot be written as JSON: {error}"),
                });
                self
            }
        }
    }

    /// Sets any body. Name its type with [`Request::header`].
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.raw.body = RVec::from(body.into());
        self
    }

    /// Limits the time of the whole exchange. The call's deadline applies in any case.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.raw.timeout_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX).max(1);
        self
    }

    /// Sends the request once, without retries.
    ///
    /// # Errors
    /// When no complete answer came. An answer is `Ok` whatever its status.
    pub async fn send(self) -> Result<Response, HttpError> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        let answer = self.host.raw().http(self.raw).await;
        answer.into_result().map(Response).map_err(HttpError::from)
    }
}

/// Fields in form encoding.
fn encoded(fields: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new())
        .extend_pairs(fields)
        .finish()
}

/// The provider's answer, whatever its status.
pub struct Response(RawHttpResponse);

impl Response {
    /// The HTTP status.
    pub fn status(&self) -> u16 {
        self.0.status
    }

    /// The first header of this name, compared without regard to case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.0
            .headers
            .iter()
            .find(|Tuple2(known, _)| known.eq_ignore_ascii_case(name))
            .map(|header| header.1.as_str())
    }

    /// The wait in the header `Retry-After`. That header is a number of seconds or a date (RFC 9110, section 10.2.3).
    /// The host converts a date to seconds; where one arrives all the same, it is compared with the answer's own
    /// `Date`.
    pub fn retry_after(&self) -> Option<Duration> {
        let text = self.header("retry-after")?.trim();
        if let Ok(seconds) = text.parse() {
            return Some(Duration::from_secs(seconds));
        }
        let until = httpdate::parse_http_date(text).ok()?;
        let sent_at = httpdate::parse_http_date(self.header("date")?).ok()?;
        Some(until.duration_since(sent_at).unwrap_or_default())
    }

    /// The body.
    pub fn body(&self) -> &[u8] {
        &self.0.body
    }

    /// Parses the body as JSON.
    ///
    /// # Errors
    /// The error fits a send: if the status was a success its kind is [`ErrorKind::OutcomeUnknown`], otherwise the kind
    /// for that status.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_slice(self.body()).map_err(|error| {
            let kind = Error::from_http_status("", self.status()).kind();
            Error::new(
                kind,
                "unreadable_answer",
                format!("the provider's answer is not what it should be: {error}"),
            )
            .with_http_status(self.status())
        })
    }
}

/// Shows the length of the body only, as the body may hold secrets.
impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response")
            .field("status", &self.status())
            .field("bytes", &self.body().len())
            .finish()
    }
}

/// The reason why there is no answer. It knows whether an SMS may have been sent, so `?` converts it to the right
/// [`Error`].
#[derive(Clone, Debug)]
pub struct HttpError {
    kind: u16,
    code: String,
    message: String,
}

impl HttpError {
    /// Whether the request certainly did not reach the provider, so that it can be sent again.
    pub fn nothing_was_sent(&self) -> bool {
        // Lists the kinds instead of excluding `OUTCOME_UNKNOWN`: a later host may use kinds that this crate does not
        // know.
        matches!(
            self.kind,
            kind::CONFIG | kind::TRANSIENT | kind::INTERNAL | kind::UNSUPPORTED
        )
    }

    /// The stable code: `http_connect`, `http_timeout`, `http_reset`, `http_denied`, …
    pub fn code(&self) -> &str {
        &self.code
    }
}

impl From<RawError> for HttpError {
    fn from(raw: RawError) -> Self {
        Self {
            kind: raw.kind,
            code: raw.code.into_string(),
            message: raw.message.into_string(),
        }
    }
}

impl From<HttpError> for Error {
    fn from(error: HttpError) -> Self {
        let kind = match error.kind {
            kind::CONFIG => ErrorKind::Config,
            kind::TRANSIENT => ErrorKind::Transient,
            kind::OUTCOME_UNKNOWN => ErrorKind::OutcomeUnknown,
            _ => ErrorKind::Internal,
        };
        Self::new(kind, error.code, error.message)
    }
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for HttpError {}
