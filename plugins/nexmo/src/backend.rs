//! `nexmo.NexmoBackend`: sends each SMS with one form-encoded `POST /sms/json`. The HTTP status alone never counts as a
//! success: see [`crate::reply`].

use phone_verify_plugin_api::{
    Backend, Call, Error, ErrorKind, Host, Money, Options, PhoneNumber, Receipt, Received, Secret, Webhook,
    backend, is_gsm,
};

use crate::{
    reply,
    webhook::{self, SignatureMethod},
};

/// The `OPTIONS` of `nexmo.NexmoBackend`.
#[derive(Options)]
pub struct NexmoOptions {
    /// The API key of the account.
    #[option(example = "a1b2c3d4")]
    pub key: Secret,
    /// The API secret of the account.
    pub secret: Secret,
    /// The sender: a number, or a name of up to 11 letters and digits where the country allows names.
    #[option(example = "+1232328372987")]
    pub from: String,
    /// Where the provider reports what became of an SMS, at most 100 characters; without it, at the address in the
    /// account's settings.
    #[option(example = "https://verify.example/v1/receipts/default/0123456789abcdef")]
    pub callback: Option<String>,
    /// The signature secret of the account. With it, a report without the right signature is refused.
    pub signature_secret: Option<Secret>,
    /// How the account signs: `md5hash`, or HMAC with `md5`, `sha1`, `sha256` or `sha512`.
    #[option(default = "md5hash")]
    pub signature_method: String,
    /// Where the provider listens; a proxy or a test names another address.
    #[option(default = "https://rest.nexmo.com")]
    pub base_url: String,
}

/// Sends each SMS through the Nexmo SMS API.
pub struct NexmoBackend {
    key: Secret,
    secret: Secret,
    from: String,
    callback: Option<String>,
    signature: Option<(Secret, SignatureMethod)>,
    /// Without a slash at its end.
    base_url: String,
    host: Host,
}

impl NexmoBackend {
    pub(crate) fn open(options: NexmoOptions, host: Host) -> Result<Self, Error> {
        Ok(Self {
            base_url: address(&options.base_url)?.to_owned(),
            from: sender(&options.from)?.to_owned(),
            callback: options.callback.map(callback).transpose()?,
            signature: signature(options.signature_secret, &options.signature_method)?,
            key: options.key,
            secret: options.secret,
            host,
        })
    }

    pub(crate) async fn send(&self, number: &PhoneNumber, message: &str) -> Result<Receipt, Error> {
        let mut form = vec![
            ("api_key", self.key.expose()),
            ("api_secret", self.secret.expose()),
            ("from", &self.from),
            ("to", number.digits()),
            ("text", message),
        ];
        if !is_gsm(message) {
            // Without this, the provider replaces characters that its default alphabet lacks.
            form.push(("type", "unicode"));
        }
        if let Some(callback) = &self.callback {
            form.push(("callback", callback));
        }
        let url = format!("{}/sms/json", self.base_url);
        let response = self.host.http().post(&url).form(&form).send().await?;
        reply::read(response.status(), response.retry_after(), response.body())
    }
}

#[backend(
    summary = "Sends through the Nexmo (Vonage) SMS API",
    hosts = ["rest.nexmo.com"],
    webhook = "secret",
    receipts = "carrier"
)]
impl Backend for NexmoBackend {
    type Options = NexmoOptions;

    fn new(options: NexmoOptions, host: Host) -> Result<Self, Error> {
        Self::open(options, host)
    }

    async fn send_sms(&self, number: &PhoneNumber, message: &str, _call: &Call) -> Result<Receipt, Error> {
        self.send(number, message).await
    }

    async fn receive(&self, request: &Webhook, _call: &Call) -> Result<Received, Error> {
        let signed = self.signature.as_ref().map(|(secret, method)| (secret, *method));
        webhook::receive(&self.host, signed, request)
    }

    async fn balance(&self, _call: &Call) -> Result<Money, Error> {
        let http = self.host.http();
        let request = http.get(&format!("{}/account/get-balance", self.base_url));
        // In a header, since a URL is kept in logs.
        let request = request.basic_auth(self.key.expose(), self.secret.expose());
        let response = request.send().await?;
        reply::balance(response.status(), response.body())
    }
}

