//! Where a check works: the library loaded as the daemon loads it, a played network, a kept log.
//!
//! Invariant: a backend that panics fails the check, whatever the check is about.

use std::{
    future::Future,
    io,
    pin::pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
    time::Duration,
};

use serde_json::{Map, Value};

use super::{
    checks::Check,
    job::Order,
    log::KeptLog,
    network::{Network, Scene},
    sample::{self, Sample},
    score::Verdict,
    tape::Success,
};
use crate::{
    backends::{
        Backend, BackendName, BackendReport, BaseCalls, Call, Isolation, IsolationRules, LibraryAbout,
        LibraryReport, Loader, LoaderConfig, OptionInfo, Outbound, Played, Refusal, SentRequest, TrustRules,
    },
    clock::{Clock, UnixMillis},
    entropy::Entropy,
    model::{self, FailureClass, PhoneNumber, Receipt, SecurityCode, SendFailure},
};

/// Why a check ends early.
pub(super) enum Stop {
    /// It does not apply.
    Skip(String),
    /// It found something that does no harm.
    Warn(String),
    /// It found something.
    Fail(String),
}

/// What a check returns.
pub(super) type Outcome = Result<(), Stop>;

/// The numbers that checks send to, which nothing ever reaches: the ones that stand for their country in examples.
pub(super) const ALICE: &str = "+12025550143";
pub(super) const BOB: &str = "+447400123456";
/// Of other countries and lengths.
pub(super) const OTHERS: [&str; 6] = [
    "+29051234",
    "+6838884012",
    "+819012345678",
    "+4915123456789",
    "+8613123456789",
    "+393123456789",
];
/// What a check sends when the text does not matter. Its code is found in no other text.
pub(super) const TEXT: &str = "Your security code is 482913.";
/// The check that says that a tape is missing.
const TAPE_CHECK: &str = "PV020";
/// The time of one call when it does not matter.
pub(super) const CALL_LIMIT: Duration = Duration::from_secs(10);
/// The time of a call that gets no answer.
const SILENCE_LIMIT: Duration = Duration::from_millis(400);
/// 2026-01-01T00:00:00Z: a backend that signs with the time signs the same each time.
const NOW: UnixMillis = UnixMillis(1_767_225_600_000);

/// Ends the check: it found something.
pub(super) fn fail<T>(why: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Fail(why.into()))
}

/// Ends the check: it found something that does no harm.
pub(super) fn warn<T>(why: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Warn(why.into()))
}

/// Ends the check: it does not apply.
pub(super) fn skip<T>(why: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Skip(why.into()))
}

/// One check's place of work.
pub(super) struct Bench {
    order: Order,
    /// What the file says of itself.
    pub(super) report: LibraryReport,
    backend: String,
    sample: Sample,
    /// What the provider does.
    pub(super) network: Arc<Network>,
    /// What was logged.
    pub(super) log: KeptLog,
    /// The time as it passes, for measuring.
    pub(super) stopwatch: Clock,
    runtime: tokio::runtime::Runtime,
    loader: Loader,
    has_panicked: AtomicBool,
    /// Whether a call was not completed though its provider answered.
    is_hanging: AtomicBool,
    evidence: Mutex<String>,
}

