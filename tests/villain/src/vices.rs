//! A backend that sends as it should but for one vice, and one whose options are careless: for the conformance checks,
//! each of which must find somebody to fail.

use std::{
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    time::Duration,
};

use phone_verify_plugin_api::{
    Backend, Call, Context, DeliveryReport, DeliveryState, Error, ErrorKind, HashAlgorithm, Host, LogLevel,
    Money, OptionValue, Options, PhoneNumber, Receipt, Received, Report, Response, Secret, Verdict, Webhook,
    backend,
    data_encoding::HEXLOWER,
    serde_json::{Value, json},
};

use crate::attacks;

/// How often anything was sent in this process.
static SENT: AtomicU32 = AtomicU32::new(0);

/// What can be chosen.
#[derive(Options)]
pub(crate) struct ViciousOptions {
    /// The vice.
    #[option(default = "none")]
    vice: String,
    /// The API key.
    key: Secret,
    /// The sender.
    #[option(example = "+1232328372987")]
    from: String,
    /// Something that may be left out.
    #[option(example = "more")]
    extra: Option<String>,
    /// Where the provider listens.
    #[option(default = "https://api.vicious.example")]
    base_url: String,
}

/// Sends, but for its vice.
pub(crate) struct ViciousBackend {
    options: ViciousOptions,
    host: Host,
    is_busy: AtomicBool,
    has_failed: AtomicBool,
}

impl ViciousBackend {
    fn has(&self, vice: &str) -> bool {
        self.options.vice == vice
    }

    /// What the vice does to the process and to others before an SMS is sent.
    fn misbehave(&self) -> Result<(), Error> {
        match self.options.vice.as_str() {
            "abort" | "exit" | "spin" | "flood-for-ever" => attacks::attack(&self.options.vice),
            "block" => std::thread::sleep(Duration::from_millis(60)),
            "leak" => std::mem::forget(vec![1_u8; 4096]),
            "print" => println!("an SMS is sent"),
            // It works, and leaves nothing behind: only a sandbox minds.
            "thread-joined" => {
                let started = std::thread::Builder::new().spawn(|| ());
                let thread = started
                    .map_err(|error| Error::new(ErrorKind::Transient, "no_thread", error.to_string()))?;
                drop(thread.join());
            }
            "file-closed" => {
                std::fs::read("/proc/self/stat")
                    .map_err(|error| Error::new(ErrorKind::Transient, "no_file", error.to_string()))?;
            }
            "child" => {
                let ended = std::process::Command::new("true").status();
                ended.map_err(|error| Error::new(ErrorKind::Transient, "no_child", error.to_string()))?;
            }
            "thread" => drop(std::thread::spawn(|| std::thread::sleep(Duration::from_secs(60)))),
            "file" => {
                let opened = std::fs::File::open("/dev/null");
                std::mem::forget(
                    opened.map_err(|error| Error::new(ErrorKind::Transient, "no_file", error.to_string()))?,
                );
            }
            "chatty" => (0..50).for_each(|line| self.host.log(LogLevel::Info, &format!("line {line}"))),
            "secret-in-log" => self.host.log(LogLevel::Info, self.options.key.expose()),
            "sulks" if self.has_failed.load(Ordering::SeqCst) => {
                return Err(Error::new(ErrorKind::Transient, "sulks", "something failed once"));
            }
            _ => {}
        }
        Ok(())
    }

    /// Takes a lock that is lost when the call is dropped.
    fn lock(&self) -> Result<(), Error> {
        if self.has("locks") && self.is_busy.swap(true, Ordering::SeqCst) {
            return Err(Error::new(
                ErrorKind::Transient,
                "busy",
                "another call is under way",
            ));
        }
        Ok(())
    }

    fn unlock(&self) {
        self.is_busy.store(false, Ordering::SeqCst);
    }

