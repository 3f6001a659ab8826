//! The host's services in a test: HTTP answers from a queue, a captured log, and a clock that only advances when the
//! backend sleeps.

use std::{
    collections::VecDeque,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use phone_verify_plugin_abi::{
    HostV1, HostV1_TO, RawError, RawExtension, RawHttpRequest, RawHttpResponse,
    abi_stable::{
        sabi_trait::TD_Opaque,
        std_types::{RArc, ROption, RResult, RSlice, RSliceMut, RStr, RString, RVec, Tuple2},
    },
    async_ffi::FfiFuture,
};
use phone_verify_plugin_crypto as crypto;
use serde_json::Value;

use super::{Answer, Tested};
use crate::{Backend, Error, Host, Options, options::OptionReader};

/// The time at which every test starts: 2026-01-01T00:00:00Z.
const START_UNIX_MS: u64 = 1_767_225_600_000;

/// A host for a test. Clones share one state.
#[derive(Clone, Default)]
pub struct TestHost(Arc<State>);

#[derive(Default)]
struct State {
    answers: Mutex<VecDeque<Answer>>,
    requests: Mutex<Vec<SentRequest>>,
    lines: Mutex<Vec<String>>,
    slept_ms: AtomicU64,
    drawn: AtomicU64,
}

impl TestHost {
    /// A host with no queued answers.
    pub fn new() -> Self {
        Self::default()
    }

    /// Queues an answer. Each request takes the next one; a request for which none is left fails with `http_denied`.
    pub fn answer(&self, answer: Answer) -> &Self {
        lock(&self.0.answers).push_back(answer);
        self
    }

    /// Removes and returns the requests that the backend made since the last call.
    pub fn requests(&self) -> Vec<SentRequest> {
        std::mem::take(&mut lock(&self.0.requests))
    }

    /// Removes and returns the log lines since the last call: the message, then each field as `name=value`. Unlike the
    /// real host, this one does not mask secrets and numbers, so that a test can assert that there are none.
    pub fn log(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.0.lines))
    }

    /// Constructs a backend from an `OPTIONS` table.
    ///
    /// # Errors
    /// Wrong options, or the error of the constructor.
    pub fn construct<B: Backend>(&self, options: &Value) -> Result<Tested<B>, Error> {
        let host = self.host();
        let reader = OptionReader::new(&options.to_string(), B::Options::FIELDS);
        let backend = B::new(B::Options::read(reader)?, host.clone())?;
        Ok(Tested::new(backend, host))
    }

    /// The host in the form that a backend receives, for testing a part of a backend alone.
    pub fn host(&self) -> Host {
        Host::new(HostV1_TO::from_ptr(RArc::new(self.clone()), TD_Opaque))
    }
}

/// Ignores the poisoning of a mutex: a failed assertion elsewhere does not make these records wrong.
fn lock<T>(kept: &Mutex<T>) -> MutexGuard<'_, T> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for TestHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TestHost")
    }
}

impl HostV1 for TestHost {
    fn log(&self, _level: u16, message: RStr<'_>, fields: RVec<Tuple2<RString, RString>>) {
        let mut line = message.as_str().to_owned();
        for Tuple2(name, value) in fields {
            line.push_str(&format!(" {name}={value}"));
        }
        lock(&self.0.lines).push(line);
    }

    fn now_unix_ms(&self) -> u64 {
        START_UNIX_MS + self.0.slept_ms.load(Ordering::SeqCst)
    }

    fn monotonic_ns(&self) -> u64 {
        let slept = Duration::from_millis(self.0.slept_ms.load(Ordering::SeqCst));
        u64::try_from(slept.as_nanos()).unwrap_or(u64::MAX)
    }

    /// Counts up, so that two draws differ and each run of a test draws the same.
    fn random(&self, mut into: RSliceMut<'_, u8>) {
        for chunk in into.as_mut_slice().chunks_mut(8) {
            let drawn = self.0.drawn.fetch_add(1, Ordering::SeqCst) + 1;
            chunk.copy_from_slice(&drawn.to_be_bytes()[8 - chunk.len()..]);
        }
    }

    fn http(&self, request: RawHttpRequest) -> FfiFuture<RResult<RawHttpResponse, RawError>> {
        lock(&self.0.requests).push(SentRequest(request));
        let answer = lock(&self.0.answers)
            .pop_front()
            .unwrap_or_else(Answer::none_left);
        FfiFuture::new(async move { answer.into_raw().into() })
    }

    fn sleep_ms(&self, duration_ms: u64) -> FfiFuture<()> {
        self.0.slept_ms.fetch_add(duration_ms, Ordering::SeqCst);
        FfiFuture::new(async {})
    }

    fn digest(&self, hash: u16, data: RSlice<'_, u8>) -> RResult<RVec<u8>, RawError> {
        crypto::digest(hash, &data).into()
    }

    fn hmac(&self, hash: u16, key: RSlice<'_, u8>, data: RSlice<'_, u8>) -> RResult<RVec<u8>, RawError> {
        crypto::hmac(hash, &key, &data).into()
    }

    fn equal(&self, left: RSlice<'_, u8>, right: RSlice<'_, u8>) -> bool {
        crypto::equal(&left, &right)
    }

    fn sign(&self, algorithm: u16, key_pem: RStr<'_>, data: RSlice<'_, u8>) -> RResult<RVec<u8>, RawError> {
        crypto::sign(algorithm, &key_pem, &data).into()
    }

    fn extension(&self, _request: RawExtension) -> FfiFuture<RResult<ROption<RVec<u8>>, RawError>> {
        FfiFuture::new(async { RResult::ROk(ROption::RNone) })
    }
}

/// A request that the backend made.
pub struct SentRequest(RawHttpRequest);

impl SentRequest {
    /// The method, such as `POST`.
    pub fn method(&self) -> &str {
        &self.0.method
    }

    /// The URL with its query.
    pub fn url(&self) -> &str {
        &self.0.url
    }

    /// The first header of this name, compared without regard to case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let header = self
            .0
            .headers
            .iter()
            .find(|Tuple2(known, _)| known.eq_ignore_ascii_case(name))?;
        Some(&header.1)
    }

    /// The body.
    pub fn body(&self) -> &[u8] {
        &self.0.body
    }

    /// The body as JSON. `Null` if it is not JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(self.body()).unwrap_or_default()
    }

    /// The value of this name in a form-encoded body.
    pub fn form(&self, name: &str) -> Option<String> {
        form_urlencoded::parse(self.body())
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.into_owned())
    }
}

impl fmt::Debug for SentRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let body = String::from_utf8_lossy(self.body());
        write!(f, "{} {} {body}", self.method(), self.url())
    }
}