impl Bench {
    /// For one backend of the library, or for none.
    pub(super) fn new(order: Order, backend: &str) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let report = LibraryReport::of_file(&order.library())
            .ok_or_else(|| io::Error::other("the file is not named as a library"))?;
        let infos = options_in(&report, backend);
        let asides = order.tape.iter().flat_map(|tape| tape.aside.clone()).collect();
        let network = Network::new(asides);
        if let Some(tape) = &order.tape {
            network.always(Scene::Plays(tape.success.answer()));
        }
        Ok(Self {
            sample: sample::of(&infos, &order.options),
            loader: loader(&order, &network, Isolation::Inline),
            report,
            backend: backend.to_owned(),
            network,
            log: KeptLog::start(),
            stopwatch: Clock::system(),
            runtime,
            has_panicked: AtomicBool::new(false),
            is_hanging: AtomicBool::new(false),
            evidence: Mutex::default(),
            order,
        })
    }

    /// The options that a backend declares.
    pub(super) fn options_of(order: &Order, backend: &str) -> Vec<OptionInfo> {
        LibraryReport::of_file(&order.library()).map_or_else(Vec::new, |report| options_in(&report, backend))
    }

    /// Runs a check and what holds for every check.
    pub(super) fn judge(&mut self, check: &Check) -> Verdict {
        let verdict = match (check.run)(self) {
            Ok(()) => Verdict::Passed,
            Err(Stop::Skip(why)) => Verdict::Skipped(why),
            Err(Stop::Warn(why)) => Verdict::Warned(why),
            Err(Stop::Fail(why)) if self.lacks_its_tape(check) => Verdict::Skipped(why),
            Err(Stop::Fail(why)) => Verdict::Failed(why),
        };
        if matches!(verdict, Verdict::Failed(_)) {
            return verdict;
        }
        match self.misdeed() {
            Some(why) => Verdict::Failed(why),
            None => verdict,
        }
    }

    /// Whether a failure says nothing, for nobody knows what the provider answers. One check says so.
    fn lacks_its_tape(&self, check: &Check) -> bool {
        self.order.tape.is_none() && check.id != TAPE_CHECK && self.network.was_asked()
    }

    /// What no check may meet, whatever it is about.
    fn misdeed(&self) -> Option<String> {
        let lines = self.log.take();
        let panic = lines.iter().find(|line| line.contains("panicked"));
        if let Some(line) = panic {
            return Some(format!("it panics: {}", line.trim()));
        }
        if self.has_panicked.load(Ordering::SeqCst) {
            return Some("it panics".to_owned());
        }
        // The host hears the first answer, and says in its log that there was another.
        let is_doubled = lines
            .iter()
            .any(|line| line.contains("the backend completed a call "));
        is_doubled.then(|| {
            "it completes a call twice, or one that never was: answer each call once, with its own id"
                .to_owned()
        })
    }

    /// Whether a call was not completed, so that every further check would wait for nothing.
    pub(super) fn is_hanging(&self) -> bool {
        self.is_hanging.load(Ordering::SeqCst)
    }

    /// Adds to what must be the same in each run.
    pub(super) fn testify(&self, what: &str) {
        let mut evidence = self.evidence.lock().unwrap_or_else(PoisonError::into_inner);
        evidence.push_str(what);
        evidence.push('\n');
    }

    pub(super) fn evidence(&self) -> String {
        self.evidence
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// What its author reads: one writes in Rust, with the author's crate, and another in C.
    pub(super) fn in_their_words<'a>(&self, in_rust: &'a str, in_c: &'a str) -> &'a str {
        let about = self.report.about.as_ref();
        if about.is_none_or(LibraryAbout::is_rust) {
            in_rust
        } else {
            in_c
        }
    }

    /// How long a check may take.
    pub(super) fn time_limit(&self) -> Duration {
        self.order.time_limit
    }

    /// Opens the library where a daemon does it unless its settings say otherwise, and constructs nothing of it. Where that
    /// cannot be known, because the system starts no worker process, or none has the runtime of a sanitizer, it is opened
    /// as by the checks.
    pub(super) fn open(&self) -> Result<(), Vec<Refusal>> {
        let _inside = self.runtime.enter();
        let open =
            |isolation| loader(&self.order, &self.network, isolation).open_library(&self.report.library);
        open(Isolation::Auto).or_else(|refusals| {
            if self.report.sanitizer.is_some() || refusals.iter().all(Refusal::is_of_the_system) {
                open(Isolation::Inline)
            } else {
                Err(refusals)
            }
        })
    }

    /// The values of secret options.
    pub(super) fn canaries(&self) -> &[String] {
        &self.sample.canaries
    }

    /// The first canary that is in the text, as it is or as it is written into a URL.
    pub(super) fn canary_in(&self, text: &str) -> Option<&str> {
        self.sample.canaries.iter().map(String::as_str).find(|canary| {
            let escaped: String = form_urlencoded::byte_serialize(canary.as_bytes()).collect();
            text.contains(*canary) || text.contains(&escaped)
        })
    }

    /// What the manifest says of the backend.
    pub(super) fn about(&self) -> Result<&BackendReport, Stop> {
        let suffix = format!(".{}", self.backend);
        let about = self.report.about.iter().flat_map(|about| &about.backends);
        match about.into_iter().find(|about| about.name.ends_with(&suffix)) {
            Some(about) => Ok(about),
            None => skip("the library has no backend of this name"),
        }
    }

    /// The options that the checks use.
    pub(super) fn options(&self) -> &Map<String, Value> {
        &self.sample.options
    }

    /// The backend, constructed.
    pub(super) fn backend(&self) -> Result<Backend, Stop> {
        self.backend_with(self.options()).or_else(|refusals| {
            let is_of_options = |refusal: &Refusal| refusal.code == "P506" || refusal.code.starts_with("P6");
            let advice = if refusals.iter().any(is_of_options) {
                "; if it needs other options, name them in a file with --options"
            } else {
                ""
            };
            fail(format!(
                "it cannot be constructed: {}{advice}",
                sentences(&refusals)
            ))
        })
    }

    /// The backend, constructed with these options.
    pub(super) fn backend_with(&self, options: &Map<String, Value>) -> Result<Backend, Vec<Refusal>> {
        self.load(&self.loader, options)
    }

    /// The same, in this process or in a worker process as the daemon would.
    pub(super) fn backend_isolated(
        &self,
        isolation: Isolation,
        options: &Map<String, Value>,
    ) -> Result<Backend, Vec<Refusal>> {
        self.load(&loader(&self.order, &self.network, isolation), options)
    }

    fn load(&self, loader: &Loader, options: &Map<String, Value>) -> Result<Backend, Vec<Refusal>> {
        let name = BackendName::parse(&format!("{}.{}", self.report.library, self.backend))
            .map_err(|refusal| vec![refusal])?;
        // A constructor may use the host's services, which live in a runtime.
        let _inside = self.runtime.enter();
        let outcome = loader.load(&name, options);
        if let Err(refusals) = &outcome
            && refusals
                .iter()
                .any(|refusal| refusal.sentence.contains("panicked at"))
        {
            self.has_panicked.store(true, Ordering::SeqCst);
        }
        outcome
    }

    /// The backend, and what its provider answers to an SMS that it takes. Skips a backend that asks no provider.
    pub(super) fn with_provider(&self) -> Result<(Backend, Success), Stop> {
        let backend = self.backend()?;
        let sent = self.wait(self.send(&backend, ALICE, TEXT));
        if self.network.requests().is_empty() {
            return skip("it makes no request");
        }
        let Some(tape) = &self.order.tape else {
            return skip(format!(
                "it needs a tape: see {TAPE_CHECK}, and write what the provider answers into {}.tape.toml",
                self.report.library
            ));
        };
        if let Err(failure) = sent {
            return fail(format!("the SMS that the provider takes is not sent: {failure}"));
        }
        Ok((backend, tape.success.clone()))
    }

    /// What the provider refuses.
    pub(super) fn refusals(&self) -> &[super::tape::Refusal] {
        self.order.tape.as_ref().map_or(&[], |tape| &tape.refusal)
    }

    /// What the provider answers to one request for several numbers.
    pub(super) fn bulk(&self) -> Option<&super::tape::Bulk> {
        self.order.tape.as_ref()?.bulk.as_ref()
    }

    /// Whether there is a tape.
    pub(super) fn has_tape(&self) -> bool {
        self.order.tape.is_some()
    }

    /// The provider takes every SMS again.
    pub(super) fn provider_is_well(&self) {
        if let Some(tape) = &self.order.tape {
            self.network.always(Scene::Plays(tape.success.answer()));
        }
    }

    /// Waits for a call.
    pub(super) fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// Sends one SMS within the usual time.
    pub(super) async fn send(
        &self,
        backend: &Backend,
        number: &str,
        text: &str,
    ) -> Result<Receipt, SendFailure> {
        self.send_within(backend, number, text, CALL_LIMIT).await
    }

    /// Sends one SMS.
    pub(super) async fn send_within(
        &self,
        backend: &Backend,
        number: &str,
        text: &str,
        limit: Duration,
    ) -> Result<Receipt, SendFailure> {
        if self.is_hanging() {
            return Err(never_completed());
        }
        let sent = backend.send_sms(&phone_number(number), text, call(limit)).await;
        if limit >= CALL_LIMIT {
            self.notice(sent)
        } else {
            self.notice_panic(sent)
        }
    }

    /// Remembers a panic, and a call that took all of [`CALL_LIMIT`] and was not completed.
    pub(super) fn notice<T>(&self, outcome: Result<T, SendFailure>) -> Result<T, SendFailure> {
        match outcome {
            Err(failure) if failure.code == "deadline" => {
                self.hangs();
                Err(never_completed())
            }
            outcome => self.notice_panic(outcome),
        }
    }

    /// Remembers that a call was not completed.
    pub(super) fn hangs(&self) {
        self.is_hanging.store(true, Ordering::SeqCst);
    }

    fn notice_panic<T>(&self, outcome: Result<T, SendFailure>) -> Result<T, SendFailure> {
        if let Err(failure) = &outcome
            && failure.code == "plugin_panic"
        {
            self.has_panicked.store(true, Ordering::SeqCst);
        }
        outcome
    }

    /// Sends one SMS while the provider does this, and looks whether the failure is one of these classes; `None` stands
    /// for a success. Where the tape says what a status means, that is right too: its author has the provider's word.
    pub(super) fn expect(&self, scene: Scene, what: &str, allowed: &[Option<FailureClass>]) -> Outcome {
        self.outcome(scene, what, allowed).map(drop)
    }

    /// The same, with what became of the SMS.
    pub(super) fn outcome(
        &self,
        scene: Scene,
        what: &str,
        allowed: &[Option<FailureClass>],
    ) -> Result<Sent, Stop> {
        let backend = self.backend()?;
        self.network.requests();
        let mut allowed = allowed.to_vec();
        for class in self.documented(&scene) {
            if !allowed.contains(&class) {
                allowed.push(class);
            }
        }
        // Only what never answers takes the whole time.
        let limit = match scene {
            Scene::Silence => SILENCE_LIMIT,
            _ => CALL_LIMIT,
        };
        self.network.always(scene);
        let sent = self.wait(self.send_within(&backend, ALICE, TEXT, limit));
        let requests = self.network.requests().len();
        if requests > 1 {
            return fail(format!(
                "after {what} it sends the SMS again by itself ({requests} requests); whether to try again is the host's to decide"
            ));
        }
        let found = sent.as_ref().err().map(|failure| failure.class);
        if !allowed.contains(&found) {
            return fail(format!("{what} is {}, not {}", told(&sent), names(&allowed)));
        }
        Ok(sent)
    }

    /// The classes that the tape has for the status of this scene. The status of a success says nothing by itself: what
    /// the tape refuses with it, it tells by the body.
    fn documented(&self, scene: &Scene) -> Vec<Option<FailureClass>> {
        let (Scene::Plays(Played::Answer { status, .. }), Some(tape)) = (scene, &self.order.tape) else {
            return Vec::new();
        };
        if *status == tape.success.status() {
            return Vec::new();
        }
        let refusals = tape.refusal.iter().filter(|refusal| refusal.status() == *status);
        refusals.map(|refusal| Some(refusal.class())).collect()
    }
}

