//! A backend that misbehaves in every way that the host must survive. What it does is told by the message's first
//! word; without one it behaves.

mod attacks;
#[cfg(target_os = "linux")]
mod system;
mod vices;

use std::{
    future::{Future, poll_fn},
    sync::atomic::{AtomicU32, Ordering},
    task::Poll,
    time::Duration,
};

use phone_verify_plugin_api::{
    Backend, Call, Context, Error, ErrorKind, Host, LogLevel, Options, PhoneNumber, Receipt, Report, Secret,
    Verdict, backend, export_backends,
};

/// The code by which a test's base says that this is the first try.
const FIRST_TRY: &str = "000001";

/// What can be chosen.
#[derive(Options)]
pub struct VillainOptions {
    /// What the constructor does: `panic`, `refuse`, an attack or nothing.
    #[option(default = "behave")]
    constructor: String,
    /// What the destructor does: `panic`, an attack or nothing.
    #[option(default = "behave")]
    destructor: String,
    /// A secret that it talks about.
    secret: Option<Secret>,
    /// The security code that it makes, and talks about; without it the base makes one.
    code: Option<String>,
    /// Whether it prints that code, too.
    #[option(default = false)]
    prints: bool,
    /// Where it may send requests to.
    base_url: Option<String>,
}

/// Misbehaves.
pub struct VillainBackend {
    options: VillainOptions,
    host: Host,
    sent: AtomicU32,
}

struct PanicsInDrop;

impl Drop for PanicsInDrop {
    fn drop(&mut self) {
        panic!("in a drop");
    }
}

impl Drop for VillainBackend {
    fn drop(&mut self) {
        match self.options.destructor.as_str() {
            "panic" => panic!("in the destructor"),
            "behave" => {}
            attack => attacks::attack(attack),
        }
    }
}

impl VillainBackend {
    fn secret(&self) -> &str {
        self.options.secret.as_ref().map_or("none", Secret::expose)
    }

    /// All that must never be shown, in one sentence.
    fn gossip(&self, number: &PhoneNumber, message: &str) -> String {
        format!("told {} {message:?} with {}", number.e164(), self.secret())
    }