    async fn request(&self, number: &str, message: &str) -> Result<Receipt, Error> {
        let options = &self.options;
        let url = match options.vice.as_str() {
            "elsewhere" => "https://elsewhere.example/messages".to_owned(),
            "secret-in-url" => format!("{}/messages?key={}", options.base_url, options.key.expose()),
            _ => format!("{}/messages", options.base_url),
        };
        let from = match std::env::var("FROM") {
            Ok(from) if self.has("environment") => from,
            _ => options.from.clone(),
        };
        let number = if self.has("cut-numbers") {
            number.get(..9).unwrap_or(number)
        } else {
            number
        };
        let message: String = match options.vice.as_str() {
            "ascii" => message.replace(|character: char| !character.is_ascii(), "?"),
            "cut-texts" => message
                .split(['\0', '\u{7f}'])
                .next()
                .unwrap_or_default()
                .chars()
                .take(1000)
                .collect(),
            _ => message.to_owned(),
        };
        let http = self.host.http();
        let mut request = http.post(&url).bearer(options.key.expose());
        if self.has("counts") {
            let sent = SENT.fetch_add(1, Ordering::SeqCst);
            request = request.header("x-count", &sent.to_string());
        }
        if self.has("impatient") {
            request = request.timeout(Duration::from_millis(50));
        }
        let request = if self.has("raw-form") {
            request.body(format!("from={from}&to={number}&text={message}"))
        } else {
            request.json(&json!({ "from": from, "to": number, "text": message }))
        };
        let response = request.send().await?;
        self.read(&response)
    }

    fn read(&self, response: &Response) -> Result<Receipt, Error> {
        match self.options.vice.as_str() {
            "all-sent" => return Ok(Receipt::new("vicious-1")),
            // What the provider's documents say, which is not what these statuses usually mean.
            "documented" => match response.status() {
                401 | 403 => return Err(Error::new(ErrorKind::Throttled, "vicious_geo", "too fast")),
                404 => return Err(Error::new(ErrorKind::Transient, "vicious_404", "later")),
                429 => return Err(Error::new(ErrorKind::NoCredit, "vicious_429", "nothing is left")),
                _ => {}
            },
            "recursive" => drop(depth(response.body())),
            "wait-panics" if response.status() == 429 => {
                let wait: u64 = response
                    .header("retry-after")
                    .unwrap_or("0")
                    .parse()
                    .expect("a number");
                return Err(
                    Error::from_http_status("vicious", 429).with_retry_after(Duration::from_secs(wait))
                );
            }
            _ => {}
        }
        match response.status() {
            202 => {
                let answer: Value = response.json()?;
                let id = answer["id"].as_str().ok_or_else(|| {
                    Error::new(
                        ErrorKind::OutcomeUnknown,
                        "unreadable_answer",
                        "the answer names no message",
                    )
                })?;
                Ok(Receipt::new(if self.has("wrong-id") { "another" } else { id }))
            }
            422 => Err(Error::new(
                ErrorKind::InvalidNumber,
                "vicious_422",
                "no such number",
            )),
            status => {
                let error = Error::from_http_status("vicious", status);
                match response.retry_after() {
                    Some(wait) if !self.has("no-wait") => Err(error.with_retry_after(wait)),
                    _ => Err(error),
                }
            }
        }
    }

    /// What the vice makes of an error.
    fn told(&self, error: Error) -> Error {
        self.has_failed.store(true, Ordering::SeqCst);
        let kind = match self.options.vice.as_str() {
            "all-transient" => ErrorKind::Transient,
            "all-internal" => ErrorKind::Internal,
            "secret-in-error" => {
                let message = format!("{error} with {}", self.options.key.expose());
                return Error::new(error.kind(), error.code(), message);
            }
            _ => return error,
        };
        Error::new(kind, error.code(), error.message())
    }

    async fn send(&self, number: &str, message: &str) -> Result<Receipt, Error> {
        if self.has("hangs") {
            std::future::pending::<()>().await;
        }
        self.misbehave()?;
        self.lock()?;
        let sent = self.request(number, message).await;
        let sent = match sent {
            Ok(_) if self.has("twice") => self.request(number, message).await,
            Err(_) if self.has("retries") => self.request(number, message).await,
            sent => sent,
        };
        self.unlock();
        sent.map_err(|error| self.told(error))
    }
}

