//! The placeholders of templates, and their values for one SMS.

use std::time::UNIX_EPOCH;

use phone_verify_plugin_api::{Call, Host, PhoneNumber, Secret, data_encoding::HEXLOWER, is_gsm};

use crate::number;

/// What a placeholder stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    /// The recipient in E.164 form, with its plus sign.
    Number,
    /// The same without the plus sign.
    NumberDigits,
    /// The country code of the recipient's number, digits only.
    CountryCode,
    /// The recipient's number without country code, and without a trunk prefix such as 0.
    National,
    /// The text of the SMS.
    Message,
    /// One of the two texts of the option `UNICODE`: whether the SMS alphabet carries the text.
    Unicode,
    /// The same for every attempt to send one SMS.
    MessageKey,
    /// The language that the caller asked for, or nothing.
    Locale,
    /// Unix time in seconds.
    Timestamp,
    /// 32 random hexadecimal digits.
    Nonce,
    /// The option of that name; and so on.
    Sender,
    User,
    Password,
    Key,
    Secret,
    /// The token from `TOKEN_URL`.
    AccessToken,
    /// The result of the option `SIGNATURE`.
    Signature,
    /// These are parts of the finished request, for what is signed alone.
    Method,
    Url,
    Path,
    Query,
    Body,
}

/// Each placeholder by its name in templates.
const NAMES: [(&str, Name); 22] = [
    ("number", Name::Number),
    ("number_digits", Name::NumberDigits),
    ("country_code", Name::CountryCode),
    ("national", Name::National),
    ("message", Name::Message),
    ("unicode", Name::Unicode),
    ("message_key", Name::MessageKey),
    ("locale", Name::Locale),
    ("timestamp", Name::Timestamp),
    ("nonce", Name::Nonce),
    ("sender", Name::Sender),
    ("user", Name::User),
    ("password", Name::Password),
    ("key", Name::Key),
    ("secret", Name::Secret),
    ("access_token", Name::AccessToken),
    ("signature", Name::Signature),
    ("method", Name::Method),
    ("url", Name::Url),
    ("path", Name::Path),
    ("query", Name::Query),
    ("body", Name::Body),
];

impl Name {
    /// The placeholder of this name. Names are compared exactly.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let (_, found) = NAMES.iter().find(|(known, _)| *known == name)?;
        Some(*found)
    }

    /// All names.
    pub(crate) fn all() -> impl Iterator<Item = &'static str> + Clone {
        NAMES.iter().map(|(name, _)| *name)
    }

    /// Its name in templates.
    pub(crate) fn text(self) -> &'static str {
        NAMES
            .iter()
            .find(|(_, known)| *known == self)
            .map_or("", |(name, _)| name)
    }

    /// Whether it says who the SMS is for.
    pub(crate) fn is_recipient(self) -> bool {
        matches!(self, Self::Number | Self::NumberDigits | Self::National)
    }

    /// Whether its value is a secret of the account.
    pub(crate) fn is_secret(self) -> bool {
        matches!(self, Self::User | Self::Password | Self::Key | Self::Secret)
    }

    /// Whether it is a part of the finished request, which only what is signed can have.
    pub(crate) fn is_of_request(self) -> bool {
        matches!(
            self,
            Self::Method | Self::Url | Self::Path | Self::Query | Self::Body
        )
    }

    /// Whether its value is digits alone, without leading zeros.
    pub(crate) fn is_numeric(self) -> bool {
        matches!(self, Self::NumberDigits | Self::CountryCode | Self::Timestamp)
    }
}

/// The options that are values of placeholders.
pub(crate) struct Account {
    pub(crate) sender: Option<String>,
    pub(crate) user: Option<Secret>,
    pub(crate) password: Option<Secret>,
    pub(crate) key: Option<Secret>,
    pub(crate) secret: Option<Secret>,
    pub(crate) unicode: UnicodeWords,
}

/// What `{unicode}` is.
pub(crate) struct UnicodeWords {
    /// For a text that the SMS alphabet carries.
    pub(crate) no: String,
    /// For any other text.
    pub(crate) yes: String,
}

