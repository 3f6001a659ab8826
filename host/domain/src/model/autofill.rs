//! The last line of an SMS, which lets browsers and apps recognise their code and fill it in.
//!
//! Browsers look for `@host #code` on the last line, and offer the code on that host only. They ignore the rest of the
//! line (WICG, Origin-bound one-time codes delivered via SMS, <https://wicg.github.io/sms-one-time-codes/>, section 3).
//! An Android app receives an SMS that ends with its hash and has at most 140 bytes (Google, SMS Retriever,
//! <https://developers.google.com/identity/sms-retriever/verify>). So both share one line, with the hash last.

use super::SecurityCode;

/// The longest SMS that Android passes to an app by its hash, in bytes.
pub const MAX_BYTES_FOR_AN_APP: usize = 140;

/// The site and the app that codes are for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Autofill {
    /// The host of the site.
    pub host: Option<OriginHost>,
    /// The hash of the Android app.
    pub app: Option<AppHash>,
}

impl Autofill {
    /// The last line with the line break before it. Empty: there is none.
    pub fn last_line(&self, code: &SecurityCode) -> String {
        let host = self
            .host
            .as_ref()
            .map(|OriginHost(host)| format!("@{host} #{}", code.expose()));
        let app = self.app.as_ref().map(|AppHash(hash)| hash.clone());
        let parts: Vec<String> = host.into_iter().chain(app).collect();
        if parts.is_empty() {
            String::new()
        } else {
            format!("\n{}", parts.join(" "))
        }
    }
}

/// A host in the form that browsers compare: ASCII labels in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginHost(String);

impl OriginHost {
    /// Reads a host.
    ///
    /// # Errors
    /// A phrase for the operator that states what is needed.
    pub fn parse(text: &str) -> Result<Self, String> {
        let is_label = |label: &str| {
            (1..=63).contains(&label.len())
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        // A last label without a letter makes it an IP address, which browsers do not accept here.
        let is_name = text
            .rsplit('.')
            .next()
            .is_some_and(|last| last.contains(|c: char| c.is_ascii_alphabetic()));
        if is_name && text.len() <= 253 && text.split('.').all(is_label) {
            return Ok(Self(text.to_ascii_lowercase()));
        }
        let hint = if text.is_ascii() {
            ""
        } else {
            ", with other letters in Punycode (xn--…)"
        };
        Err(format!(
            "must be a host such as example.com, without scheme, port and path{hint}, not {text}"
        ))
    }
}

/// The hash by which Google Play services identify an app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppHash(String);

impl AppHash {
    /// Reads a hash.
    ///
    /// # Errors
    /// A phrase for the operator that states what is needed.
    pub fn parse(text: &str) -> Result<Self, String> {
        let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/';
        if text.len() == 11 && text.bytes().all(is_base64) {
            return Ok(Self(text.to_owned()));
        }
        Err(format!(
            "must be the 11 characters of the app's hash, such as FA+9qCX9VSu, not {text}"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn last_line(host: &str, app: &str) -> String {
        let autofill = Autofill {
            host: OriginHost::parse(host).ok(),
            app: AppHash::parse(app).ok(),
        };
        autofill.last_line(&SecurityCode::new("747723").unwrap())
    }

    #[test]
    fn a_site_and_an_app_share_the_last_line() {
        assert_eq!(last_line("", ""), "");
        assert_eq!(last_line("Example.COM", ""), "\n@example.com #747723");
        assert_eq!(last_line("", "FA+9qCX9VSu"), "\nFA+9qCX9VSu");
        assert_eq!(
            last_line("example.com", "FA+9qCX9VSu"),
            "\n@example.com #747723 FA+9qCX9VSu"
        );
    }

    #[test]
    fn what_no_browser_would_take_for_a_host_is_refused() {
        for host in [
            "example.com",
            "a.b-c.example",
            "xn--bcher-kva.example",
            "localhost",
            "4chan.example",
            "x.3d",
        ] {
            assert!(OriginHost::parse(host).is_ok(), "{host}");
        }
        let long = format!("{}.example", "a".repeat(64));
        for host in [
            "",
            "https://example.com",
            "example.com/path",
            "example.com:8000",
            "example.com.",
            "-a.example",
            "a-.example",
            "a..example",
            "a_b.example",
            "192.0.2.1",
            "bücher.example",
            "example.com #1",
            &long,
        ] {
            assert!(OriginHost::parse(host).is_err(), "{host}");
        }
        assert_eq!(
            OriginHost::parse("bücher.example").unwrap_err(),
            "must be a host such as example.com, without scheme, port and path, with other letters in Punycode (xn--…), not \
             bücher.example"
        );
    }

    #[test]
    fn a_hash_has_eleven_characters_of_base64() {
        for hash in ["", "FA+9qCX9VS", "FA+9qCX9VSu=", "FA-9qCX9VSu", "FA+9qCX9VS\n"] {
            assert!(AppHash::parse(hash).is_err(), "{hash:?}");
        }
    }
}
