//! A loaded backend: its calls, through the ABI and back.
//!
//! Invariant: a backend that panics, hangs or answers nonsense costs that call, never the caller.

use std::{fmt, sync::Arc, time::Duration};

use futures_util::StreamExt;
use phone_verify_plugin_abi::{
    BackendObj, CallObj, Ext, RawBulk, RawCancel, RawCheck, RawError, RawExtension, RawFeedback,
    RawHttpRequest, RawMessageRequest, RawSms,
    abi_stable::std_types::{RResult, RString, RVec, Tuple2},
    async_ffi::BorrowingFfiFuture,
    error_flag, overrides,
};
use serde_json::{Map, Value};

use super::{
    BackendName, Call, Settled,
    bounded::{Ended, bounded},
    convert,
    instance::{CONSTRUCTION_LIMIT, Instance, NotConstructed},
    isolation::IsolationMode,
    preflight::{BackendInfo, Candidate, Manifest},
    services::{
        Services,
        call::{ActiveCall, PrivateTexts},
        inline::report_object,
        report::Reported,
    },
};
use crate::{
    model::{
        Currency, FailureClass, IncomingRequest, Origin, PhoneNumber, Receipt, ReceiptAnswer, ReceiptKind,
        SecurityCode, SendFailure, SessionToken, TakesReceipts, Verdict,
    },
    trace::{TRACEPARENT, Trace},
};

/// The ABI's bound on the numbers of one bulk call.
const MAX_BULK_NUMBERS: usize = 1000;
/// How many numbers are sent to at once when the backend does not do it itself.
const BULK_CONCURRENCY: usize = 8;

/// A loaded, constructed backend.
pub struct Backend {
    name: String,
    version: String,
    abi: String,
    sha256: String,
    signer: Option<String>,
    newer_abi: Option<String>,
    place: IsolationMode,
    info: BackendInfo,
    instance: Arc<Instance>,
    services: Arc<Services>,
}

impl Backend {
    pub(super) fn new(
        name: &BackendName,
        library: &Manifest,
        place: IsolationMode,
        info: BackendInfo,
        instance: Instance,
        services: Arc<Services>,
    ) -> Self {
        Self {
            name: name.to_string(),
            version: library.version.clone(),
            abi: library.abi.to_string(),
            sha256: String::new(),
            signer: None,
            newer_abi: library.newer_abi(),
            place,
            info,
            instance: Arc::new(instance),
            services,
        }
    }

    /// The same backend, whose library was read from this file.
    #[must_use]
    pub(super) fn read_from(self, candidate: &Candidate) -> Self {
        Self {
            sha256: candidate.sha256.clone(),
            signer: candidate.signed.as_ref().map(|signed| signed.by.clone()),
            ..self
        }
    }

    /// `nexmo.NexmoBackend`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The version of its library.
    pub fn library_version(&self) -> &str {
        &self.version
    }

    /// The version of the ABI that its library was built against: `1.0`.
    pub fn library_abi(&self) -> &str {
        &self.abi
    }

    /// What it means that its library was built for a newer version of the ABI, in one sentence; `None`: it was not.
    pub fn newer_abi(&self) -> Option<&str> {
        self.newer_abi.as_deref()
    }

    /// The hash of its library, in lower-case hex; empty: it is linked into this program.
    pub fn library_sha256(&self) -> &str {
        &self.sha256
    }

    /// Who signed its library, by the name in the settings, where signatures count.
    pub fn library_signer(&self) -> Option<&str> {
        self.signer.as_deref()
    }

    /// Whether its code runs in this process or in one of its own.
    pub fn isolation(&self) -> IsolationMode {
        self.place
    }

    /// Why no call can reach it now, in one sentence: its worker process crashes too often, or cannot be started.
    pub fn trouble(&self) -> Option<String> {
        let trouble = self.instance.trouble()?;
        Some(
            self.services
                .scrubber
                .clean(&trouble, &[], convert::MAX_MESSAGE_CHARACTERS),
        )
    }

    /// What the sandbox of its worker process cannot keep its library from on this system, in one sentence.
    pub fn weakness(&self) -> Option<String> {
        self.instance.weakness()
    }

