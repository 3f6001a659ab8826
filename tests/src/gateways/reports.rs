//! Delivery reports as the simulated providers send them, signed by their published rules.

use ring::hmac;

/// A request of a provider about one of its SMS.
#[derive(Clone, Debug)]
pub struct Report {
    /// `GET` or `POST`.
    pub method: &'static str,
    /// The whole address, with its query.
    pub url: String,
    /// The headers.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: String,
}

impl Report {
    /// A POST request with a form.
    pub(super) fn form(url: &str, fields: &[(String, String)]) -> Self {
        Self {
            method: "POST",
            url: url.to_owned(),
            headers: vec![("content-type", "application/x-www-form-urlencoded".to_owned())],
            body: encoded(fields),
        }
    }

    /// A GET request with a query.
    pub(super) fn query(url: &str, fields: &[(String, String)]) -> Self {
        Self {
            method: "GET",
            url: format!("{url}?{}", encoded(fields)),
            headers: Vec::new(),
            body: String::new(),
        }
    }

    /// A POST request with a JSON object.
    pub(super) fn json(url: &str, fields: &[(String, String)]) -> Self {
        let object: serde_json::Map<String, serde_json::Value> = fields
            .iter()
            .map(|(name, value)| (name.clone(), value.as_str().into()))
            .collect();
        Self {
            method: "POST",
            url: url.to_owned(),
            headers: vec![("content-type", "application/json".to_owned())],
            body: serde_json::Value::Object(object).to_string(),
        }
    }
}

fn encoded(fields: &[(String, String)]) -> String {
    form_urlencoded::Serializer::new(String::new())
        .extend_pairs(fields)
        .finish()
}

/// HMAC by one of ring's algorithms.
pub(super) fn mac(algorithm: hmac::Algorithm, key: &str, text: &str) -> Vec<u8> {
    let key = hmac::Key::new(algorithm, key.as_bytes());
    hmac::sign(&key, text.as_bytes()).as_ref().to_vec()
}
