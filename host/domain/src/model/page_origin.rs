//! The origins of web pages, and the public URL of this server.

use std::fmt;

use url::{Position, Url};

/// The origin of a page (RFC 6454): scheme, host and port, as browsers write them in `Origin`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageOrigin(String);

/// The URL under which providers and browsers reach this server. Its paths begin there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicUrl(Url);

impl PageOrigin {
    /// Reads an origin in any spelling, such as `HTTPS://App.Example:443/`. `None`: not an origin, or `null`, which any
    /// page can obtain.
    pub fn parse(text: &str) -> Option<Self> {
        let url = Url::parse(text).ok()?;
        let is_bare = matches!(&url[Position::BeforePath..], "" | "/") && url.username().is_empty();
        (is_bare && url.password().is_none()).then(|| Self::of(&url))?
    }

    fn of(url: &Url) -> Option<Self> {
        let host = url
            .host_str()
            .filter(|host| !host.is_empty() && !host.contains('*'))?;
        let port = url.port().map_or_else(String::new, |port| format!(":{port}"));
        Some(Self(format!("{}://{host}{port}", url.scheme())))
    }

    /// The form that browsers send.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl PublicUrl {
    /// Reads a URL such as `https://verify.example` or `https://example.com/verify`.
    pub fn parse(text: &str) -> Option<Self> {
        let url = Url::parse(text).ok()?;
        let is_plain = url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
        (is_plain && matches!(url.scheme(), "http" | "https")).then_some(Self(url))
    }

    /// The origin of pages that this server serves.
    pub fn origin(&self) -> Option<PageOrigin> {
        PageOrigin::of(&self.0)
    }

    /// The host name, without the port.
    pub fn host(&self) -> &str {
        self.0.host_str().unwrap_or_default()
    }
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_written_as_browsers_write_it() {
        for (text, written) in [
            ("https://app.example", "https://app.example"),
            ("HTTPS://App.Example:443/", "https://app.example"),
            ("http://localhost:3000", "http://localhost:3000"),
            ("https://bücher.example", "https://xn--bcher-kva.example"),
            ("http://[::1]:8000", "http://[::1]:8000"),
            ("capacitor://localhost", "capacitor://localhost"),
        ] {
            let origin = PageOrigin::parse(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(origin.as_str(), written);
        }
        for text in [
            "",
            "*",
            "null",
            "app.example",
            "https://",
            "https://app.example/page",
            "https://app.example/?q",
            "https://user@app.example",
            "https://*.app.example",
            "file:///etc/passwd",
            "data:text/plain,x",
        ] {
            assert_eq!(PageOrigin::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_public_url_may_have_a_path() {
        let url = PublicUrl::parse("https://Example.com/verify/").unwrap();
        assert_eq!(url.to_string(), "https://example.com/verify");
        assert_eq!(
            (url.host(), url.origin().unwrap().as_str()),
            ("example.com", "https://example.com")
        );
        for text in ["", "example.com", "ftp://example.com", "https://example.com/?a=b"] {
            assert_eq!(PublicUrl::parse(text), None, "{text}");
        }
    }
}
