//! `nexmo.NexmoBackend`: sends each SMS with one form-encoded `POST /sms/json`. The HTTP status alone never counts as a
//! success: see [`crate::reply`].

use phone_verify_plugin_api::{
    Backend, Call, Error, ErrorKind, Host, Options, PhoneNumber, Receipt, Secret, backend, is_gsm,
};

use crate::reply;

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
    /// Where the provider listens; a proxy or a test names another address.
    #[option(default = "https://rest.nexmo.com")]
    pub base_url: String,
}

/// Sends each SMS through the Nexmo SMS API.
pub struct NexmoBackend {
    key: Secret,
    secret: Secret,
    from: String,
    url: String,
    host: Host,
}

impl NexmoBackend {
    pub(crate) fn open(options: NexmoOptions, host: Host) -> Result<Self, Error> {
        Ok(Self {
            url: send_url(&options.base_url)?,
            from: sender(&options.from)?.to_owned(),
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
        let response = self.host.http().post(&self.url).form(&form).send().await?;
        reply::read(response.status(), response.retry_after(), response.body())
    }
}

#[backend(summary = "Sends through the Nexmo (Vonage) SMS API", hosts = ["rest.nexmo.com"])]
impl Backend for NexmoBackend {
    type Options = NexmoOptions;

    fn new(options: NexmoOptions, host: Host) -> Result<Self, Error> {
        Self::open(options, host)
    }

    async fn send_sms(&self, number: &PhoneNumber, message: &str, _call: &Call) -> Result<Receipt, Error> {
        self.send(number, message).await
    }
}

fn send_url(base_url: &str) -> Result<String, Error> {
    let address = base_url.trim_end_matches('/');
    let host = address
        .strip_prefix("https://")
        .or_else(|| address.strip_prefix("http://"));
    match host {
        Some(host) if !host.is_empty() && !host.starts_with('/') => Ok(format!("{address}/sms/json")),
        _ => Err(Error::new(
            ErrorKind::Config,
            "options",
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
    Err(Error::new(
        ErrorKind::Config,
        "options",
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
            send_url("https://rest.nexmo.com").unwrap(),
            "https://rest.nexmo.com/sms/json"
        );
        assert_eq!(
            send_url("http://127.0.0.1:9/proxy/").unwrap(),
            "http://127.0.0.1:9/proxy/sms/json"
        );
    }

    #[test]
    fn a_base_url_that_is_no_address_is_refused_by_name() {
        for wrong in ["rest.nexmo.com", "ftp://rest.nexmo.com", "https://", "https:///x"] {
            let error = send_url(wrong).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.message().contains("BASE_URL"), "{wrong}: {error}");
        }
    }
}
