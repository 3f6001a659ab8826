//! `twilio.TwilioBackend`: sends each SMS with one form-encoded `POST …/Messages.json`, authenticated with the
//! account's SID and auth token.

use phone_verify_plugin_api::{
    Backend, Call, Error, ErrorKind, Host, Money, Options, PhoneNumber, Receipt, Received, Request, Secret,
    Webhook, backend,
};

use crate::{reply, webhook};

/// The `OPTIONS` of `twilio.TwilioBackend`.
#[derive(Options)]
pub struct TwilioOptions {
    /// The SID of the account.
    #[option(example = "AC0123456789abcdef0123456789abcdef")]
    pub sid: String,
    /// The auth token of the account.
    #[option(alias = "AUTH_TOKEN")]
    pub secret: Secret,
    /// The sender: a number or short code of the account, or a name where the country allows names.
    #[option(example = "+15005550006")]
    pub from: Option<String>,
    /// The messaging service that chooses the sender, instead of FROM.
    #[option(example = "MG0123456789abcdef0123456789abcdef")]
    pub messaging_service_sid: Option<String>,
    /// Where Twilio reports what became of an SMS; without it, as the messaging service says.
    #[option(example = "https://verify.example/v1/receipts/default")]
    pub status_callback: Option<String>,
    /// Asks Twilio to take feedback on which codes came back. This version of the daemon gives none yet.
    #[option(default = false)]
    pub feedback: bool,
    /// Asks Twilio to keep neither the text nor the whole number. Needs Message Redaction, which Twilio enables by
    /// account.
    #[option(default = false)]
    pub redact: bool,
    /// Where the provider listens; a proxy or a test names another address.
    #[option(default = "https://api.twilio.com")]
    pub base_url: String,
}

/// Sends each SMS through Twilio's Messages API.
pub struct TwilioBackend {
    sid: String,
    secret: Secret,
    sender: Sender,
    redact: bool,
    status_callback: Option<String>,
    feedback: bool,
    /// Of the account, without a slash at its end.
    url: String,
    host: Host,
}

impl TwilioBackend {
    pub(crate) fn open(options: TwilioOptions, host: Host) -> Result<Self, Error> {
        Ok(Self {
            url: account_url(&options.base_url, &options.sid)?,
            status_callback: options.status_callback.map(callback).transpose()?,
            feedback: options.feedback,
            sender: Sender::choose(options.from, options.messaging_service_sid)?,
            sid: options.sid,
            secret: options.secret,
            redact: options.redact,
            host,
        })
    }

    pub(crate) async fn send(&self, number: &PhoneNumber, message: &str) -> Result<Receipt, Error> {
        let mut form = vec![("To", number.e164()), self.sender.field(), ("Body", message)];
        if self.redact {
            form.extend([("ContentRetention", "discard"), ("AddressRetention", "obfuscate")]);
        }
        if let Some(callback) = &self.status_callback {
            form.push(("StatusCallback", callback));
        }
        if self.feedback {
            form.push(("ProvideFeedback", "true"));
        }
        let response = self.request("POST", "/Messages.json").form(&form).send().await?;
        reply::read(response.status(), response.retry_after(), response.body())
    }

    /// A request about the account.
    fn request(&self, method: &str, path: &str) -> Request<'_> {
        let http = self.host.http();
        let request = http.request(method, &format!("{}{path}", self.url));
        request.basic_auth(&self.sid, self.secret.expose())
    }
}

#[backend(
    summary = "Sends through Twilio's Messages API",
    hosts = ["api.twilio.com"],
    webhook = "signed",
    receipts = "carrier"
)]
impl Backend for TwilioBackend {
    type Options = TwilioOptions;

    fn new(options: TwilioOptions, host: Host) -> Result<Self, Error> {
        Self::open(options, host)
    }

    async fn send_sms(&self, number: &PhoneNumber, message: &str, _call: &Call) -> Result<Receipt, Error> {
        self.send(number, message).await
    }

    async fn receive(&self, request: &Webhook, _call: &Call) -> Result<Received, Error> {
        webhook::receive(&self.host, &self.secret, request)
    }

    async fn feedback(&self, message_id: &str, converted: bool, _call: &Call) -> Result<(), Error> {
        // An SMS that was sent without ProvideFeedback takes none. The id becomes part of the URL's path.
        if !self.feedback || !message_id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Ok(());
        }
        let outcome = if converted { "confirmed" } else { "unconfirmed" };
        let path = format!("/Messages/{message_id}/Feedback.json");
        let request = self.request("POST", &path).form(&[("Outcome", outcome)]);
        let response = request.send().await?;
        reply::done(response.status(), response.body())
    }

    async fn balance(&self, _call: &Call) -> Result<Money, Error> {
        let response = self.request("GET", "/Balance.json").send().await?;
        reply::balance(response.status(), response.body())
    }
}

/// An address for reports that Twilio would refuse with every SMS is refused at start instead.
fn callback(address: String) -> Result<String, Error> {
    if address.starts_with("https://") || address.starts_with("http://") {
        return Ok(address);
    }
    Err(wrong(
        "option STATUS_CALLBACK must be an address that begins with https:// (or http://)",
    ))
}