    /// Whether it is for tests and tutorials, by its manifest.
    pub fn is_sandbox(&self) -> bool {
        self.info.sandbox
    }

    /// Whether it makes the security codes itself.
    pub fn overrides_generate_security_code(&self) -> bool {
        self.overrides(overrides::GENERATE_SECURITY_CODE)
    }

    /// Whether it may write the message itself.
    pub fn overrides_generate_message(&self) -> bool {
        self.overrides(overrides::GENERATE_MESSAGE)
    }

    /// Whether it judges the codes that come back.
    pub fn overrides_validate_security_code(&self) -> bool {
        self.overrides(overrides::VALIDATE_SECURITY_CODE)
    }

    /// Whether it sends to several numbers in a way of its own.
    pub fn overrides_send_bulk_sms(&self) -> bool {
        self.overrides(overrides::SEND_BULK_SMS)
    }

    /// How it takes what its provider reports about messages; `None`: it does not.
    pub fn takes_receipts(&self) -> Option<TakesReceipts> {
        // What is not said, or not known, counts as the more careful of the two.
        self.overrides(overrides::RECEIVE).then(|| TakesReceipts {
            kind: ReceiptKind::parse(&self.info.receipts).unwrap_or(ReceiptKind::Carrier),
            are_signed: self.info.webhook == "signed",
        })
    }

    /// Whether its provider wants to hear which codes came back.
    pub fn takes_feedback(&self) -> bool {
        self.overrides(overrides::FEEDBACK)
    }

    /// Whether it can say what is left of its account.
    pub fn tells_balance(&self) -> bool {
        self.overrides(overrides::BALANCE)
    }

    /// How its messages can go, such as `sms`.
    pub fn channels(&self) -> Vec<&str> {
        if self.info.channels.is_empty() {
            return vec!["sms"];
        }
        self.info.channels.iter().map(String::as_str).collect()
    }

    /// Whose silence it is when a call ends without an answer and without a request: in a worker process the library
    /// has no other way to a provider.
    fn silent(&self) -> Origin {
        match self.place {
            IsolationMode::Worker => Origin::Library,
            IsolationMode::Inline => Origin::Provider,
        }
    }

    fn overrides(&self, bit: u64) -> bool {
        self.info.overrides & bit != 0
    }

