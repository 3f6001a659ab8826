//! An address with placeholders behind its host, and the encoding of values in URLs and forms.

use phone_verify_plugin_api::{Error, ErrorKind, data_encoding::HEXUPPER};

use crate::{
    template::Template,
    values::{Name, Values},
};

/// A parsed address. Its host is fixed: no value of an SMS can send the request, and the credentials in it, elsewhere.
pub(crate) struct Address {
    /// `https://api.example`.
    origin: String,
    /// Begins with a slash, or is empty.
    path: Template,
    query: Option<Template>,
}

/// A filled-in address.
pub(crate) struct Filled {
    pub(crate) origin: String,
    pub(crate) path: String,
    /// Empty: there is none.
    pub(crate) query: String,
}

impl Address {
    /// Reads an address such as `https://api.example/v1/{key}/send?to={number}`.
    ///
    /// # Errors
    /// What is wrong with it, as the end of a sentence that begins with its place.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let needed = || "must be an address that begins with https:// (or http://)".to_owned();
        let after_scheme = text
            .strip_prefix("https://")
            .or_else(|| text.strip_prefix("http://"))
            .ok_or_else(needed)?;
        let host = after_scheme.split(['/', '?', '#']).next().unwrap_or_default();
        if host.is_empty() {
            return Err(needed());
        }
        if host.contains(['{', '}']) {
            return Err(
                "has a placeholder in its host, so that an SMS could choose where it goes; write the host out".to_owned(),
            );
        }
        if text.contains(|character: char| {
            character.is_whitespace() || character.is_control() || character == '\\'
        }) {
            return Err("has a space, a backslash or a control character; encode it".to_owned());
        }
        if host.contains('@') {
            return Err(
                "has a user or a password in it; set BASIC_AUTH = \"{user}:{password}\" instead".to_owned(),
            );
        }
        if text.contains('#') {
            return Err("has a #, and what is behind it is never sent; remove it".to_owned());
        }
        let (origin, rest) = text.split_at(text.len() - after_scheme.len() + host.len());
        let (path, query) = rest
            .split_once('?')
            .map_or((rest, None), |(path, query)| (path, Some(query)));
        Ok(Self {
            origin: origin.to_owned(),
            path: Template::parse(path)?,
            query: query.map(Template::parse).transpose()?,
        })
    }

    /// The placeholders in it.
    pub(crate) fn names(&self) -> impl Iterator<Item = Name> + '_ {
        self.path
            .names()
            .chain(self.query.iter().flat_map(Template::names))
    }

    /// Fills it in.
    ///
    /// # Errors
    /// If a value would be a step of the path, `.` or `..`, which no encoding can prevent.
    pub(crate) fn fill(&self, values: &Values<'_>) -> Result<Filled, Error> {
        let encoded = |template: &Template| template.fill_with(|name, text| encode(values.get(name), text));
        let path = encoded(&self.path);
        let has_values = self.path.names().next().is_some();
        if has_values && path.split('/').any(|step| step == "." || step == "..") {
            return Err(Error::new(
                ErrorKind::ContentRejected,
                "http_not_in_path",
                "a value in the path of URL is just a dot or two, which would be a step to another path",
            ));
        }
        Ok(Filled {
            origin: self.origin.clone(),
            path,
            query: self.query.as_ref().map(encoded).unwrap_or_default(),
        })
    }
}

/// Appends a value in percent-encoding: all but the unreserved characters (RFC 3986, section 2.3), so that it is good
/// in a path, a query and a form.
pub(crate) fn encode(value: &str, text: &mut String) {
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push('%');
            text.push_str(&HEXUPPER.encode(&[byte]));
        }
    }
}

/// Fields in the encoding of forms, which queries have too.
pub(crate) fn encode_fields<'a>(fields: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let mut text = String::new();
    for (name, value) in fields {
        if !text.is_empty() {
            text.push('&');
        }
        encode(name, &mut text);
        text.push('=');
        encode(&value, &mut text);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_fixed_host() {
        for good in [
            "https://api.example",
            " https://api.example/a/{key}/b?x={number}&y=1 ",
            "http://127.0.0.1:8080/sms",
            "https://api.example?to={number}",
        ] {
            assert!(Address::parse(good).is_ok(), "{good}");
        }
        for (wrong, why) in [
            ("api.example/sms", "begins with https://"),
            ("ftp://api.example/sms", "begins with https://"),
            ("https:///sms", "begins with https://"),
            ("https://{number}/sms", "in its host"),
            ("https://api.{message}?x", "in its host"),
            ("https://user:pass@api.example/sms", "BASIC_AUTH"),
            ("https://api.example/a b", "a space"),
            ("https://api.example\\@other.example/", "a backslash"),
            ("https://api.example/#{message}", "has a #"),
            ("https://api.example/{nmber}", "did you mean number?"),
        ] {
            let error = Address::parse(wrong).err().unwrap();
            assert!(error.contains(why), "{wrong}: {error}");
        }
    }

    #[test]
    fn fields_are_encoded_as_a_parser_of_forms_reads_them() {
        let fields = [("a b&c", "1=2&x=\u{e9}\r\n+%".to_owned()), ("", String::new())];
        let text = encode_fields(fields.clone());
        let read: Vec<_> = form_urlencoded::parse(text.as_bytes())
            .map(|(name, value)| (name.into_owned(), value.into_owned()))
            .collect();
        assert_eq!(read, fields.map(|(name, value)| (name.to_owned(), value)));
    }
}
