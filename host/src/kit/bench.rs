//! The bench: what a check works with. It loads the library as the daemon does, simulates the network, captures the
//! log, and fixes time and randomness so that each run is the same.
//!
//! Invariant: a backend that panics, or completes a call twice, fails the check that noticed it, whatever that check is
//! about.

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

use phone_verify_plugin_host::{
    Backend, BackendName, BackendReport, BaseCalls, Call, CallFacts, Isolation, IsolationRules, LibraryAbout,
    LibraryReport, Loader, LoaderConfig, OptionInfo, Outbound, Played, Refusal, SentRequest, TrustRules,
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
    clock::{Clock, UnixMillis},
    entropy::Entropy,
    model::{self, FailureClass, PhoneNumber, Receipt, SecurityCode, SendFailure},
};

/// Why a check ends before its last step.
pub(super) enum Stop {
    /// It does not apply to this backend.
    Skip(String),
    /// It found something harmless that is probably not intended.
    Warn(String),
    /// It found a broken promise.
    Fail(String),
}

/// The result of a check's function. `Ok`: passed.
pub(super) type Outcome = Result<(), Stop>;

/// The numbers that checks send to. They are reserved for examples in their countries, so that even a library with a
/// network of its own reaches no person.
pub(super) const ALICE: &str = "+12025550143";
pub(super) const BOB: &str = "+447400123456";
/// Numbers of other countries and lengths.
pub(super) const OTHERS: [&str; 6] = [
    "+29051234",
    "+6838884012",
    "+819012345678",
    "+4915123456789",
    "+8613123456789",
    "+393123456789",
];
/// The text for checks that need any text. Its code occurs in no other text.
pub(super) const TEXT: &str = "Your security code is 482913.";
/// The one check that fails without a tape. The others are skipped then, so that the author reads one failure and not
/// forty.
const TAPE_CHECK: &str = "PV020";
/// The deadline of a call whose time is not what the check is about.
pub(super) const CALL_LIMIT: Duration = Duration::from_secs(10);
/// The deadline of a call that gets no answer: the check waits for all of it.
const SILENCE_LIMIT: Duration = Duration::from_millis(400);
/// The time that backends read, 2026-01-01T00:00:00Z. It is fixed, so that a signature over the time is the same in
/// each run.
const NOW: UnixMillis = UnixMillis(1_767_225_600_000);

/// Ends the check as failed.
pub(super) fn fail<T>(why: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Fail(why.into()))
}

/// Ends the check with a warning.
pub(super) fn warn<T>(why: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Warn(why.into()))
}

/// Ends the check as one that does not apply.
pub(super) fn skip<T>(why: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Skip(why.into()))
}

/// Everything that one check works with.
pub(super) struct Bench {
    order: Order,
    /// What the file and its manifest say, read without running the library.
    pub(super) report: LibraryReport,
    backend: String,
    sample: Sample,
    /// The simulated provider.
    pub(super) network: Arc<Network>,
    /// The captured log.
    pub(super) log: KeptLog,
    /// The real clock, for measurements. Backends read [`NOW`] instead.
    pub(super) stopwatch: Clock,
    runtime: tokio::runtime::Runtime,
    loader: Loader,
    has_panicked: AtomicBool,
    /// Whether the library left a call uncompleted though its provider had answered.
    is_hanging: AtomicBool,
    /// Lines that must be equal in all runs of the check.
    evidence: Mutex<String>,
}

impl Bench {
    /// A bench for one backend of the library. An empty name: for the library as a whole.
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

    /// The options that the manifest declares for a backend.
    pub(super) fn options_of(order: &Order, backend: &str) -> Vec<OptionInfo> {
        LibraryReport::of_file(&order.library()).map_or_else(Vec::new, |report| options_in(&report, backend))
    }

    /// Runs a check, then tests what holds for every check.
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

    /// Whether a failure is meaningless, because without a tape the provider's answers are unknown. Only [`TAPE_CHECK`]
    /// reports that.
    fn lacks_its_tape(&self, check: &Check) -> bool {
        self.order.tape.is_none() && check.id != TAPE_CHECK && self.network.was_asked()
    }

