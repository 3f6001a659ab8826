//! The ABI's objects that a library is given: the host's, a call's and a report's. Each method puts what the library
//! asks into a [`HostRequest`], and hands that to a carrier, which takes it to where it is answered: a function call in
//! this process, a frame in a worker.
//!
//! Invariant: nothing here panics into a library, where a panic would end the process.

use std::{future::Future, time::Duration};

use phone_verify_plugin_abi::{
    CallObj, CallV1, CallV1_TO, HostObj, HostV1, HostV1_TO, RawError, RawExtension, RawHttpRequest,
    RawHttpResponse, RawReceipt, ReportObj, ReportV1, ReportV1_TO,
    abi_stable::{
        sabi_trait::TD_Opaque,
        std_types::{RArc, ROption, RResult, RSlice, RSliceMut, RStr, RString, RVec, Tuple2},
    },
    async_ffi::FfiFuture,
    http_error, kind,
};
use phone_verify_plugin_crypto as crypto;

use super::{
    answer::over,
    guarded,
    protocol::{HostReply, HostRequest, MAX_RANDOM_BYTES},
};
use crate::{CallFacts, convert::raw_error, raw, scrub};

/// Takes a request to where it is answered.
pub(crate) trait Carrier: Send + Sync + 'static {
    /// Waits for no answer. An error: it was not told.
    fn tell(&self, request: HostRequest) -> Result<(), Unanswered>;

    /// Waits for the answer on this thread; for what the host answers at once.
    fn ask(&self, request: HostRequest) -> Result<HostReply, Unanswered>;

    /// Asks for what takes its time. Called in the call that it is for; dropping the future gives the request up.
    fn begin(
        &self,
        request: HostRequest,
    ) -> impl Future<Output = Result<HostReply, Unanswered>> + Send + 'static;
}

/// The carrier of a backend, whose requests are those of the call that the thread is in.
pub(crate) trait HostCarrier: Carrier {
    /// What the host's wall clock says.
    fn unix_ms(&self) -> u64;
    /// What the host's monotonic clock says.
    fn monotonic_ns(&self) -> u64;
}

/// The carrier of one call.
pub(crate) trait CallCarrier: Carrier {
    fn deadline_monotonic_ns(&self) -> u64;
    fn request_id(&self) -> RString;
    fn idempotency_key(&self) -> RString;
    fn locale(&self) -> RString;
    fn facts(&self) -> &CallFacts;
}

/// Why a request has no reply.
pub(crate) enum Unanswered {
    /// The host says so.
    Error(raw::Error),
    /// It does not fit into a frame.
    TooLarge,
    /// Nobody is there to answer it.
    Lost,
}

impl Unanswered {
    /// `too_large`: the bound that the library went beyond.
    fn raw(self, too_large: &str) -> RawError {
        match self {
            Self::Error(error) => error.0,
            Self::TooLarge => raw_error(kind::INTERNAL, http_error::INVALID, too_large),
            Self::Lost => over(),
        }
    }
}

/// The host, for a backend.
pub(crate) fn host(carrier: impl HostCarrier) -> HostObj {
    HostV1_TO::from_ptr(RArc::new(Host(carrier)), TD_Opaque)
}

/// One call.
pub(crate) fn call(carrier: impl CallCarrier) -> CallObj {
    CallV1_TO::from_value(Call(carrier), TD_Opaque)
}

/// Where a bulk call reports.
pub(crate) fn report(carrier: impl Carrier) -> ReportObj {
    ReportV1_TO::from_value(Report(carrier), TD_Opaque)
}

/// Every call has a deadline, far below this.
const MAX_SLEEP: Duration = Duration::from_secs(24 * 60 * 60);

struct Host<C>(C);

impl<C: HostCarrier> HostV1 for Host<C> {
    fn log(&self, level: u16, message: RStr<'_>, fields: RVec<Tuple2<RString, RString>>) {
        guarded((), || {
            let line = |fields| HostRequest::Log {
                level,
                message: RString::from(scrub::cut(&message, scrub::MAX_INPUT_BYTES)),
                fields,
            };
            // Fields of more than a frame are no fields.
            if let Err(Unanswered::TooLarge) = self.0.tell(line(fields)) {
                let _ = self.0.tell(line(RVec::new()));
            }
        });
    }

    fn now_unix_ms(&self) -> u64 {
        self.0.unix_ms()
    }

    fn monotonic_ns(&self) -> u64 {
        self.0.monotonic_ns()
    }

    fn random(&self, mut into: RSliceMut<'_, u8>) {
        for part in into.as_mut_slice().chunks_mut(MAX_RANDOM_BYTES) {
            let length = u32::try_from(part.len()).unwrap_or(u32::MAX);
            match self.0.ask(HostRequest::Random { length }) {
                Ok(HostReply::Random(bytes)) if bytes.len() == part.len() => part.copy_from_slice(&bytes),
                // A library that asked for randomness and got none would make guessable codes.
                _ => std::process::abort(),
            }
        }
    }

    fn http(&self, request: RawHttpRequest) -> FfiFuture<RResult<RawHttpResponse, RawError>> {
        let reply = self.0.begin(HostRequest::Http(raw::HttpRequest(request)));
        FfiFuture::new(async move {
            match reply.await {
                Ok(HostReply::Http(response)) => RResult::ROk(response.0),
                Ok(_) => RResult::RErr(unfitting()),
                Err(why) => RResult::RErr(why.raw("a request has at most 64 headers and 1048576 bytes")),
            }
        })
    }