#[derive(Debug, PartialEq)]
enum Sender {
    From(String),
    Service(String),
}

impl Sender {
    fn choose(from: Option<String>, service: Option<String>) -> Result<Self, Error> {
        match (from, service) {
            (_, Some(service)) => Ok(Self::Service(service)),
            (Some(from), None) => sender(from.trim()).map(Self::From),
            (None, None) => Err(wrong(
                "option FROM is missing (or MESSAGING_SERVICE_SID in its place)",
            )),
        }
    }

    fn field(&self) -> (&'static str, &str) {
        match self {
            Self::From(from) => ("From", from),
            Self::Service(sid) => ("MessagingServiceSid", sid),
        }
    }
}

/// The most digits of a number (E.164).
const MAX_DIGITS: usize = 15;
/// The most digits of a short code.
const MAX_SHORT_CODE: usize = 8;
/// The most characters of a sender name (GSM 03.40).
const MAX_NAME: usize = 11;

/// The sender in Twilio's form. A number becomes E.164, because people leave out the plus sign in settings; up to eight
/// digits are a short code. A sender that Twilio would refuse with every SMS is refused at start instead. One with a
/// channel, such as `rcs:acme`, is not checked.
fn sender(from: &str) -> Result<String, Error> {
    let digits = from.strip_prefix('+').unwrap_or(from);
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let is_name = (1..=MAX_NAME).contains(&from.chars().count())
        && from.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    if is_number && digits.len() <= MAX_DIGITS {
        let is_short = from.len() <= MAX_SHORT_CODE;
        return Ok(if is_short {
            from.to_owned()
        } else {
            format!("+{digits}")
        });
    }
    if !is_number && (is_name || from.contains(':')) {
        return Ok(from.to_owned());
    }
    Err(wrong(
        "option FROM must be a number of up to 15 digits, a short code, or a name of up to 11 letters and digits",
    ))
}

fn account_url(base_url: &str, sid: &str) -> Result<String, Error> {
    let address = base_url.trim_end_matches('/');
    let host = address
        .strip_prefix("https://")
        .or_else(|| address.strip_prefix("http://"));
    if host.is_none_or(|host| host.is_empty() || host.starts_with('/')) {
        return Err(wrong(
            "option BASE_URL must be an address that begins with https:// (or http://)",
        ));
    }
    // The SID becomes part of the URL's path, so it must hold no character with a meaning there.
    if !sid
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
    {
        return Err(wrong(
            "option SID must be an account SID: AC and 32 letters and digits",
        ));
    }
    Ok(format!("{address}/2010-04-01/Accounts/{sid}"))
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
            ("+15005550006", "+15005550006"),
            ("15005550006", "+15005550006"),
            (" +15005550006 ", "+15005550006"),
            ("12345", "12345"),
            ("PhoneVerify", "PhoneVerify"),
        ] {
            let sender = Sender::choose(Some(given.to_owned()), None).unwrap();
            assert_eq!(sender.field(), ("From", sent));
        }
    }

    #[test]
    fn a_sender_that_the_provider_would_refuse_is_refused_by_name() {
        for wrong in [
            "",
            "Acme Verification Service",
            "AcmeVerifies",
            "1234567890123456",
            "Acmé",
        ] {
            let error = Sender::choose(Some(wrong.to_owned()), None).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.message().contains("FROM"), "{wrong}: {error}");
        }
        let channel = Sender::choose(Some("rcs:acme_verification".into()), None).unwrap();
        assert_eq!(channel.field(), ("From", "rcs:acme_verification"));
    }

    #[test]
    fn a_messaging_service_goes_before_the_sender() {
        let sender = Sender::choose(Some("+15005550006".into()), Some("MG1".into())).unwrap();
        assert_eq!(sender.field(), ("MessagingServiceSid", "MG1"));
    }

    #[test]
    fn one_of_the_two_is_needed() {
        let error = Sender::choose(None, None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.message().contains("FROM is missing"), "{error}");
    }

    #[test]
    fn the_account_is_part_of_the_path() {
        assert_eq!(
            account_url("https://api.twilio.com/", "AC1").unwrap(),
            "https://api.twilio.com/2010-04-01/Accounts/AC1"
        );
    }

    #[test]
    fn what_is_no_address_and_no_sid_is_refused_by_name() {
        for (base_url, sid, option) in [
            ("api.twilio.com", "AC1", "BASE_URL"),
            ("https://", "AC1", "BASE_URL"),
            ("https://api.twilio.com", "AC1/../AC2", "SID"),
            ("https://api.twilio.com", "AC1?x", "SID"),
            ("https://api.twilio.com", "your sid", "SID"),
        ] {
            let error = account_url(base_url, sid).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.message().contains(option), "{error}");
        }
        let error = callback("verify.example".to_owned()).unwrap_err();
        assert!(error.message().contains("STATUS_CALLBACK"), "{error}");
    }
}
