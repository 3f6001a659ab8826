//! The host's side of the ABI, as far as these tests need it.

use std::{
    future::Future,
    pin::pin,
    sync::{Arc, Mutex, Once},
    task::{Context, Poll, Waker},
};

use phone_verify_plugin_abi::{
    BackendObj, CallObj, CallV1, CallV1_TO, HostObj, HostV1, HostV1_TO, RawError, RawHttpRequest,
    RawHttpResponse, RawReceipt, RawSms, ReportObj, ReportV1, ReportV1_TO,
    abi_stable::{
        sabi_trait::TD_Opaque,
        std_types::{RArc, RResult, RSliceMut, RStr, RString, RVec, Tuple2},
    },
    async_ffi::FfiFuture,
    kind, verdict,
};
use phone_verify_plugin_api::{__private as pv, Error};

pub(crate) type Outcome<T> = Result<T, RawError>;
/// A number's index in the bulk send, with its message id or the code of its error.
type Report = (u64, Result<String, String>);

const NOW_NS: u64 = 5_000_000_000;

type Answer = dyn Fn(RawHttpRequest) -> Outcome<RawHttpResponse> + Send + Sync;

/// A host that records what the backend logs and requests.
#[derive(Clone, Default)]
pub(crate) struct TestHost(Arc<State>);

#[derive(Default)]
struct State {
    lines: Mutex<Vec<String>>,
    answer: Option<Box<Answer>>,
}

impl TestHost {
    /// A host with a simulated provider.
    pub(crate) fn with_provider(
        answer: impl Fn(RawHttpRequest) -> Outcome<RawHttpResponse> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(State {
            answer: Some(Box::new(answer)),
            ..State::default()
        }))
    }

    /// The logged lines.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.0.lines.lock().unwrap().clone()
    }

    /// Constructs a backend.
    pub(crate) fn construct<B: pv::Exported>(&self, options_json: &str) -> Outcome<BackendObj> {
        count_panics_that_get_out();
        let host: HostObj = HostV1_TO::from_ptr(RArc::new(self.clone()), TD_Opaque);
        pv::create::<B>(host, RStr::from(options_json)).into_result()
    }
}

impl HostV1 for TestHost {
    fn log(&self, level: u16, message: RStr<'_>, fields: RVec<Tuple2<RString, RString>>) {
        let mut line = format!("{level} {message}");
        for Tuple2(name, value) in fields {
            line.push_str(&format!(" {name}={value}"));
        }
        self.0.lines.lock().unwrap().push(line);
    }

    fn now_unix_ms(&self) -> u64 {
        1_000
    }

    fn monotonic_ns(&self) -> u64 {
        NOW_NS
    }

    fn random(&self, mut into: RSliceMut<'_, u8>) {
        into.fill(7);
    }

    fn http(&self, request: RawHttpRequest) -> FfiFuture<RResult<RawHttpResponse, RawError>> {
        let answer = self.0.answer.as_ref().expect("a test with HTTP has a provider")(request);
        FfiFuture::new(async move { answer.into() })
    }

    fn sleep_ms(&self, _duration_ms: u64) -> FfiFuture<()> {
        FfiFuture::new(async {})
    }
}

struct TestCall;

/// A call with three seconds left, whose base knows the code 424242.
pub(crate) fn call() -> CallObj {
    CallV1_TO::from_value(TestCall, TD_Opaque)
}

impl CallV1 for TestCall {
    fn deadline_monotonic_ns(&self) -> u64 {
        NOW_NS + 3_000_000_000
    }

    fn request_id(&self) -> RString {
        RString::from("request-1")
    }

    fn idempotency_key(&self) -> RString {
        RString::new()
    }

    fn locale(&self) -> RString {
        RString::from("es")
    }

    fn base_security_code(&self) -> RString {
        RString::from("424242")
    }

    fn base_message(&self, security_code: RStr<'_>) -> RResult<RString, RawError> {
        RResult::ROk(RString::from(format!("Use {security_code}.")))
    }

    fn base_validate(&self, security_code: RStr<'_>) -> FfiFuture<RResult<u16, RawError>> {
        let judged = match security_code.as_str() {
            "424242" => RResult::ROk(verdict::VALID),
            "from the future" => RResult::ROk(999),
            "broken" => RResult::RErr(raw_error(kind::TRANSIENT, "store_busy")),
            _ => RResult::ROk(verdict::INVALID),
        };
        FfiFuture::new(async move { judged })
    }
}

/// Records the outcomes of a bulk call.
#[derive(Clone, Default)]
pub(crate) struct Reports(Arc<Mutex<Vec<Report>>>);

impl Reports {
    pub(crate) fn object(&self) -> ReportObj {
        ReportV1_TO::from_value(self.clone(), TD_Opaque)
    }

    /// The outcomes in the order of their reports.
    pub(crate) fn all(&self) -> Vec<Report> {
        self.0.lock().unwrap().clone()
    }
}

impl ReportV1 for Reports {
    fn settle(&self, index: u64, outcome: RResult<RawReceipt, RawError>) {
        let outcome = outcome
            .into_result()
            .map(|receipt| receipt.message_id.into_string())
            .map_err(|error| error.code.into_string());
        self.0.lock().unwrap().push((index, outcome));
    }
}

pub(crate) fn sms() -> RawSms {
    RawSms {
        number: RString::from("+13478379634"),
        message: RString::from("Your code is 424242"),
        flags: 0,
        ext: RVec::new(),
    }
}

pub(crate) fn raw_error(kind: u16, code: &str) -> RawError {
    RawError {
        kind,
        http_status: 0,
        retry_after_ms: 0,
        code: RString::from(code),
        message: RString::new(),
        flags: 0,
        ext: RVec::new(),
    }
}

/// Sends one SMS, and returns its message id.
pub(crate) fn send(backend: &BackendObj) -> Outcome<String> {
    let receipt = finished(backend.send_sms(sms(), call())).into_result()?;
    Ok(receipt.message_id.into_string())
}

/// The output of a future that completes in its first poll.
pub(crate) fn finished<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(outcome) => outcome,
        Poll::Pending => panic!("the future waits"),
    }
}

std::thread_local! {
    static PANICS: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
}

/// How many panics of this thread reached the panic hook that was installed before that of the glue.
pub(crate) fn panics_that_got_out() -> u32 {
    PANICS.get()
}

fn count_panics_that_get_out() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            PANICS.set(PANICS.get() + 1);
            before(panic);
        }));
    });
}

/// An error with only a code, as an author might return it.
pub(crate) fn refusal(code: &str) -> Error {
    Error::new(phone_verify_plugin_api::ErrorKind::InvalidNumber, code, "")
}