/// An address for reports that the provider would refuse with every SMS is refused at start instead.
fn callback(address: String) -> Result<String, Error> {
    const MAX_CALLBACK: usize = 100;
    let is_address = address.starts_with("https://") || address.starts_with("http://");
    if is_address && address.len() <= MAX_CALLBACK {
        return Ok(address);
    }
    Err(wrong(
        "option CALLBACK must be an address that begins with https:// (or http://), of at most 100 characters",
    ))
}

fn signature(secret: Option<Secret>, method: &str) -> Result<Option<(Secret, SignatureMethod)>, Error> {
    let method = SignatureMethod::parse(method).ok_or_else(|| {
        wrong("option SIGNATURE_METHOD must be md5hash, md5, sha1, sha256 or sha512, as in the account's settings")
    })?;
    Ok(secret.map(|secret| (secret, method)))
}

fn wrong(sentence: &str) -> Error {
    Error::new(ErrorKind::Config, "options", sentence)
}

fn address(base_url: &str) -> Result<&str, Error> {
    let address = base_url.trim_end_matches('/');
    let host = address
        .strip_prefix("https://")
        .or_else(|| address.strip_prefix("http://"));
    match host {
        Some(host) if !host.is_empty() && !host.starts_with('/') => Ok(address),
        _ => Err(wrong(
            "option BASE_URL must be an address that begins with https:// (or http://)",
        )),
    }
}

/// The most digits of a number (E.164).
const MAX_DIGITS: usize = 15;
/// The most characters of a sender name (GSM 03.40).
const MAX_NAME: usize = 11;

/// The sender in the provider's form: a number without its plus sign. A sender that the provider would refuse with
/// every SMS is refused at start instead.
fn sender(from: &str) -> Result<&str, Error> {
    let from = from.trim();
    let digits = from.strip_prefix('+').unwrap_or(from);
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        if digits.len() <= MAX_DIGITS {
            return Ok(digits);
        }
    } else if (1..=MAX_NAME).contains(&from.chars().count())
        && from.bytes().all(|byte| (b' '..=b'~').contains(&byte))
    {
        return Ok(from);
    }
    Err(wrong(
        "option FROM must be a number of up to 15 digits, or a name of up to 11 letters and digits",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sender_number_loses_its_plus_sign_and_a_name_stays() {
        assert_eq!(sender("+1232328372987").unwrap(), "1232328372987");
        assert_eq!(sender(" 1232328372987").unwrap(), "1232328372987");
        assert_eq!(sender("Acme+").unwrap(), "Acme+");
        assert_eq!(sender("+Acme").unwrap(), "+Acme");
        assert_eq!(sender("12345").unwrap(), "12345", "a short code");
    }

    #[test]
    fn a_sender_that_the_provider_would_refuse_is_refused_by_name() {
        for wrong in [
            "",
            " ",
            "Acme Verification Service",
            "AcmeVerifies",
            "1234567890123456",
            "Acmé",
            "Ac\nme",
        ] {
            let error = sender(wrong).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.message().contains("FROM"), "{wrong}: {error}");
        }
    }

    #[test]
    fn the_base_url_may_end_in_a_slash_and_keeps_its_path() {
        assert_eq!(
            address("https://rest.nexmo.com").unwrap(),
            "https://rest.nexmo.com"
        );
        assert_eq!(
            address("http://127.0.0.1:9/proxy/").unwrap(),
            "http://127.0.0.1:9/proxy"
        );
    }

    #[test]
    fn a_base_url_that_is_no_address_is_refused_by_name() {
        for wrong in ["rest.nexmo.com", "ftp://rest.nexmo.com", "https://", "https:///x"] {
            let error = address(wrong).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.message().contains("BASE_URL"), "{wrong}: {error}");
        }
    }

    #[test]
    fn what_cannot_be_right_for_reports_is_refused_by_name() {
        for wrong in [
            "verify.example",
            &format!("https://verify.example/{}", "x".repeat(100)),
        ] {
            let error = callback(wrong.to_owned()).unwrap_err();
            assert!(error.message().contains("CALLBACK"), "{error}");
        }
        let error = signature(None, "crc32").unwrap_err();
        assert!(error.message().contains("SIGNATURE_METHOD"), "{error}");
        assert!(signature(None, "md5hash").unwrap().is_none());
    }
}
