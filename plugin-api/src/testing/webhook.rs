//! Requests of a provider in a test.

use phone_verify_plugin_abi::{
    RawHttpRequest,
    abi_stable::std_types::{RString, RVec, Tuple2},
};
use serde::Serialize;

use crate::Webhook;

/// To be made in a test; in production the host makes them.
impl Webhook {
    /// A POST request without a body. `url` is the whole address, as the provider has it.
    pub fn post(url: &str) -> Self {
        Self::request("POST", url)
    }

    /// A GET request.
    pub fn get(url: &str) -> Self {
        Self::request("GET", url)
    }

    fn request(method: &str, url: &str) -> Self {
        Self(RawHttpRequest {
            method: RString::from(method),
            url: RString::from(url),
            headers: RVec::new(),
            body: RVec::new(),
            timeout_ms: 0,
            flags: 0,
            ext: RVec::new(),
        })
    }

    /// Adds a header.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        let header = Tuple2(RString::from(name), RString::from(value));
        self.0.headers.push(header);
        self
    }

    /// Sets the body, of any type.
    #[must_use]
    pub fn with_body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.0.body = RVec::from(body.into());
        self
    }

    /// Sets a form-encoded body.
    #[must_use]
    pub fn with_form(self, fields: &[(&str, &str)]) -> Self {
        let body = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(fields)
            .finish();
        self.with_header("content-type", "application/x-www-form-urlencoded")
            .with_body(body)
    }

    /// Sets a JSON body.
    ///
    /// # Panics
    /// When the value cannot be serialised as JSON, such as a map whose keys are not strings.
    #[must_use]
    pub fn with_json(self, value: &impl Serialize) -> Self {
        let body = serde_json::to_vec(value).expect("a value that JSON can hold");
        self.with_header("content-type", "application/json")
            .with_body(body)
    }
}