impl ViciousBackend {
    /// No vice: one request for all numbers, as providers with a call for many have it. What is refused as a whole is
    /// sent one by one.
    async fn send_at_once(
        &self,
        numbers: &[PhoneNumber],
        message: &str,
        report: &Report,
    ) -> Result<(), Error> {
        let all: Vec<&str> = numbers.iter().map(PhoneNumber::e164).collect();
        let response = self
            .host
            .http()
            .post(&format!("{}/bulk", self.options.base_url))
            .bearer(self.options.key.expose())
            .json(&json!({ "from": self.options.from, "to": all, "text": message }))
            .send()
            .await?;
        if response.status() != 202 {
            for (index, number) in numbers.iter().enumerate() {
                report.settle(index, self.send(number.e164(), message).await);
            }
            return Ok(());
        }
        let answer: Value = response.json()?;
        for (index, number) in numbers.iter().enumerate() {
            let entries = answer["messages"].as_array().into_iter().flatten();
            let is_its = |entry: &&Value| entry["to"].as_str() == Some(number.e164().trim_start_matches('+'));
            let refused = || Error::new(ErrorKind::InvalidNumber, "vicious_7", "no such number");
            let entry = match answer["id"].as_str() {
                Some(id) => Some(id),
                None => entries.filter(is_its).find_map(|entry| entry["id"].as_str()),
            };
            report.settle(index, entry.map(Receipt::new).ok_or_else(refused));
        }
        Ok(())
    }
}

/// How deep the brackets are nested, by a function that calls itself.
fn depth(text: &[u8]) -> usize {
    match text {
        [b'[', rest @ ..] => std::hint::black_box([1_usize; 16])[0] + depth(rest),
        _ => 0,
    }
}

#[backend(
    summary = "Sends as it should, but for one vice",
    hosts = ["api.vicious.example"],
    webhook = "signed",
    receipts = "carrier"
)]
impl Backend for ViciousBackend {
    type Options = ViciousOptions;

    fn new(options: ViciousOptions, host: Host) -> Result<Self, Error> {
        let wrong = |why: &str| Error::new(ErrorKind::Config, "options", why);
        match options.vice.as_str() {
            "refuses" => return Err(wrong("not today")),
            "slow-constructor" => std::thread::sleep(Duration::from_millis(300)),
            "leaks-itself" => std::mem::forget(vec![1_u8; 64 * 1024]),
            "needs-extra" if options.extra.is_none() => return Err(wrong("something is missing")),
            "picky" if options.from.len() > 1000 => return Err(wrong("that is too long")),
            "tells-secret" if options.from == "wrong" => {
                return Err(wrong(&format!(
                    "option FROM does not go with {}",
                    options.key.expose()
                )));
            }
            _ => {}
        }
        Ok(Self {
            options,
            host,
            is_busy: AtomicBool::new(false),
            has_failed: AtomicBool::new(false),
        })
    }

    async fn send_sms(&self, number: &PhoneNumber, message: &str, _call: &Call) -> Result<Receipt, Error> {
        self.send(number.e164(), message).await
    }

    async fn send_bulk_sms(
        &self,
        numbers: &[PhoneNumber],
        message: &str,
        report: &Report,
        _call: &Call,
    ) -> Result<(), Error> {
        if self.has("native-bulk") {
            return self.send_at_once(numbers, message, report).await;
        }
        let at_most = if self.has("tires") { 100 } else { usize::MAX };
        for (index, number) in numbers.iter().enumerate().take(at_most) {
            let sent = self.send(number.e164(), message).await;
            let has_failed = sent.is_err();
            let is_refused_itself = matches!(&sent, Err(error) if error.kind() == ErrorKind::AuthFailed);
            report.settle(index, sent);
            // No vice: what a provider says of the account is true of all numbers.
            if self.has("heeds") && is_refused_itself {
                for later in index + 1..numbers.len() {
                    let error = Error::new(ErrorKind::AuthFailed, "401", "the key is wrong");
                    report.settle(later, Err(error));
                }
                break;
            }
            if self.has("reports-twice") {
                report.settle(index, Ok(Receipt::without_id()));
            }
            if self.has("gives-up") && has_failed {
                break;
            }
        }
        Ok(())
    }