    /// Sends one SMS. `Ok` means that the provider took it.
    pub fn send_sms<'a>(
        &'a self,
        number: &'a PhoneNumber,
        message: &'a str,
        call: Call,
    ) -> impl Future<Output = Result<Receipt, SendFailure>> + Send {
        let private = PrivateTexts {
            text: message,
            number: number.e164(),
            ..PrivateTexts::default()
        };
        // Empty for most libraries, and a copy of nothing costs nothing.
        let code = call.facts.security_code.clone();
        let call = self.running(call, private);
        async move {
            let receipt = self
                .run(call, FailureClass::OutcomeUnknown, |backend, call| {
                    let sms = RawSms {
                        number: RString::from(number.e164()),
                        message: RString::from(message),
                        flags: 0,
                        ext: traced(),
                    };
                    backend.send_sms(sms, call)
                })
                .await?;
            let private = [message, number.e164(), code.as_str()];
            convert::receipt(&receipt, &self.services.scrubber, &private)
        }
    }

    /// Sends one text to several numbers. `settled` hears the outcome of each exactly once, by its index, before
    /// this returns; it must not block. What the backend did not report fails with the error of the call, or as
    /// `not_reported`, since it may have been sent.
    pub async fn send_bulk_sms(&self, numbers: &[PhoneNumber], message: &str, call: Call, settled: Settled) {
        if !self.overrides_send_bulk_sms() {
            return self.send_to_each(numbers, message, &call, &settled).await;
        }
        for (at, numbers) in numbers.chunks(MAX_BULK_NUMBERS).enumerate() {
            let offset = at * MAX_BULK_NUMBERS;
            self.send_bulk(numbers, message, call.clone(), offset, Arc::clone(&settled))
                .await;
        }
    }

    async fn send_bulk(
        &self,
        numbers: &[PhoneNumber],
        message: &str,
        call: Call,
        offset: usize,
        settled: Settled,
    ) {
        let call = self.running(
            call,
            PrivateTexts {
                text: message,
                ..PrivateTexts::default()
            },
        );
        let scrubber = Arc::clone(&self.services.scrubber);
        let reported = Reported::new(numbers, offset, settled, scrubber);
        call.reports_to(&reported);
        let kept = call.kept();
        // A caller that gives up drops this future, and must hear of what is open all the same.
        let mut rest = CloseOnDrop {
            reported: Arc::clone(&reported),
            failure: not_reported(),
        };
        let sent = self.run(call, FailureClass::OutcomeUnknown, |backend, call| {
            let bulk = RawBulk {
                numbers: numbers
                    .iter()
                    .map(|number| RString::from(number.e164()))
                    .collect(),
                message: RString::from(message),
                flags: 0,
                ext: traced(),
            };
            backend.send_bulk_sms(bulk, report_object(&kept), call)
        });
        if let Err(failure) = sent.await {
            rest.failure = failure;
        }
    }

    async fn send_to_each(&self, numbers: &[PhoneNumber], message: &str, call: &Call, settled: &Settled) {
        futures_util::stream::iter(numbers.iter().enumerate())
            .for_each_concurrent(BULK_CONCURRENCY, |(index, number)| async move {
                let mut call = call.clone();
                if !call.idempotency_key.is_empty() {
                    call.idempotency_key = format!("{}-{index}", call.idempotency_key);
                }
                settled(index, self.send_sms(number, message, call).await);
            })
            .await;
    }

    /// Asks for a security code; only where it is overridden.
    pub async fn generate_security_code(&self, call: Call) -> Result<SecurityCode, SendFailure> {
        let call = self.running(call, PrivateTexts::default());
        let code = self
            .run(call, FailureClass::Internal, |backend, call| {
                backend.generate_security_code(call)
            })
            .await?;
        convert::security_code(code)
    }

    /// Asks for the message with this code; only where it is overridden. `None`: the `MESSAGE` template is used.
    pub async fn generate_message(
        &self,
        code: &SecurityCode,
        context: &Map<String, Value>,
        call: Call,
    ) -> Result<Option<String>, SendFailure> {
        let call = self.running(
            call,
            PrivateTexts {
                text: code.expose(),
                ..PrivateTexts::default()
            },
        );
        let message = self
            .run(call, FailureClass::Internal, |backend, call| {
                let request = RawMessageRequest {
                    security_code: RString::from(code.expose()),
                    context_json: RString::from(serde_json::to_string(context).unwrap_or_default()),
                    flags: 0,
                    ext: traced(),
                };
                backend.generate_message(request, call)
            })
            .await?;
        message.into_option().map(convert::message).transpose()
    }

    /// Asks for a verdict on a code that came back; only where it is overridden.
    pub async fn validate_security_code(
        &self,
        code: &SecurityCode,
        number: &PhoneNumber,
        token: &SessionToken,
        call: Call,
    ) -> Result<Verdict, SendFailure> {
        let call = self.running(
            call,
            PrivateTexts {
                text: code.expose(),
                session_token: token.expose(),
                number: number.e164(),
            },
        );
        let verdict = self
            .run(call, FailureClass::Internal, |backend, call| {
                let check = RawCheck {
                    security_code: RString::from(code.expose()),
                    phone_number: RString::from(number.e164()),
                    session_token: RString::from(token.expose()),
                    flags: 0,
                    ext: traced(),
                };
                backend.validate_security_code(check, call)
            })
            .await?;
        Ok(convert::verdict(verdict))
    }

    /// Hands over a request that its provider made; only where [`Self::takes_receipts`]. The answer is within its
    /// bounds.
    pub async fn receive(&self, request: IncomingRequest, call: Call) -> Result<ReceiptAnswer, SendFailure> {
        let private = PrivateTexts {
            session_token: secret_part(&request.url),
            ..PrivateTexts::default()
        };
        let call = self.running(call, private);
        let received = self
            .run(call, FailureClass::Internal, |backend, call| {
                let headers = request.headers.iter();
                let request = RawHttpRequest {
                    method: RString::from(request.method.as_str()),
                    url: RString::from(request.url.as_str()),
                    headers: headers
                        .map(|(name, value)| Tuple2(name.as_str().into(), value.as_str().into()))
                        .collect(),
                    body: RVec::from(request.body.as_slice()),
                    timeout_ms: 0,
                    flags: 0,
                    ext: traced(),
                };
                backend.receive(request, call)
            })
            .await?;
        convert::received(&received, &self.services.scrubber)
    }

    /// Says whether the code of a message came back; only where [`Self::takes_feedback`]. `message_id`: the provider's,
    /// [`Receipt::exact_id`] or else [`Receipt::message_id`].
    pub async fn feedback(&self, message_id: &str, converted: bool, call: Call) -> Result<(), SendFailure> {
        let call = self.running(call, PrivateTexts::default());
        self.run(call, FailureClass::OutcomeUnknown, |backend, call| {
            let feedback = RawFeedback {
                message_id: RString::from(message_id),
                converted,
                flags: 0,
                ext: traced(),
            };
            backend.feedback(feedback, call)
        })
        .await
    }

    /// What is left of its account; only where [`Self::tells_balance`].
    pub async fn balance(&self, call: Call) -> Result<AccountBalance, SendFailure> {
        let call = self.running(call, PrivateTexts::default());
        let balance = self
            .run(call, FailureClass::Transient, |backend, call| {
                backend.balance(call)
            })
            .await?;
        convert::balance(&balance)
    }

    /// Ends a verification whose code its provider made. `message_id`: of the message that began it, as for
    /// [`Self::feedback`].
    pub async fn cancel(&self, message_id: &str, call: Call) -> Result<(), SendFailure> {
        let call = self.running(call, PrivateTexts::default());
        self.run(call, FailureClass::OutcomeUnknown, |backend, call| {
            let cancel = RawCancel {
                message_id: RString::from(message_id),
                flags: 0,
                ext: traced(),
            };
            backend.cancel(cancel, call)
        })
        .await
    }

    /// Asks for something under an id, such as `phone-verify.stream/draft-1`. `None`: the library does not know it.
    pub async fn extension(&self, id: &str, body: &[u8], call: Call) -> Result<Option<Vec<u8>>, SendFailure> {
        if !self.overrides(overrides::EXTENSION) {
            return Ok(None);
        }
        let call = self.running(call, PrivateTexts::default());
        let answer = self
            .run(call, FailureClass::OutcomeUnknown, |backend, call| {
                let request = RawExtension {
                    id: RString::from(id),
                    body: RVec::from(body),
                    flags: 0,
                    ext: traced(),
                };
                backend.extension(request, call)
            })
            .await?;
        Ok(answer.into_option().map(RVec::into_vec))
    }

    fn running<'a>(&self, call: Call, private: PrivateTexts<'a>) -> ActiveCall<'a> {
        ActiveCall::new(call, &self.services, private)
    }

    /// Runs one call in the library; `start` begins it on an instance. `when_unfinished` is what it means that the
    /// library was still at it when the call ended. After a panic there is a fresh instance
    /// when this returns; a call that met a broken one, in which nothing of the backend ran, is begun again there.
    async fn run<T>(
        &self,
        call: ActiveCall<'_>,
        when_unfinished: FailureClass,
        start: impl for<'b> Fn(&'b BackendObj, CallObj) -> BorrowingFfiFuture<'b, RResult<T, RawError>>,
    ) -> Result<T, SendFailure> {
        let mut is_again = false;
        loop {
            let backend = self.instance.current();
            let future = start(&backend, call.object());
            let error = match bounded(future, &call, &self.name).await {
                Ended::Answered(RResult::ROk(answer)) => return Ok(answer),
                Ended::Answered(RResult::RErr(error)) => error,
                Ended::TimedOut => {
                    let limit = call.time_limit().as_millis();
                    let message = format!("{} did not answer within {limit} ms", self.name);
                    let origin = call.origin().unwrap_or(self.silent());
                    return Err(SendFailure::new(when_unfinished, "deadline", message).arisen_in(origin));
                }
                Ended::Panicked => {
                    self.replace(&backend).await;
                    let message = format!("{} panicked", self.name);
                    return Err(
                        SendFailure::new(when_unfinished, "plugin_panic", message).arisen_in(Origin::Library)
                    );
                }
            };
            let mut failure = convert::failure(&error, &self.services.scrubber, &call.about());
            if error.flags & error_flag::PANIC == 0 {
                return Err(failure.arisen_in(call.origin().unwrap_or_default()));
            }
            failure.origin = Origin::Library;
            tracing::error!(
                backend = self.name,
                request_id = call.request_id(),
                reason = failure.message,
                "the backend panicked and is constructed anew"
            );
            self.replace(&backend).await;
            // That nothing ran is the library's word. What the host saw of the call counts more.
            if error.flags & error_flag::NOT_RUN == 0 || call.has_been_seen() {
                // Who knows how far it got.
                failure.class = when_unfinished;
                return Err(failure);
            }
            if is_again {
                return Err(failure);
            }
            is_again = true;
        }
    }

    /// Puts a newly constructed instance in the place of the present one, as after a panic. Blocks while the library
    /// constructs it.
    pub fn renew(&self) -> Result<(), SendFailure> {
        let renewed = self.instance.replace(&self.instance.current());
        renewed.map_err(|why| self.not_renewed(why))
    }

    fn not_renewed(&self, why: NotConstructed) -> SendFailure {
        convert::failure(&why.raw(), &self.services.scrubber, &[])
    }

    /// Constructs the backend anew, off the runtime's threads and within a bound, since it is foreign code.
    async fn replace(&self, broken: &Arc<BackendObj>) {
        let instance = Arc::clone(&self.instance);
        let broken = Arc::clone(broken);
        let replaced = tokio::task::spawn_blocking(move || instance.replace(&broken));
        let problem = match tokio::time::timeout(CONSTRUCTION_LIMIT, replaced).await {
            Ok(Ok(Ok(()))) => return,
            Ok(Ok(Err(why))) => self.not_renewed(why).to_string(),
            Ok(Err(_)) => "it panicked".to_owned(),
            Err(_) => format!("it took longer than {} s", Duration::as_secs(&CONSTRUCTION_LIMIT)),
        };
        tracing::error!(
            backend = self.name,
            reason = problem,
            "the backend could not be constructed anew"
        );
    }
}