/// Of a call whose provider answered long ago.
fn never_completed() -> SendFailure {
    let limit = CALL_LIMIT.as_secs();
    SendFailure::new(
        FailureClass::OutcomeUnknown,
        "never_completed",
        format!("the call was not completed within {limit} s, though its provider had answered"),
    )
}

/// What became of an SMS.
pub(super) type Sent = Result<Receipt, SendFailure>;

fn told(sent: &Sent) -> String {
    match sent {
        Ok(_) => "taken for a sent SMS".to_owned(),
        Err(failure) => format!("put into the class {} ({failure})", failure.class.as_str()),
    }
}

fn names(allowed: &[Option<FailureClass>]) -> String {
    let names: Vec<&str> = allowed
        .iter()
        .map(|class| class.map_or("a success", FailureClass::as_str))
        .collect();
    names.join(" or ")
}

/// All refusals in one line.
pub(super) fn sentences(refusals: &[Refusal]) -> String {
    refusals
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("; ")
}

/// An answer.
pub(super) fn answer(status: u16, headers: &[(&str, &str)], body: impl Into<Vec<u8>>) -> Scene {
    Scene::Plays(Played::Answer {
        status,
        headers: headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        body: body.into(),
    })
}

/// One of the checks' own numbers.
pub(super) fn phone_number(e164: &str) -> PhoneNumber {
    PhoneNumber::parse(e164, None).expect("the checks' own numbers are valid")
}