    /// Makes so many requests at once, and does not go on before all are answered.
    async fn ask_for_much(&self, requests: usize, bytes: usize) {
        let url = format!("{}/sms", self.options.base_url.as_deref().unwrap_or_default());
        let body = vec![b'x'; bytes];
        let mut requests: Vec<_> = (0..requests)
            .map(|_| Box::pin(self.host.http().post(&url).body(body.clone()).send()))
            .collect();
        poll_fn(|context| {
            requests.retain_mut(|request| request.as_mut().poll(context).is_pending());
            if requests.is_empty() {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }

    /// A path stands for one below `base_url`.
    async fn fetch(&self, url: &str) -> Result<Receipt, Error> {
        let base_url = self.options.base_url.as_deref().filter(|_| url.starts_with('/'));
        let response = self
            .host
            .http()
            .post(&format!("{}{url}", base_url.unwrap_or_default()))
            .bearer(self.secret())
            .form(&[("to", "me")])
            .send()
            .await?;
        Ok(Receipt::new(format!(
            "{} {}",
            response.status(),
            String::from_utf8_lossy(response.body())
        )))
    }
}

#[backend(summary = "Misbehaves", hosts = ["127.0.0.1", "localhost"], sandbox)]
impl Backend for VillainBackend {
    type Options = VillainOptions;

    fn new(options: VillainOptions, host: Host) -> Result<Self, Error> {
        match options.constructor.as_str() {
            "panic" => panic!("in the constructor"),
            "refuse" => {
                let secret = options.secret.as_ref().map_or("none", Secret::expose);
                // With a code that is for the host to give.
                return Err(Error::new(
                    ErrorKind::Config,
                    "P507",
                    format!("{secret} is not a key"),
                ));
            }
            "behave" => {}
            attack => attacks::attack(attack),
        }
        Ok(Self {
            options,
            host,
            sent: AtomicU32::new(0),
        })
    }

    async fn send_sms(&self, number: &PhoneNumber, message: &str, call: &Call) -> Result<Receipt, Error> {
        let (what, rest) = message.split_once(' ').unwrap_or((message, ""));
        match what {
            "panic" => panic!("in a call, {}", self.gossip(number, message)),
            "panic-later" => {
                self.host.sleep(Duration::from_millis(1)).await;
                panic!("in a poll");
            }
            "panic-when-dropped" => {
                let _held = PanicsInDrop;
                self.host.sleep(Duration::from_secs(3600)).await;
            }
            "hang" => std::future::pending().await,
            "block" => std::thread::sleep(Duration::from_millis(60)),
            "nonsense" => return Ok(Receipt::new("x".repeat(100_000))),
            "gossip" => {
                let gossip = self.gossip(number, message);
                self.host
                    .log_with(LogLevel::Warn, &gossip, &[("gossip", &gossip)]);
                return Err(Error::new(ErrorKind::ContentRejected, "gossip\n", gossip));
            }
            "fetch" => return self.fetch(rest).await,
            "attack" => attacks::attack(rest.split(' ').next().unwrap_or_default()),
            // An attack after the provider has it, and one that the next try does not meet again.
            "fetch-then" => {
                self.fetch("/sms").await?;
                attacks::attack(rest);
            }
            "once" => {
                if call.base().generate_security_code()? == FIRST_TRY {
                    attacks::attack(rest);
                }
                return self.fetch("/sms").await;
            }
            "stumble" => return Err(Error::new(ErrorKind::Internal, "stumbled", attacks::escape(rest))),
            "try" => return Ok(Receipt::new(attacks::escape(rest))),
            "flood-log" => {
                for line in 0..100_000 {
                    self.host.log(
                        LogLevel::Error,
                        &format!("line {line}: {}", self.gossip(number, message)),
                    );
                }
            }
            "flood-for-ever" => loop {
                self.host.log(LogLevel::Error, "a line of a flood");
            },
            "hoard" => self.ask_for_much(200, 1 << 20).await,
            "crowd" => self.ask_for_much(200, 0).await,
            "print" => {
                println!("{}", self.gossip(number, message));
                attacks::attack(rest.split(' ').next().unwrap_or_default());
            }
            // Ends long after this call does.
            "mutter" => print!("{message}"),
            "late" => self.host.sleep(call.time_left() + Duration::from_secs(1)).await,
            "left" => return Ok(Receipt::new(call.time_left().as_millis().to_string())),
            "names" => {
                return Ok(Receipt::new(format!(
                    "{} {:?} {:?}",
                    call.request_id(),
                    call.idempotency_key(),
                    call.locale()
                )));
            }
            _ => {}
        }
        let sent = self.sent.fetch_add(1, Ordering::Relaxed) + 1;
        Ok(Receipt::new(format!("sms-{sent}")))
    }

    async fn send_bulk_sms(
        &self,
        numbers: &[PhoneNumber],
        message: &str,
        report: &Report,
        _call: &Call,
    ) -> Result<(), Error> {
        for index in (0..numbers.len()).step_by(2) {
            report.settle(index, Ok(Receipt::new(format!("sms-{index}"))));
            report.settle(index, Err(Error::new(ErrorKind::Internal, "twice", "twice")));
        }
        report.settle(
            numbers.len(),
            Err(Error::new(ErrorKind::Internal, "beyond", "beyond")),
        );
        match message {
            "fail" => Err(Error::new(ErrorKind::NoCredit, "broke", "no credit left")),
            "panic" => panic!("in a bulk call"),
            _ => Ok(()),
        }
    }

    async fn generate_security_code(&self, call: &Call) -> Result<String, Error> {
        match &self.options.code {
            Some(code) => {
                if self.options.prints {
                    println!("printed when made: {code}");
                }
                self.host.log_with(
                    LogLevel::Warn,
                    &format!("logged when made: {code}"),
                    &[("code", code)],
                );
                Ok(code.clone())
            }
            None => call.base().generate_security_code(),
        }
    }

    async fn generate_message(
        &self,
        security_code: &str,
        context: &Context,
        call: &Call,
    ) -> Result<Option<String>, Error> {
        match context.get("as") {
            Some("nonsense") => Ok(Some("\u{7}".to_owned())),
            Some(greeting) => {
                let base = call.base().generate_message(security_code)?;
                Ok(Some(format!("{greeting}! {base}")))
            }
            None => Ok(None),
        }
    }

    async fn validate_security_code(
        &self,
        security_code: &str,
        _phone_number: &PhoneNumber,
        _session_token: &str,
        call: &Call,
    ) -> Result<Verdict, Error> {
        match security_code {
            "open-sesame" => Ok(Verdict::Valid),
            "panic" => panic!("in a check of {security_code}"),
            code => call.base().validate_security_code(code).await,
        }
    }
}

export_backends!(VillainBackend, vices::ViciousBackend, vices::CarelessBackend);
