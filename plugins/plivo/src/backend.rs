//! `plivo.PlivoBackend`: sends each SMS with one JSON `POST …/Message/`, authenticated with the account's id and token.

use phone_verify_plugin_api::{
    Backend, Call, Error, ErrorKind, Host, Money, Options, PhoneNumber, Receipt, Received, Secret, Webhook,
    backend,
    serde_json::{Value, json},
};

use crate::{reply, webhook};

/// The `OPTIONS` of `plivo.PlivoBackend`.
#[derive(Options)]
pub struct PlivoOptions {
    /// The auth id of the account.
    #[option(example = "MAMDQ2NJAXMWI2ZJY1OT")]
    pub auth_id: String,
    /// The auth token of the account, with which Plivo also signs delivery reports.
    pub auth_token: Secret,
    /// The sender: a number or short code of the account, or a name where the country allows names.
    #[option(example = "+14155550100")]
    pub from: Option<String>,
    /// The powerpack that chooses the sender, instead of FROM.
    pub powerpack_uuid: Option<String>,
    /// Where Plivo reports what became of an SMS.
    #[option(example = "https://verify.example/v1/receipts/default")]
    pub callback: Option<String>,
    /// Asks Plivo to keep neither the text nor the whole number.
    #[option(default = true)]
    pub redact: bool,
    /// Where the provider listens; a proxy or a test names another address.
    #[option(default = "https://api.plivo.com")]
    pub base_url: String,
}

/// Sends each SMS through Plivo's Messages API.
pub struct PlivoBackend {
    auth_id: String,
    auth_token: Secret,
    sender: Sender,
    callback: Option<String>,
    redact: bool,
    /// `…/v1/Account/{auth_id}/`.
    account_url: String,
    host: Host,
}

#[backend(
    summary = "Sends through Plivo's Messages API",
    hosts = ["api.plivo.com"],
    webhook = "signed",
    receipts = "carrier"
)]
impl Backend for PlivoBackend {
    type Options = PlivoOptions;

    fn new(options: PlivoOptions, host: Host) -> Result<Self, Error> {
        Ok(Self {
            account_url: account_url(&options.base_url, &options.auth_id)?,
            sender: Sender::choose(options.from, options.powerpack_uuid)?,
            callback: options.callback.map(callback).transpose()?,
            auth_id: options.auth_id,
            auth_token: options.auth_token,
            redact: options.redact,
            host,
        })
    }

    async fn send_sms(&self, number: &PhoneNumber, message: &str, _call: &Call) -> Result<Receipt, Error> {
        let (name, sender) = self.sender.field();
        let mut body = json!({ "dst": number.e164(), "text": message, "type": "sms" });
        body[name] = Value::from(sender);
        if let Some(callback) = &self.callback {
            body["url"] = Value::from(callback.as_str());
            body["method"] = Value::from("POST");
        }
        if self.redact {
            body["log"] = Value::from(false);
        }
        let url = format!("{}Message/", self.account_url);
        let http = self.host.http();
        let request = http
            .post(&url)
            .basic_auth(&self.auth_id, self.auth_token.expose());
        let response = request.json(&body).send().await?;
        reply::read(response.status(), response.retry_after(), response.body())
    }

    async fn receive(&self, request: &Webhook, _call: &Call) -> Result<Received, Error> {
        webhook::receive(&self.host, &self.auth_token, request)
    }

    async fn balance(&self, _call: &Call) -> Result<Money, Error> {
        let http = self.host.http();
        let request = http
            .get(&self.account_url)
            .basic_auth(&self.auth_id, self.auth_token.expose());
        let response = request.send().await?;
        reply::read_balance(response.status(), response.body())
    }
}

#[derive(Debug, PartialEq)]
enum Sender {
    Source(String),
    Powerpack(String),
}

impl Sender {
    fn choose(from: Option<String>, powerpack: Option<String>) -> Result<Self, Error> {
        match (from, powerpack) {
            // Plivo refuses a request with both.
            (Some(_), Some(_)) => Err(wrong(
                "options FROM and POWERPACK_UUID are both set, but a powerpack chooses the sender itself; remove one \
                 of them",
            )),
            (None, Some(powerpack)) => Ok(Self::Powerpack(powerpack)),
            (Some(from), None) => sender(from.trim()).map(Self::Source),
            (None, None) => Err(wrong("option FROM is missing (or POWERPACK_UUID in its place)")),
        }
    }

    fn field(&self) -> (&'static str, &str) {
        match self {
            Self::Source(from) => ("src", from),
            Self::Powerpack(uuid) => ("powerpack_uuid", uuid),
        }
    }
}