    /// A fault that fails any check: a panic, or a call completed twice.
    fn misdeed(&self) -> Option<String> {
        let lines = self.log.take();
        let panic = lines.iter().find(|line| line.contains("panicked"));
        if let Some(line) = panic {
            return Some(format!("it panics: {}", line.trim()));
        }
        if self.has_panicked.load(Ordering::SeqCst) {
            return Some("it panics".to_owned());
        }
        // The host uses the first completion and logs any further one.
        let is_doubled = lines
            .iter()
            .any(|line| line.contains("the backend completed a call "));
        is_doubled.then(|| {
            "it completes a call twice, or one that never was: answer each call once, with its own id"
                .to_owned()
        })
    }

    /// Whether the library left a call uncompleted. Further calls would only wait for their deadlines.
    pub(super) fn is_hanging(&self) -> bool {
        self.is_hanging.load(Ordering::SeqCst)
    }

    /// Records a line that must be equal in all runs of the check.
    pub(super) fn testify(&self, what: &str) {
        let mut evidence = self.evidence.lock().unwrap_or_else(PoisonError::into_inner);
        evidence.push_str(what);
        evidence.push('\n');
    }

    /// All recorded lines.
    pub(super) fn evidence(&self) -> String {
        self.evidence
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Chooses the advice for the language that the library is written in.
    pub(super) fn in_their_words<'a>(&self, in_rust: &'a str, in_c: &'a str) -> &'a str {
        let about = self.report.about.as_ref();
        if about.is_none_or(LibraryAbout::is_rust) {
            in_rust
        } else {
            in_c
        }
    }

    /// Time limit of one check.
    pub(super) fn time_limit(&self) -> Duration {
        self.order.time_limit
    }

    /// Opens the library where a daemon opens it by default (in a worker process), and constructs no backend. Opens it
    /// in this process where a worker cannot be used: the system starts none, or the library needs the runtime of a
    /// sanitizer.
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

    /// The values of the secret options, which must appear nowhere.
    pub(super) fn canaries(&self) -> &[String] {
        &self.sample.canaries
    }

    /// The first canary in the text, in plain or URL-encoded form.
    pub(super) fn canary_in(&self, text: &str) -> Option<&str> {
        self.sample.canaries.iter().map(String::as_str).find(|canary| {
            let escaped: String = form_urlencoded::byte_serialize(canary.as_bytes()).collect();
            text.contains(*canary) || text.contains(&escaped)
        })
    }

    /// The backend's row in the manifest.
    pub(super) fn about(&self) -> Result<&BackendReport, Stop> {
        let suffix = format!(".{}", self.backend);
        let about = self.report.about.iter().flat_map(|about| &about.backends);
        match about.into_iter().find(|about| about.name.ends_with(&suffix)) {
            Some(about) => Ok(about),
            None => skip("the library has no backend of this name"),
        }
    }

    /// The options that checks construct the backend with.
    pub(super) fn options(&self) -> &Map<String, Value> {
        &self.sample.options
    }

    /// The same, with these instead of what is made up, whatever case their names are written in.
    pub(super) fn options_with(&self, given: &Map<String, Value>) -> Map<String, Value> {
        let mut options = self.options().clone();
        for (key, value) in given {
            options.retain(|known, _| sample::folded(known) != sample::folded(key));
            options.insert(key.clone(), value.clone());
        }
        options
    }

    /// Constructs the backend.
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

    /// Constructs the backend with these options.
    pub(super) fn backend_with(&self, options: &Map<String, Value>) -> Result<Backend, Vec<Refusal>> {
        self.load(&self.loader, options)
    }

    /// Constructs the backend in this process or in a worker process.
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

    /// Constructs the backend and sends one SMS that the provider accepts. Returns the backend and that answer of the
    /// tape. Skips a backend that makes no request.
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

    /// The refusals of the tape.
    pub(super) fn refusals(&self) -> &[super::tape::Refusal] {
        self.order.tape.as_ref().map_or(&[], |tape| &tape.refusal)
    }

    /// The delivery reports of the tape.
    pub(super) fn receipts(&self) -> &[super::tape::Receipt] {
        self.order.tape.as_ref().map_or(&[], |tape| &tape.receipt)
    }

    /// The tape's answer to one request for several numbers.
    pub(super) fn bulk(&self) -> Option<&super::tape::Bulk> {
        self.order.tape.as_ref()?.bulk.as_ref()
    }

    /// Whether the run has a tape.
    pub(super) fn has_tape(&self) -> bool {
        self.order.tape.is_some()
    }

    /// Makes the provider accept every SMS again, after a fault.
    pub(super) fn provider_is_well(&self) {
        if let Some(tape) = &self.order.tape {
            self.network.always(Scene::Plays(tape.success.answer()));
        }
    }

    /// Runs a future to its end.
    pub(super) fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// Sends one SMS with the usual deadline.
    pub(super) async fn send(
        &self,
        backend: &Backend,
        number: &str,
        text: &str,
    ) -> Result<Receipt, SendFailure> {
        self.send_within(backend, number, text, CALL_LIMIT).await
    }

    /// Sends one SMS with this deadline. Only the usual deadline makes a missed one count as an uncompleted call, as
    /// checks set shorter ones in order to miss them.
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

    /// Records a panic, or a call that missed [`CALL_LIMIT`].
    pub(super) fn notice<T>(&self, outcome: Result<T, SendFailure>) -> Result<T, SendFailure> {
        match outcome {
            Err(failure) if failure.code == "deadline" => {
                self.hangs();
                Err(never_completed())
            }
            outcome => self.notice_panic(outcome),
        }
    }

    /// Records that a call was left uncompleted.
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

    /// Sends one SMS to a provider that does `scene`, and fails unless the outcome is one of `allowed` (`None`: a
    /// success). A class that the tape gives to the same status is allowed too: its author has read the provider's
    /// documentation.
    pub(super) fn expect(&self, scene: Scene, what: &str, allowed: &[Option<FailureClass>]) -> Outcome {
        self.outcome(scene, what, allowed).map(drop)
    }

    /// As [`Self::expect`], and returns the outcome. Also fails a backend that repeats the request by itself: whether
    /// to try again is the host's decision.
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
        // Only a provider that never answers uses up the whole deadline, so only that one gets a short one.
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

    /// The classes that the tape gives to the status of this scene. Not for the status of a success: refusals that
    /// share it differ by their body.
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

/// The failure of a call that the library left uncompleted.
fn never_completed() -> SendFailure {
    let limit = CALL_LIMIT.as_secs();
    SendFailure::new(
        FailureClass::OutcomeUnknown,
        "never_completed",
        format!("the call was not completed within {limit} s, though its provider had answered"),
    )
}

/// The outcome of one SMS.
pub(super) type Sent = Result<Receipt, SendFailure>;

fn told(sent: &Sent) -> String {
    match sent {
        Ok(_) => "taken for a sent SMS".to_owned(),
        Err(failure) => format!("put into the class {} ({failure})", failure.class.as_str()),
    }
}

/// The allowed outcomes, for a message.
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

/// A scene in which the provider gives this answer.
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

/// Parses one of the checks' own numbers.
pub(super) fn phone_number(e164: &str) -> PhoneNumber {
    PhoneNumber::parse(e164, None).expect("the checks' own numbers are valid")
}

/// A request as one text, for comparing and searching.
pub(super) fn written(request: &SentRequest) -> String {
    format!(
        "{} {} {:?} {}",
        request.method,
        request.url,
        request.headers,
        String::from_utf8_lossy(&request.body)
    )
}

/// Polls a future at most `at_most` times, then drops it. Returns its output, if it completed, and the number of polls.
/// This cancels a call at a chosen await point.
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
                // Ends here and not in one more poll, so that the dropped future is pending at its `at_most`-th await
                // point.
                Poll::Pending if polls == at_most => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    };
    (outcome, polls)
}

/// A call for checks that do not depend on its content.
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
        facts: CallFacts::default(),
        base,
    }
}

/// The host's own implementations, which an override may call: a fixed code, and the same verdict on every code.
#[derive(Default)]
pub(super) struct Base {
    /// The verdict. `None`: the host has none.
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

/// A loader with the daemon's rules, but a fixed clock, seeded randomness and the simulated network.
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