impl Account {
    /// The value of an option. `None`: it is not an option's placeholder, or the option is not set.
    pub(crate) fn get(&self, name: Name) -> Option<&str> {
        let secret = match name {
            Name::Sender => return self.sender.as_deref(),
            Name::User => &self.user,
            Name::Password => &self.password,
            Name::Key => &self.key,
            Name::Secret => &self.secret,
            _ => return None,
        };
        secret.as_ref().map(Secret::expose)
    }

    /// The option that a placeholder needs and that is not set.
    pub(crate) fn lacks(&self, name: Name) -> Option<String> {
        let is_option = matches!(
            name,
            Name::Sender | Name::User | Name::Password | Name::Key | Name::Secret
        );
        (is_option && self.get(name).is_none()).then(|| name.text().to_uppercase())
    }
}

/// A finished request, as far as it can be signed.
#[derive(Default)]
pub(crate) struct Unsigned {
    pub(crate) method: String,
    pub(crate) url: String,
    pub(crate) body: String,
}

impl Unsigned {
    /// A part of it. `None`: the name is of no part.
    pub(crate) fn get(&self, name: Name) -> Option<&str> {
        let behind_host = || {
            let host = self.url.find("://").map_or(0, |at| at + 3);
            let rest = &self.url[host..];
            rest.find(['/', '?']).map_or("", |at| &rest[at..])
        };
        Some(match name {
            Name::Method => &self.method,
            Name::Url => &self.url,
            Name::Path => behind_host().split('?').next().unwrap_or_default(),
            Name::Query => behind_host().split_once('?').map_or("", |(_, query)| query),
            Name::Body => &self.body,
            _ => return None,
        })
    }
}

/// The values of all placeholders for one SMS.
pub(crate) struct Values<'a> {
    account: &'a Account,
    number: &'a PhoneNumber,
    message: &'a str,
    message_key: String,
    locale: String,
    timestamp: String,
    nonce: String,
    pub(crate) access_token: Option<Secret>,
    pub(crate) signature: String,
    pub(crate) unsigned: Unsigned,
}

impl<'a> Values<'a> {
    /// For one SMS. Draws a nonce and reads the clock.
    pub(crate) fn new(
        account: &'a Account,
        number: &'a PhoneNumber,
        message: &'a str,
        call: &Call,
        host: &Host,
    ) -> Self {
        let mut nonce = [0; 16];
        host.random(&mut nonce);
        let nonce = HEXLOWER.encode(&nonce);
        let now = host.now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            account,
            number,
            message,
            message_key: call.idempotency_key().unwrap_or_else(|| nonce.clone()),
            locale: call.locale().unwrap_or_default(),
            timestamp: now.as_secs().to_string(),
            nonce,
            access_token: None,
            signature: String::new(),
            unsigned: Unsigned::default(),
        }
    }

    /// The value. Empty for an option that is not set, which no template uses: see `Plan::new`.
    pub(crate) fn get(&self, name: Name) -> &str {
        match name {
            Name::Number => self.number.e164(),
            Name::NumberDigits => self.number.digits(),
            Name::CountryCode => number::split(self.number.digits()).0,
            Name::National => number::split(self.number.digits()).1,
            Name::Message => self.message,
            Name::Unicode if is_gsm(self.message) => &self.account.unicode.no,
            Name::Unicode => &self.account.unicode.yes,
            Name::MessageKey => &self.message_key,
            Name::Locale => &self.locale,
            Name::Timestamp => &self.timestamp,
            Name::Nonce => &self.nonce,
            Name::Sender | Name::User | Name::Password | Name::Key | Name::Secret => {
                self.account.get(name).unwrap_or_default()
            }
            Name::Signature => &self.signature,
            Name::Method | Name::Url | Name::Path | Name::Query | Name::Body => {
                self.unsigned.get(name).unwrap_or_default()
            }
            Name::AccessToken => self.access_token.as_ref().map_or("", Secret::expose),
        }
    }
}
