//! Sends an SMS through Acme with `POST {base_url}/messages` and a JSON body. Acme answers 202 with the message's id.

use phone_verify_plugin_api::{
    Backend, Call, Context, DeliveryReport, DeliveryState, Error, ErrorKind, HashAlgorithm, Host, Money,
    Options, PhoneNumber, Receipt, Received, Report, SandboxToken, Secret, Webhook, backend,
    data_encoding::HEXLOWER,
    send_to_each,
    serde_json::{Value, json},
};

/// The `OPTIONS` table of the settings as a struct. Keys are compared without regard to case. The host refuses to start
/// if an option is missing or wrong, and names it.
#[derive(Options)]
pub struct AcmeOptions {
    /// The API key of the account.
    key: Secret,
    /// The sender id.
    #[option(example = "+1232328372987")]
    from: String,
    /// Where Acme listens.
    #[option(default = "https://api.acme.example")]
    base_url: String,
    /// What the sandbox takes for every security code; here so that one table serves both backends.
    #[option(example = "123456")]
    sandbox_token: Option<SandboxToken>,
}

impl AcmeOptions {
    pub(crate) fn sandbox_token(&self) -> Option<&SandboxToken> {
        self.sandbox_token.as_ref()
    }
}

/// Sends through Acme.
pub struct AcmeBackend {
    options: AcmeOptions,
    host: Host,
}

#[backend(
    summary = "Sends through Acme",
    hosts = ["api.acme.example"],
    webhook = "signed",
    receipts = "handset"
)]
impl Backend for AcmeBackend {
    type Options = AcmeOptions;

    fn new(options: AcmeOptions, host: Host) -> Result<Self, Error> {
        Ok(Self { options, host })
    }

    async fn send_sms(&self, number: &PhoneNumber, message: &str, _call: &Call) -> Result<Receipt, Error> {
        let response = self
            .host
            .http()
            .post(&format!(
                "{}/messages",
                self.options.base_url.trim_end_matches('/')
            ))
            .bearer(self.options.key.expose())
            .json(&json!({ "from": self.options.from, "to": number.e164(), "text": message }))
            .send()
            .await?;
        match response.status() {
            202 => {
                let answer: Value = response.json()?;
                Ok(Receipt::new(answer["id"].as_str().unwrap_or_default()))
            }
            422 => Err(Error::new(
                ErrorKind::InvalidNumber,
                "acme_422",
                "Acme does not take this number",
            )),
            429 => {
                let error = Error::from_http_status("acme", 429);
                // Without a wait from the provider, the host uses its own.
                Err(match response.retry_after() {
                    Some(wait) => error.with_retry_after(wait),
                    None => error,
                })
            }
            status => Err(Error::from_http_status("acme", status)),
        }
    }

    /// Optional. Acme has no request for several numbers, so this does what the default does: one request for each.
    async fn send_bulk_sms(
        &self,
        numbers: &[PhoneNumber],
        message: &str,
        report: &Report,
        call: &Call,
    ) -> Result<(), Error> {
        send_to_each(self, numbers, message, report, call).await;
        Ok(())
    }

    /// Optional. Without it, or with `None`, the host uses the `MESSAGE` template of the settings.
    async fn generate_message(
        &self,
        security_code: &str,
        context: &Context,
        _call: &Call,
    ) -> Result<Option<String>, Error> {
        Ok(context
            .get("username")
            .map(|user| format!("Hi {user}, your code is {security_code}.")))
    }

    /// Optional. What is left of the account.
    async fn balance(&self, _call: &Call) -> Result<Money, Error> {
        let url = format!("{}/balance", self.options.base_url.trim_end_matches('/'));
        let request = self.host.http().get(&url).bearer(self.options.key.expose());
        let response = request.send().await?;
        if response.status() != 200 {
            return Err(Error::from_http_status("acme", response.status()));
        }
        let balance: Value = response.json()?;
        let [amount, currency] =
            ["amount", "currency"].map(|name| balance[name].as_str().unwrap_or_default());
        Ok(Money::new(amount, currency))
    }

    /// Optional. Acme reports what became of an SMS as `{"id": "…", "status": "delivered"}`, and signs the body with the
    /// key. Anybody can send such a request, so the signature comes first.
    async fn receive(&self, request: &Webhook, _call: &Call) -> Result<Received, Error> {
        let key = self.options.key.expose().as_bytes();
        let expected = self.host.hmac(HashAlgorithm::Sha256, key, request.body())?;
        let signature = request.header("x-signature").unwrap_or_default();
        if !self.host.equal(HEXLOWER.encode(&expected), signature) {
            return Ok(Received::forbidden());
        }
        let report: Value = request.json().unwrap_or_default();
        let state = match report["status"].as_str() {
            Some("sent") => DeliveryState::Sent,
            Some("delivered") => DeliveryState::Delivered,
            Some("failed") => DeliveryState::Undelivered,
            _ => return Ok(Received::new(400)),
        };
        match report["id"].as_str() {
            Some(id) if !id.is_empty() => Ok(Received::reports([DeliveryReport::new(id, state)])),
            _ => Ok(Received::new(400)),
        }
    }
}