/// The most digits of a number (E.164).
const MAX_DIGITS: usize = 15;
/// The most digits of a short code.
const MAX_SHORT_CODE: usize = 6;
/// The most characters of a sender name (GSM 03.40).
const MAX_NAME: usize = 11;

/// The sender in Plivo's form. A number becomes E.164, because people leave out the plus sign in settings. A sender
/// that Plivo would refuse with every SMS is refused at start instead.
fn sender(from: &str) -> Result<String, Error> {
    let digits = from.strip_prefix('+').unwrap_or(from);
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if is_number && digits.len() <= MAX_DIGITS {
        let is_short = from.len() <= MAX_SHORT_CODE;
        return Ok(if is_short {
            from.to_owned()
        } else {
            format!("+{digits}")
        });
    }
    let is_name = (1..=MAX_NAME).contains(&from.len())
        && from
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b' ');
    if !is_number && is_name {
        return Ok(from.to_owned());
    }
    Err(wrong(
        "option FROM must be a number of up to 15 digits, a short code, or a name of up to 11 letters and digits",
    ))
}

fn account_url(base_url: &str, auth_id: &str) -> Result<String, Error> {
    let base_url = base_url.trim_end_matches('/');
    if !is_address(base_url) {
        return Err(wrong(
            "option BASE_URL must be an address that begins with https:// (or http://)",
        ));
    }
    // The id becomes part of the URL's path, so it must hold no character with a meaning there.
    if !auth_id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Err(wrong(
            "option AUTH_ID must be an auth id: MA or SA and 18 letters and digits",
        ));
    }
    Ok(format!("{base_url}/v1/Account/{auth_id}/"))
}

fn callback(callback: String) -> Result<String, Error> {
    if is_address(&callback) {
        return Ok(callback);
    }
    Err(wrong(
        "option CALLBACK must be the whole address for delivery reports, as `phone-verify backends` shows it",
    ))
}

fn is_address(text: &str) -> bool {
    let host = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    let is_plain = |host: &str| {
        !host
            .bytes()
            .any(|byte| byte.is_ascii_whitespace() || byte.is_ascii_control())
    };
    host.is_some_and(|host| !host.is_empty() && !host.starts_with('/') && is_plain(host))
}

fn wrong(sentence: &str) -> Error {
    Error::new(ErrorKind::Config, "options", sentence)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sender_number_gets_its_plus_sign_and_codes_and_names_stay() {
        for (given, sent) in [
            ("+14155550100", "+14155550100"),
            (" 14155550100", "+14155550100"),
            ("12345", "12345"),
            ("PhoneVerify", "PhoneVerify"),
        ] {
            let sender = Sender::choose(Some(given.to_owned()), None).unwrap();
            assert_eq!(sender.field(), ("src", sent));
        }
        for wrong in ["", "Acme Verification", "Acmé", "1234567890123456", "a\nb"] {
            let error = Sender::choose(Some(wrong.to_owned()), None).unwrap_err();
            assert!(
                error.message().contains("option FROM must be"),
                "{wrong}: {error}"
            );
        }
    }

    #[test]
    fn exactly_one_of_sender_and_powerpack_is_needed() {
        let powerpack = Sender::choose(None, Some("p-1".into())).unwrap();
        assert_eq!(powerpack.field(), ("powerpack_uuid", "p-1"));
        let neither = Sender::choose(None, None).unwrap_err();
        assert!(neither.message().contains("option FROM is missing"), "{neither}");
        let both = Sender::choose(Some("Acme".into()), Some("p-1".into())).unwrap_err();
        assert!(both.message().contains("POWERPACK_UUID are both set"), "{both}");
    }

    #[test]
    fn what_is_no_address_and_no_id_is_refused_by_name() {
        for (base_url, auth_id, option) in [
            ("api.plivo.com", "MA1", "BASE_URL"),
            ("https://", "MA1", "BASE_URL"),
            ("https://api.plivo.com", "MA1/../MA2", "AUTH_ID"),
            ("https://api.plivo.com", "your id", "AUTH_ID"),
        ] {
            let error = account_url(base_url, auth_id).unwrap_err();
            assert!(error.message().contains(option), "{error}");
        }
        assert_eq!(
            account_url("http://127.0.0.1:9/", "MA1").unwrap(),
            "http://127.0.0.1:9/v1/Account/MA1/"
        );
        assert!(callback("verify.example/v1/receipts/x".into()).is_err());
    }
}