/// A request as one text, to compare and to search.
pub(super) fn written(request: &SentRequest) -> String {
    format!(
        "{} {} {:?} {}",
        request.method,
        request.url,
        request.headers,
        String::from_utf8_lossy(&request.body)
    )
}

/// Polls a call at most so often and then drops it. The outcome, if it came to one, and how often it was polled.
pub(super) async fn polled<F: Future>(future: F, at_most: usize) -> (Option<F::Output>, usize) {
    let mut polls = 0;
    let outcome = {
        let mut future = pin!(future);
        std::future::poll_fn(|context| {
            if polls == at_most {
                return Poll::Ready(None);
            }
            polls += 1;
            match future.as_mut().poll(context) {
                Poll::Ready(outcome) => Poll::Ready(Some(outcome)),
                // So that the one that is dropped was pending.
                Poll::Pending if polls == at_most => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    };
    (outcome, polls)
}

/// A call about nothing in particular.
pub(super) fn call(limit: Duration) -> Call {
    call_with(limit, Arc::new(Base::default()))
}

/// A call with this base.
pub(super) fn call_with(limit: Duration, base: Arc<Base>) -> Call {
    Call {
        time_limit: limit,
        request_id: "check".to_owned(),
        idempotency_key: "check-message".to_owned(),
        locale: "en".to_owned(),
        base,
    }
}

/// A base that has one opinion of every code.
#[derive(Default)]
pub(super) struct Base {
    pub(super) opinion: Option<Result<model::Verdict, SendFailure>>,
}

#[async_trait::async_trait]
impl BaseCalls for Base {
    fn security_code(&self) -> Result<SecurityCode, SendFailure> {
        SecurityCode::new("482913")
            .ok_or_else(|| SendFailure::new(FailureClass::Internal, "no_code", "six digits are no code"))
    }

    fn message(&self, code: &SecurityCode) -> String {
        format!("Your security code is {}.", code.expose())
    }

    async fn validate(&self, _code: &SecurityCode) -> Option<Result<model::Verdict, SendFailure>> {
        super::network::yield_once().await;
        self.opinion.clone()
    }
}

fn options_in(report: &LibraryReport, backend: &str) -> Vec<OptionInfo> {
    let suffix = format!(".{backend}");
    report
        .about
        .iter()
        .flat_map(|about| &about.backends)
        .find(|about| about.name.ends_with(&suffix))
        .map_or_else(Vec::new, |about| about.options.clone())
}

fn loader(order: &Order, network: &Arc<Network>, isolation: Isolation) -> Loader {
    Loader::new(LoaderConfig {
        directories: vec![order.directory.clone()],
        staging: order.staging.clone(),
        clock: Clock::manual(NOW),
        entropy: Entropy::seeded(1),
        allow_private_addresses: false,
        outbound: Outbound::default(),
        requests_at_once: 256,
        isolation: IsolationRules {
            default: isolation,
            ..IsolationRules::default()
        },
        trust: TrustRules::default(),
    })
    .rehearsing(Arc::<Network>::clone(network))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_the_checks_are_numbers() {
        for number in [ALICE, BOB].iter().chain(&OTHERS) {
            assert_eq!(phone_number(number).e164(), *number);
        }
        for index in 0..100 {
            phone_number(&format!("+120255501{index:02}"));
        }
    }

    #[tokio::test]
    async fn a_call_is_dropped_after_so_many_polls() {
        let pending = || async {
            for _ in 0..3 {
                crate::kit::network::yield_once().await;
            }
        };
        assert_eq!(polled(pending(), 2).await, (None, 2));
        assert_eq!(polled(pending(), 3).await, (None, 3));
        assert_eq!(polled(pending(), 4).await, (Some(()), 4));
        assert_eq!(polled(pending(), 9).await, (Some(()), 4));
    }
}