    /// Of no use to ask the host for: time passes everywhere.
    fn sleep_ms(&self, duration_ms: u64) -> FfiFuture<()> {
        let duration = Duration::from_millis(duration_ms).min(MAX_SLEEP);
        FfiFuture::new(async move {
            if tokio::runtime::Handle::try_current().is_ok() {
                tokio::time::sleep(duration).await;
            }
        })
    }

    fn digest(&self, hash: u16, data: RSlice<'_, u8>) -> RResult<RVec<u8>, RawError> {
        computed(|| crypto::digest(hash, &data))
    }

    fn hmac(&self, hash: u16, key: RSlice<'_, u8>, data: RSlice<'_, u8>) -> RResult<RVec<u8>, RawError> {
        computed(|| crypto::hmac(hash, &key, &data))
    }

    fn equal(&self, left: RSlice<'_, u8>, right: RSlice<'_, u8>) -> bool {
        guarded(false, || crypto::equal(&left, &right))
    }

    fn sign(&self, algorithm: u16, key_pem: RStr<'_>, data: RSlice<'_, u8>) -> RResult<RVec<u8>, RawError> {
        computed(|| crypto::sign(algorithm, &key_pem, &data))
    }

    fn extension(&self, request: RawExtension) -> FfiFuture<RResult<ROption<RVec<u8>>, RawError>> {
        let reply = self.0.begin(HostRequest::Extension(raw::Extension(request)));
        FfiFuture::new(async move {
            match reply.await {
                Ok(HostReply::Extension(body)) => RResult::ROk(body.map(|body| body.0).into()),
                Ok(_) => RResult::RErr(unfitting()),
                Err(why) => RResult::RErr(why.raw("a request has at most 2 MiB")),
            }
        })
    }
}

/// What needs nothing of the host is computed here, in the process of the library.
fn computed(compute: impl FnOnce() -> Result<RVec<u8>, RawError>) -> RResult<RVec<u8>, RawError> {
    guarded(None, || Some(compute()))
        .unwrap_or_else(|| Err(unfitting()))
        .into()
}

struct Call<C>(C);

impl<C: CallCarrier> Call<C> {
    fn text(&self, request: HostRequest) -> Result<RString, RawError> {
        guarded(Err(unfitting()), || match self.0.ask(request) {
            Ok(HostReply::Text(text)) => Ok(text),
            Ok(_) => Err(unfitting()),
            Err(why) => Err(why.raw(CODE_TOO_LARGE)),
        })
    }
}

impl<C: CallCarrier> CallV1 for Call<C> {
    fn deadline_monotonic_ns(&self) -> u64 {
        self.0.deadline_monotonic_ns()
    }

    fn request_id(&self) -> RString {
        self.0.request_id()
    }

    fn idempotency_key(&self) -> RString {
        self.0.idempotency_key()
    }

    fn locale(&self) -> RString {
        self.0.locale()
    }

    /// Empty when no code can be made; the author's crate turns that into an error.
    fn base_security_code(&self) -> RString {
        self.text(HostRequest::SecurityCode).unwrap_or_default()
    }

    fn base_message(&self, security_code: RStr<'_>) -> RResult<RString, RawError> {
        let security_code = security_code.into();
        self.text(HostRequest::Message { security_code }).into()
    }

    fn base_validate(&self, security_code: RStr<'_>) -> FfiFuture<RResult<u16, RawError>> {
        let security_code = security_code.into();
        let reply = self.0.begin(HostRequest::Validate { security_code });
        FfiFuture::new(async move {
            match reply.await {
                Ok(HostReply::Verdict(verdict)) => RResult::ROk(verdict),
                Ok(_) => RResult::RErr(unfitting()),
                Err(why) => RResult::RErr(why.raw(CODE_TOO_LARGE)),
            }
        })
    }

    fn region(&self) -> RString {
        RString::from(self.0.facts().region.as_str())
    }

    fn channel(&self) -> RString {
        RString::from(&*self.0.facts().channel)
    }

    fn purpose(&self) -> RString {
        RString::from(&*self.0.facts().purpose)
    }

    fn template(&self) -> RString {
        RString::from(self.0.facts().template.as_str())
    }

    fn params_json(&self) -> RString {
        RString::from(self.0.facts().params_json.as_str())
    }

    fn security_code(&self) -> RString {
        RString::from(self.0.facts().security_code.as_str())
    }

    fn message_id(&self) -> RString {
        RString::from(self.0.facts().message_id.as_str())
    }
}

struct Report<C>(C);

impl<C: Carrier> ReportV1 for Report<C> {
    fn settle(&self, index: u64, outcome: RResult<RawReceipt, RawError>) {
        guarded((), || {
            let outcome = outcome.into_result().map(raw::Receipt).map_err(raw::Error);
            // What does not fit into a frame is not heard; the number is settled as not reported.
            let _ = self.0.tell(HostRequest::Settle { index, outcome });
        });
    }
}

const CODE_TOO_LARGE: &str = "a security code has 1 to 64 characters and no control characters";

/// The host broke its own protocol, or could not answer.
fn unfitting() -> RawError {
    raw_error(kind::INTERNAL, "host_panic", "the host gave no answer")
}