    async fn generate_security_code(&self, call: &Call) -> Result<String, Error> {
        self.lock()?;
        self.host.sleep(Duration::from_millis(1)).await;
        self.unlock();
        if self.has("fixed-code") {
            return Ok("123456".to_owned());
        }
        call.base().generate_security_code()
    }

    async fn generate_message(
        &self,
        security_code: &str,
        context: &Context,
        _call: &Call,
    ) -> Result<Option<String>, Error> {
        match (self.options.vice.as_str(), context.get("username")) {
            ("codeless", _) => Ok(Some("Here is your code.".to_owned())),
            ("context-panics", Some(user)) if user.contains('{') => panic!("no such field in {user:?}"),
            (_, Some(user)) => Ok(Some(format!("Hi {user}, your code is {security_code}."))),
            (_, None) => Ok(None),
        }
    }

    async fn validate_security_code(
        &self,
        security_code: &str,
        _phone_number: &PhoneNumber,
        _session_token: &str,
        call: &Call,
    ) -> Result<Verdict, Error> {
        match self.options.vice.as_str() {
            "always-valid" => Ok(Verdict::Valid),
            "never-valid" => Ok(Verdict::Invalid),
            _ => call.base().validate_security_code(security_code).await,
        }
    }

    async fn receive(&self, request: &Webhook, _call: &Call) -> Result<Received, Error> {
        let key = self.options.key.expose().as_bytes();
        let expected = self.host.hmac(HashAlgorithm::Sha256, key, request.body())?;
        let signature = request.header("x-signature").unwrap_or_default();
        let is_genuine = self.host.equal(HEXLOWER.encode(&expected), signature);
        let report = |id: &str| Received::reports([DeliveryReport::new(id, DeliveryState::Delivered)]);
        match request.json::<Value>() {
            _ if self.has("loses-reports") => Ok(Received::new(200)),
            _ if self.has("invents-reports") && request.body().is_empty() => Ok(report("invented")),
            _ if !is_genuine && !self.has("believes-all") => Ok(Received::forbidden()),
            Some(body) => match body["id"].as_str() {
                Some(id) if !id.is_empty() => Ok(report(id)),
                _ => Ok(Received::new(400)),
            },
            None => Ok(Received::new(400)),
        }
    }

    async fn balance(&self, _call: &Call) -> Result<Money, Error> {
        if self.has("poor") {
            return Err(Error::new(
                ErrorKind::Internal,
                "poor",
                "there is nothing to tell",
            ));
        }
        Ok(Money::new("7", "EUR"))
    }
}

/// An option that takes everything.
struct Anything;

impl OptionValue for Anything {
    const TYPE: &'static str = "anything";

    fn from_json(_value: &Value) -> Result<Self, String> {
        Ok(Self)
    }
}

/// Options that are easily mistaken.
#[derive(Options)]
pub(crate) struct CarelessOptions {
    /// One letter less than the other.
    #[option(example = "a")]
    tag: Option<String>,
    /// One letter more than the other.
    #[option(example = "b")]
    tagg: Option<String>,
    /// In upper case this is another word.
    #[option(name = "Maß", example = "c")]
    size: Option<String>,
    /// Takes whatever is given.
    shape: Option<Anything>,
}

/// Takes options carelessly.
pub(crate) struct CarelessBackend;

#[backend(summary = "Takes options carelessly", sandbox)]
impl Backend for CarelessBackend {
    type Options = CarelessOptions;

    fn new(options: CarelessOptions, _host: Host) -> Result<Self, Error> {
        let CarelessOptions {
            tag,
            tagg,
            size,
            shape,
        } = options;
        drop((tag, tagg, size, shape));
        Ok(Self)
    }

    async fn send_sms(&self, _number: &PhoneNumber, _message: &str, _call: &Call) -> Result<Receipt, Error> {
        Ok(Receipt::without_id())
    }
}