/// What may be the secret part of an address for receipts: the end of its path, unless that is as short as a name.
fn secret_part(url: &str) -> &str {
    const MIN_LENGTH: usize = 24;
    let path = url.split(['?', '#']).next().unwrap_or_default();
    let end = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    if end.len() < MIN_LENGTH { "" } else { end }
}

/// What is left of an account, as its provider says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountBalance {
    /// A decimal number of at most 32 characters, which may be negative.
    pub amount: String,
    /// `None`: the provider does not say.
    pub currency: Option<Currency>,
}

/// `15.5359 EUR`
impl fmt::Display for AccountBalance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.amount)?;
        self.currency
            .map_or(Ok(()), |currency| write!(f, " {}", currency.as_str()))
    }
}

/// What travels with a call's arguments: the trace of the request that it is made for.
fn traced() -> Ext {
    let trace = Trace::current();
    let traceparent = trace.map(|trace| Tuple2(TRACEPARENT.into(), trace.traceparent().into()));
    traceparent.into_iter().collect()
}

/// The name only: options are secret.
impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Backend").field(&self.name).finish()
    }
}

fn not_reported() -> SendFailure {
    SendFailure::new(
        FailureClass::OutcomeUnknown,
        "not_reported",
        "the backend did not say what became of this number",
    )
    .arisen_in(Origin::Library)
}

struct CloseOnDrop {
    reported: Arc<Reported>,
    failure: SendFailure,
}

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.reported.close(&self.failure);
    }
}
