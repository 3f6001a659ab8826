//! Requests of a provider that come in for a backend, and what it makes of them: delivery reports.

use std::{
    fmt,
    time::{SystemTime, UNIX_EPOCH},
};

use phone_verify_plugin_abi::{
    RawHttpRequest, RawHttpResponse, RawReceived, RawReport,
    abi_stable::std_types::{RString, RVec, Tuple2},
    delivery,
};
use serde::de::DeserializeOwned;

use crate::{ErrorKind, Money};

/// A request of the provider. Anybody on the Internet can send one: check its signature before anything in it counts.
pub struct Webhook(pub(crate) RawHttpRequest);

impl Webhook {
    /// The method, such as `POST`.
    pub fn method(&self) -> &str {
        &self.0.method
    }

    /// The whole URL with its query, as the provider sees it (the host knows its public address): signatures are over
    /// it.
    pub fn url(&self) -> &str {
        &self.0.url
    }

    /// The first header of this name, compared without regard to case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.0.headers.iter();
        let header = headers.find(|Tuple2(known, _)| known.eq_ignore_ascii_case(name))?;
        Some(header.1.as_str())
    }

    /// The body, at most 64 KiB.
    pub fn body(&self) -> &[u8] {
        &self.0.body
    }

    /// The fields of the URL's query, decoded, in their order.
    pub fn query(&self) -> Vec<(String, String)> {
        let query = self.0.url.split_once('?').map_or("", |(_, query)| query);
        decoded(query.split('#').next().unwrap_or_default().as_bytes())
    }

    /// The fields of a form-encoded body, decoded, in their order.
    pub fn form(&self) -> Vec<(String, String)> {
        decoded(self.body())
    }

    /// The body as JSON. `None`: it is not that.
    pub fn json<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_slice(self.body()).ok()
    }

    /// Whether the header `Content-Type` names this type, such as `application/json`.
    pub fn is_of_type(&self, media_type: &str) -> bool {
        let named = self.header("content-type").unwrap_or_default();
        let named = named.split(';').next().unwrap_or_default().trim();
        named.eq_ignore_ascii_case(media_type)
    }
}

fn decoded(fields: &[u8]) -> Vec<(String, String)> {
    form_urlencoded::parse(fields).into_owned().collect()
}

/// Shows the method only: URL, headers and body may hold numbers and secrets.
impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook")
            .field("method", &self.method())
            .finish_non_exhaustive()
    }
}

/// What a backend makes of a [`Webhook`]: the answer to the provider, and what the request reports.
#[derive(Clone, Debug)]
pub struct Received {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    reports: Vec<DeliveryReport>,
}

impl Received {
    /// An answer with this status, 200 to 599. Providers repeat a request that is not answered with 2xx: answer so
    /// also where a request reports nothing of interest.
    pub fn new(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Vec::new(),
            reports: Vec::new(),
        }
    }

    /// 200, with these reports: at most 100.
    pub fn reports(reports: impl IntoIterator<Item = DeliveryReport>) -> Self {
        Self {
            reports: reports.into_iter().collect(),
            ..Self::new(200)
        }
    }

    /// 403, for a request without the right signature.
    pub fn forbidden() -> Self {
        Self::new(403)
    }

    /// Adds a header to the answer.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets the body of the answer, at most 64 KiB.
    #[must_use]
    pub fn with_body(self, body: impl Into<Vec<u8>>) -> Self {
        Self {
            body: body.into(),
            ..self
        }
    }

    /// The status of the answer.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The body of the answer.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// What the request reports.
    pub fn delivery_reports(&self) -> &[DeliveryReport] {
        &self.reports
    }

    pub(crate) fn into_raw(self) -> RawReceived {
        let headers = self.headers.into_iter();
        RawReceived {
            answer: RawHttpResponse {
                status: self.status,
                headers: headers
                    .map(|(name, value)| Tuple2(RString::from(name), RString::from(value)))
                    .collect(),
                body: RVec::from(self.body),
                flags: 0,
                ext: RVec::new(),
            },
            reports: self.reports.into_iter().map(DeliveryReport::into_raw).collect(),
            flags: 0,
            ext: RVec::new(),
        }
    }
}

/// The state that a provider reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DeliveryState {
    /// On its way: the provider or the carrier has it.
    Sent,
    /// It arrived.
    Delivered,
    /// It did not arrive, and will not.
    Undelivered,
    /// The provider does not know, and will not say more.
    Unknown,
}

/// What a provider reports about one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryReport {
    message_id: String,
    state: DeliveryState,
    kind: Option<ErrorKind>,
    code: String,
    at: Option<SystemTime>,
    segments: Option<u32>,
    cost: Option<Money>,
}

impl DeliveryReport {
    /// About the message with this id, which [`crate::Receipt::new`] was given when it was sent.
    pub fn new(message_id: impl Into<String>, state: DeliveryState) -> Self {
        Self {
            message_id: message_id.into(),
            state,
            kind: None,
            code: String::new(),
            at: None,
            segments: None,
            cost: None,
        }
    }

    /// Says why it was not delivered.
    #[must_use]
    pub fn with_kind(self, kind: ErrorKind) -> Self {
        Self {
            kind: Some(kind),
            ..self
        }
    }

    /// Adds the provider's code.
    #[must_use]
    pub fn with_code(self, code: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            ..self
        }
    }

    /// Adds when it happened, by the provider's clock.
    #[must_use]
    pub fn at(self, time: SystemTime) -> Self {
        Self {
            at: Some(time),
            ..self
        }
    }

    /// Adds in how many segments it was sent.
    #[must_use]
    pub fn with_segments(self, segments: u32) -> Self {
        Self {
            segments: Some(segments),
            ..self
        }
    }

    /// Adds what it really costs.
    #[must_use]
    pub fn with_cost(self, cost: Money) -> Self {
        Self {
            cost: Some(cost),
            ..self
        }
    }

    /// The provider's id of the message.
    pub fn message_id(&self) -> &str {
        &self.message_id
    }

    /// What became of it.
    pub fn state(&self) -> DeliveryState {
        self.state
    }

    /// Why it was not delivered.
    pub fn kind(&self) -> Option<ErrorKind> {
        self.kind
    }

    /// The provider's code. Empty: none.
    pub fn code(&self) -> &str {
        &self.code
    }

    /// When it happened.
    pub fn time(&self) -> Option<SystemTime> {
        self.at
    }

    /// In how many segments it was sent.
    pub fn segments(&self) -> Option<u32> {
        self.segments
    }

    /// What it really costs.
    pub fn cost(&self) -> Option<&Money> {
        self.cost.as_ref()
    }

    fn into_raw(self) -> RawReport {
        let since = self.at.and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        let cost = self.cost.as_ref();
        RawReport {
            message_id: RString::from(self.message_id),
            state: match self.state {
                DeliveryState::Sent => delivery::SENT,
                DeliveryState::Delivered => delivery::DELIVERED,
                DeliveryState::Undelivered => delivery::UNDELIVERED,
                DeliveryState::Unknown => delivery::UNKNOWN,
            },
            kind: self.kind.map_or(0, ErrorKind::to_raw),
            code: RString::from(self.code),
            at_unix_ms: since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(0)),
            segments: self.segments.unwrap_or(0),
            cost: RString::from(cost.map_or("", Money::amount)),
            currency: RString::from(cost.map_or("", Money::currency)),
            flags: 0,
            ext: RVec::new(),
        }
    }
}
