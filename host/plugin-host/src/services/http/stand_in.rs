//! A network that is played: for the conformance kit, which checks a backend without the internet.
//!
//! Invariant: what a library may ask and what it is told are the same as with the real network; only the exchange
//! itself is another's.

use std::{future::Future, pin::Pin};

use phone_verify_plugin_abi::{
    RawError, RawHttpResponse,
    abi_stable::std_types::{RString, RVec, Tuple2},
    http_error, kind,
};
use reqwest::Request;

use super::{MAX_BODY_BYTES, too_large};
use crate::convert::raw_error;

/// Stands in for the network.
pub trait StandIn: Send + Sync {
    /// Plays one exchange. It may take longer than the caller waits, or never end.
    fn exchange(&self, request: SentRequest) -> Pin<Box<dyn Future<Output = Played> + Send>>;

    /// Hears of a request that was not admitted, and why.
    fn denied(&self, why: &str);
}

/// A request that a backend made.
#[derive(Clone, Debug)]
pub struct SentRequest {
    /// `POST`, …
    pub method: String,
    /// With its query.
    pub url: String,
    /// In their order.
    pub headers: Vec<(String, String)>,
    /// Empty if there is none.
    pub body: Vec<u8>,
}

/// What comes back.
#[derive(Clone, Debug)]
pub enum Played {
    /// An answer.
    Answer {
        /// The HTTP status.
        status: u16,
        /// In their order; names reach a library in lower case, as they do from the network.
        headers: Vec<(String, String)>,
        /// Of any length; the host's bound holds.
        body: Vec<u8>,
    },
    /// No connection came about.
    NoConnection,
    /// The connection broke off.
    Reset,
}

impl SentRequest {
    pub(super) fn of(request: &Request) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self {
            method: request.method().to_string(),
            url: request.url().to_string(),
            headers: request
                .headers()
                .iter()
                .map(|(name, value)| (name.to_string(), text(value.as_bytes())))
                .collect(),
            body: request
                .body()
                .and_then(|body| body.as_bytes())
                .unwrap_or_default()
                .to_vec(),
        }
    }
}

impl Played {
    pub(super) fn into_raw(self) -> Result<RawHttpResponse, RawError> {
        match self {
            Self::Answer { body, .. } if body.len() > MAX_BODY_BYTES => Err(too_large()),
            Self::Answer {
                status,
                headers,
                body,
            } => Ok(RawHttpResponse {
                status,
                headers: headers
                    .into_iter()
                    .map(|(name, value)| Tuple2(RString::from(name.to_lowercase()), RString::from(value)))
                    .collect(),
                body: RVec::from(body),
                flags: 0,
                ext: RVec::new(),
            }),
            Self::NoConnection => Err(raw_error(kind::TRANSIENT, http_error::CONNECT, "no connection")),
            Self::Reset => Err(raw_error(
                kind::OUTCOME_UNKNOWN,
                http_error::RESET,
                "the connection broke off before the answer was whole",
            )),
        }
    }
}
